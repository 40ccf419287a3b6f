"""What a chart shows, as plain values: what is drawn of it, and the table of its numbers, are made of the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from topokit_train.studies.statistics import Mean


@dataclass(frozen=True)
class Value:
    """A point: where, its height, half the width of its interval, and how many runs it is the mean of."""

    x: float
    y: float
    half: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together.

    Args:
        name: written at its right end, where it is not empty.
        style: a key of STYLES: its colour and marker.
        values: ascending in x.
        look: "points" joined by a line, a "band" around a line of many points, a "thin" line of one run, or "paper",
            hollow marks.
    """

    name: str
    style: str
    values: tuple[Value, ...]
    look: str = "points"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis.

    Args:
        label: with its unit.
        scale: "linear", "log", "sparsity" (of densities: logarithmic in what is left, and labelled by what is not),
            or "error" (of accuracies: logarithmic in what is wrong, and labelled by what is right).
        percent: whether the labels are in percent.
        ticks: where labels stand; where empty, at round numbers.
        limits: the range; where None, that of the values.
    """

    label: str
    scale: str = "linear"
    percent: bool = False
    ticks: tuple[float, ...] = ()
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Args:
        title: the case.
        note: a sentence of its numbers.
        series: the later, the further in front.
        references: (height, label) of pale lines across.
    """

    title: str
    note: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    references: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure of the report.

    Args:
        title: what it shows.
        about: how it is to be read.
        panels: none where nothing was run.
        missing: what has to be run to draw it, where there are none.
    """

    title: str
    about: str
    panels: tuple[Panel, ...]
    missing: str


ACCURACY = Axis(label="test accuracy, %", scale="error", percent=True)


def sparsity_axis(densities: Iterable[float]) -> Axis:
    """Sparsities, spaced by the logarithm of what is left."""
    return Axis(label="sparsity, % (log of what is left)", scale="sparsity", percent=True, ticks=(*sorted(densities),))


def value(x: float, found: Mean) -> Value:
    """A mean as a point."""
    return Value(x, found.mean, found.half, found.n)


def paper_series(points: dict[str, list[tuple[float, float]]], styles: dict[str, str]) -> list[Series]:
    """The paper's points, in the colours of our arms: {its arm: our style}."""
    return [
        Series(name="", style=style, values=tuple(Value(x, y, None, 1) for x, y in points[arm]), look="paper")
        for arm, style in styles.items()
        if arm in points
    ]
