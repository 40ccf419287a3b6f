"""Panels as SVG, by matplotlib. Equal panels give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from topokit.drawing._style import PALE, SMALL, house_style
from topokit_train.studies.charts.model import Axis, Panel, Series
from topokit_train.studies.charts.style import style_of

WIDTH, HEIGHT = 3.7, 2.75  # inches: a telephone shows it in full size
LEFT, RIGHT, TOP, BOTTOM = 0.5, 0.98, 0.12, 0.45
_LEAST_ERROR = 1e-4
_ACCURACIES = (
    *(0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95),
    *(0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999),
)
_LINE = 10.0  # points from one label to the next
_DODGE = 2.4  # points between the marks of neighbours


def svg(panel: Panel, salt: str) -> str:
    """A panel as SVG, its text as text.

    Args:
        panel: what is drawn.
        salt: of the ids in it, so that they differ from those of other panels on one page.
    """
    with house_style(), matplotlib.rc_context({"svg.hashsalt": f"topokit-{salt}"}):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        across, up = 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT
        axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, across, up))
        axes.spines[["top", "right"]].set_visible(False)
        _scale(axes.xaxis, panel.x, [value.x for series in panel.series for value in series.values])
        _scale(axes.yaxis, panel.y, [edge for series in panel.series for edge in _edges(series)])
        for height, label in panel.references:
            axes.axhline(height, color=PALE, linewidth=0.5, alpha=0.7, zorder=0)
            axes.text(0.01, height, label, transform=axes.get_yaxis_transform(), fontsize=6, va="bottom")
        _draw(axes, panel.series)
        file = StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r' id="[a-z0-9]+(?:\.[a-z]+)?_\d+"', "", text)  # matplotlib's names of groups, on every panel alike
    return text[text.index("<svg") :]


def _edges(series: Series) -> list[float]:
    """Where the values and their intervals end; of wide ones not all, which would make all others small."""
    ends = []
    for value in series.values:
        half = value.half or 0.0
        ends += [value.y - half, value.y + half if value.y > 1 else min(value.y + half, 1 - 0.4 * (1 - value.y))]
    return ends


def _same(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)


def _error(accuracy: ArrayLike) -> NDArray[np.float64]:
    return _same(-np.log10(np.clip(1 - _same(accuracy), _LEAST_ERROR, None)))


def _accuracy(error: ArrayLike) -> NDArray[np.float64]:
    return _same(1 - 10 ** -_same(error))


def _log10(values: ArrayLike) -> NDArray[np.float64]:
    return _same(np.log10(np.maximum(_same(values), 1e-9)))  # matplotlib tries a scale at 0


_SCALES: dict[str, tuple[Any, Any]] = {  # to where a value stands on paper, and back
    "linear": (_same, _same),
    "error": (_error, _accuracy),
    "log": (_log10, lambda x: 10 ** _same(x)),
    "sparsity": (lambda x: -_log10(x), lambda x: 10 ** -_same(x)),
}


def _scale(axis: Any, about: Axis, values: Sequence[float]) -> None:
    forward, back = _SCALES[about.scale]
    axis.axes.set(**{f"{axis.axis_name}label": about.label})
    lowest, highest = about.limits or (
        min(values),
        min(max(values), 1 - _LEAST_ERROR) if about.scale == "error" else max(values),
    )
    ends = sorted(float(forward(end)) for end in (max(lowest, 0) if about.scale == "error" else lowest, highest))
    room = 0.06 * (ends[1] - ends[0]) or 0.1
    limits = (ends[0] - room, ends[1] + room) if about.limits is None else ends
    if about.scale != "linear":
        axis._set_axes_scale("function", functions=(forward, back))
    shown = sorted(float(back(end)) for end in limits)  # ascending also where the scale itself turns it round
    axis.axes.set(**{f"{axis.axis_name}lim": shown})
    ticks = about.ticks or _ticks(about, *shown)
    axis.set_major_locator(FixedLocator(_apart(ticks, about, limits, 0.02 if axis.axis_name == "x" else 0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: _label(x, about)))


def _ticks(about: Axis, lowest: float, highest: float) -> Sequence[float]:
    if about.scale == "error":
        known = [accuracy for accuracy in _ACCURACIES if lowest <= accuracy <= highest]
        if len(known) >= 3:
            return known
    return [
        tick for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(lowest, highest) if lowest <= tick <= highest
    ]


def _apart(ticks: Sequence[float], about: Axis, limits: Sequence[float], digit: float) -> list[float]:
    """The ticks whose labels have room, where a digit takes so much of the axis; the outermost one first."""
    forward, _ = _SCALES[about.scale]
    kept: list[tuple[float, float]] = []  # with the part of the axis at which they stand
    for tick in sorted(ticks, key=lambda x: -float(forward(x))):
        place = float(forward(tick)) / (limits[1] - limits[0])
        room = 0.07 + digit * max(0, len(_label(tick, about)) - 2)
        if all(abs(place - other) > room for other, _ in kept):
            kept.append((place, tick))
    return [tick for _, tick in kept]


def _label(x: float, about: Axis) -> str:
    shown = 1 - x if about.scale == "sparsity" else x
    return f"{100 * shown:.4g}" if about.percent else f"{shown:.4g}"


def _draw(axes: Axes, series: Sequence[Series]) -> None:
    shifts = _shifts([one for one in series if one.look == "points"])
    labels: list[tuple[float, str, str]] = []
    for order, one in enumerate(series):
        colour = style_of(one.style).hex
        if one.look == "points":
            _points(axes, one, shifts[id(one)], 3 + 0.1 * order)
        elif one.look == "paper":
            x, y = [value.x for value in one.values], [value.y for value in one.values]
            axes.plot(x, y, "D", markersize=4.6, markerfacecolor="#ffffff", markeredgecolor=colour, zorder=2.5)
        else:
            _line(axes, one)
        if one.name:
            last = one.values[-1]
            labels.append((float(axes.transData.transform((last.x, last.y))[1]), one.name, colour))
    if any(one.look == "paper" for one in series):
        axes.text(1, 1, "◇ paper, single runs", transform=axes.transAxes, fontsize=6.5, ha="right", va="bottom")
    _name(axes, labels)


def _shifts(series: Sequence[Series]) -> dict[int, float]:
    """How far each series stands beside the places of its values, in points, so that intervals do not hide each other.

    One of a single value stands where it is, or to the right of all others where they have values too.
    """
    lines = [one for one in series if len(one.values) > 1] or list(series)
    shifts = {id(one): _DODGE * (number - (len(lines) - 1) / 2) for number, one in enumerate(lines)}
    taken = {value.x for one in lines for value in one.values}
    for one in series:
        shifts.setdefault(id(one), _DODGE * (len(lines) + 1) / 2 if one.values[0].x in taken else 0.0)
    return shifts


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # these axes were made by one
    return figure


def _points(axes: Axes, series: Series, shift: float, order: float) -> None:
    style = style_of(series.style)
    beside = ScaledTranslation(shift / 72, 0, _figure(axes).dpi_scale_trans)
    axes.errorbar(
        [value.x for value in series.values],
        [value.y for value in series.values],
        yerr=[value.half or 0.0 for value in series.values],
        marker=style.marker,
        markersize=3.4,
        linewidth=1.1,
        elinewidth=1.4,
        color=style.hex,
        transform=axes.transData + beside,
        zorder=order,
    )


def _line(axes: Axes, series: Series) -> None:
    thin, colour = series.look == "thin", style_of(series.style).hex
    x, y = [value.x for value in series.values], [value.y for value in series.values]
    marker = "o" if len(x) == 1 else ""
    axes.plot(
        x, y, linewidth=0.7 if thin else 1.4, alpha=0.75 if thin else 1, marker=marker, markersize=3, color=colour
    )
    if not thin:
        half = [value.half or 0.0 for value in series.values]
        axes.fill_between(x, np.subtract(y, half), np.add(y, half), color=colour, alpha=0.2, linewidth=0, zorder=1)


def _name(axes: Axes, labels: list[tuple[float, str, str]]) -> None:
    """Names beside the right ends of the lines, in their colours, moved apart where they would overlap."""
    apart = _LINE * _figure(axes).dpi / 72
    heights: list[float] = []
    labels = sorted(labels)
    for height, _, _ in labels:
        heights.append(max(height, heights[-1] + apart) if heights else height)
    middle = sum(height for height, _, _ in labels) / len(labels) - sum(heights) / len(labels) if labels else 0.0
    low, high = axes.bbox.y0 + 4, axes.bbox.y1
    if heights:  # as a whole where the lines end, and inside of the axes
        middle = max(min(middle, high - heights[-1]), low - heights[0])
    for height, (_, name, colour) in zip(heights, labels, strict=True):
        place = axes.transAxes.inverted().transform((0, height + middle))[1]
        axes.text(1.04, place, name, transform=axes.transAxes, fontsize=SMALL, color=colour, va="center")
