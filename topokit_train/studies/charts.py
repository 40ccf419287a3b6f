"""The charts of the report: CHARTS maps each to a function from the tables to its panels, none without runs.

Its title, an explanation and what must be run for it are in report.toml. The CSV of a chart's numbers and its drawing
come from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from topokit.statistics import half_width
from topokit_train.studies import words
from topokit_train.studies.claims import MASKS
from topokit_train.studies.tables import Tables

STYLES = {
    "radix": ("RadiX-Net", "blue", "o"),
    "radix-split": ("split RadiX-Net", "sky", "p"),
    "random": ("random", "orange", "s"),
    "regular": ("regular", "green", "^"),
    "dense": ("dense", "ink", "D"),
    "iterative": ("iterative", "purple", "o"),
    "one-time": ("one-time", "ochre", "s"),
    "paper": ("paper recipe", "orange", "s"),
    "modern": ("modern recipe", "blue", "o"),
    "dead": ("dead classes", "orange", ""),
    "alive": ("no dead class", "blue", ""),
}
"""Arm or recipe -> (name, colour, marker), the same in all charts."""
ARMS = ("dense", "regular", "random", "radix-split", "radix")
PAPER = pd.read_csv(Path(__file__).parent / "training_behavior" / "paper.csv", keep_default_na=False)
"""Test accuracies of the paper's single runs, from the authors' result sheet (arXiv:1810.00299)."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points of a chart that belong together.

    Args:
        style: a key of STYLES, or the name of another arm.
        points: DataFrame of x, y, half (of the interval of y) and n (number of runs).
        look: "points" on a line, a "band" around a line of many points, a "thin" line of one run, or "paper": markers.
        name: in the legend; "" for none.
    """

    style: str
    points: Any
    look: str = "points"
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Args:
        title: the case.
        note: a sentence of its numbers.
        x: a key of `drawing.AXES`.
        y: a key of `drawing.AXES`.
        lines: a later one is drawn over an earlier one.
    """

    title: str
    note: str
    x: str
    y: str = "accuracy"
    lines: list[Line]


def means(frame: Any, by: list[str], values: str) -> Any:
    """Return the mean of a column for each group of others: y, half, deviation, least, most, n."""
    groups = frame.groupby(by, sort=False)[values]
    found = groups.agg(n="count", y="mean", deviation="std", least="min", most="max").reset_index()
    found["half"] = half_width(found.deviation, found.n)
    return found


def style_of(name: str) -> tuple[str, str, str]:
    """Return the name, colour and marker of an arm or a recipe."""
    return STYLES.get(name, (name, "ink", "v"))


def papers_lines(experiment: str, first: Any, styles: dict[str, str]) -> list[Line]:
    """Return the paper's points for the case of a run.

    Args:
        experiment: of the study.
        first: a run of the case.
        styles: arm of the paper -> key of STYLES, in the order of the lines.
    """
    found = PAPER[(PAPER.experiment == experiment) & (PAPER.model == first.model) & (PAPER.dataset == first.dataset)]
    points = found.sort_values("x").rename(columns={"accuracy": "y"}).assign(half=float("nan"), n=1)
    lines = {arm: Line(style=style, points=points[points.arm == arm], look="paper") for arm, style in styles.items()}
    return [line for line in lines.values() if len(line.points)]


def _line(style: str, points: Any) -> Line:
    return Line(style=style, points=points, name=style_of(style)[0])


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def table(panels: Iterable[Panel]) -> Any:
    """Return all points of a chart as one table."""
    lines = {
        (panel.title, line.style, line.look == "paper", number): line.points[["x", "y", "half", "n"]]
        for panel in panels
        for number, line in enumerate(panel.lines)
    }
    found = pd.concat(lines, names=["panel", "series", "from_the_paper", "line", None]).reset_index()
    columns = ["panel", "series", "from_the_paper", "x", "y", "half", "n", "line"]
    return found[columns].rename(columns={"half": "half_width", "n": "runs"})


def _pruned(tables: Tables, experiment: str, rows: Any) -> Any:
    """Return the rows of epochs.csv or prunings.csv of an experiment, with the columns of their runs.

    The rows of the runs that end at a low density come first, so that the last one of a seed and a density is that of
    the run that ends there.
    """
    runs = tables.finished[tables.finished.experiment == experiment]
    end = tables.prunings.groupby("run").density.min()
    runs = runs.assign(end=runs.run.map(end).fillna(1.0)).sort_values(["end", "run"])
    return runs.merge(rows, on="run", suffixes=("_of_run", ""))


def one_time(tables: Tables) -> list[Panel]:
    """Accuracy against sparsity, before and right after one pruning at the end of training."""
    after = _pruned(tables, "one-time", tables.prunings)
    before = after.drop_duplicates("run").assign(density=1.0, test_accuracy=lambda rows: rows.accuracy_before)
    rows = pd.concat([before, after])
    return list(_by_network(rows.assign(x=rows.density, y=rows.test_accuracy), "sparsity"))


def iterative(tables: Tables) -> list[Panel]:
    """Accuracy against the sparsity that iterative pruning reaches; at the last one, at the end of training."""
    rows = _pruned(tables, "iterative", tables.prunings)
    last = ~rows.duplicated("run", keep="last")
    rows = rows.assign(x=rows.density, y=rows.test_accuracy.mask(last, rows.test_accuracy_of_run))
    return list(_by_network(rows, "sparsity", papers="iterative"))


def _over_time(column: str, axis: str) -> Callable[[Tables], list[Panel]]:
    def panels(tables: Tables) -> list[Panel]:
        rows = _pruned(tables, "iterative", tables.epochs)
        return list(_by_network(rows.assign(x=rows.epoch, y=rows[column]), "epoch", axis))

    return panels


def _by_network(rows: Any, x: str, y: str = "accuracy", papers: str = "") -> Iterator[Panel]:
    """Yield a panel for each network, with the means over seeds of each recipe."""
    rows = rows.dropna(subset="y").drop_duplicates(["case", "seed", "x"], keep="last")
    found = means(rows, ["order", "on", "case", "model", "dataset", "recipe", "epochs", "x"], "y")
    found = found.sort_values(["order", "x"], ascending=[True, x != "sparsity"])
    for network, of_network in found.groupby("on", sort=False):
        lines, notes = papers_lines(papers, of_network.iloc[0], {"": "paper"}), []
        cases = [points for _, points in of_network.groupby("case", sort=False)]
        for points in cases:
            last = points.iloc[-1]
            name = style_of(last.recipe)[0]
            if of_network.recipe.nunique() < len(cases):
                name += f", {last.epochs}"
            lines.append(
                Line(style=last.recipe, points=points, look="points" if x == "sparsity" else "band", name=name)
            )
            at = f"at sparsity {100 * (1 - last.x):g} %" if x == "sparsity" else f"after epoch {last.x:g}"
            notes.append(f"{_capital(last.recipe)} recipe, {at}: {words.mean(last, percent=y != 'threshold')}.")
        yield Panel(title=network, note=" ".join(notes), x=x, y=y, lines=lines)


def retrained(tables: Tables) -> list[Panel]:
    """Accuracy against sparsity of networks trained on pruned topologies, beside random ones of the same density."""
    same_size = {case: runs for (_, case), runs in tables.cases("same-size")}
    panels = []
    for (_, case), runs in tables.cases("retrained"):
        found = means(runs, ["arm", "x"], "test_accuracy").sort_values("x", ascending=False)
        dense, sparse = found[found.arm == "dense"], found[found.arm != "dense"]
        lines = [_line(arm, pd.concat([dense, points])) for arm, points in sparse.groupby("arm")][::-1]
        if case in same_size:
            random = same_size[case][(same_size[case].arm == "random") & same_size[case].x.isin(sparse.x)]
            beside = means(random, ["x"], "test_accuracy").sort_values("x", ascending=False)
            lines = [_line("random", beside)] * bool(len(beside)) + lines
        last = [(line.name, line.points.iloc[-1]) for line in lines]
        note = "; ".join(f"{name} at sparsity {100 * (1 - row.x):g} %: {words.mean(row)}" for name, row in last)
        lines = lines or [_line("dense", dense)]
        first = runs.iloc[0]
        papers = (
            papers_lines("retrained", first, dict(zip(MASKS, MASKS, strict=True))) if first.recipe == "paper" else []
        )
        note = f"{_capital(note)}." if note else "Only dense networks were run."
        panels.append(Panel(title=case, note=note, x="sparsity", lines=papers + lines))
    return panels


def figure_8(tables: Tables) -> list[Panel]:
    """Accuracy over epochs of each run of LeNet-5 on pruned topologies, with its number of dead classes."""
    epochs = tables.epochs.dropna(subset="test_accuracy").rename(columns={"epoch": "x", "test_accuracy": "y"})
    epochs = dict(list(epochs.assign(half=float("nan"), n=1).groupby("run")))
    panels = []
    for (_, case), of_case in tables.cases("retrained"):
        drawn = of_case[(of_case.model == "lenet-5") & of_case.run.isin(epochs)].fillna({"dead_classes": 0})
        drawn = drawn.assign(died=drawn.dead_classes > 0).sort_values(["died", "x", "seed"])  # plateaus in front
        for arm in MASKS:
            runs = drawn[drawn.arm == arm]
            if len(runs):
                died = (100 * (1 - runs.x[runs.died])).round(4).value_counts().sort_index()
                at = ", ".join(f"{n} at sparsity {sparsity:g} %" for sparsity, n in died.items())
                note = f"{runs.died.sum()} of {len(runs)} runs end with dead classes{f' ({at})' if at else ''}."
                lines = list(_lines_of_runs(runs, epochs))
                panels.append(Panel(title=f"{case}, {arm}", note=note, x="epoch", y="plateaus", lines=lines))
    return panels


def _lines_of_runs(runs: Any, epochs: dict[str, Any]) -> Iterator[Line]:
    """Yield the lines of the runs; the first one of each number of dead classes has the name of all of them."""
    counts = runs.dead_classes.value_counts()
    for run, first in zip(runs.itertuples(), ~runs.duplicated("dead_classes"), strict=True):
        k, n = run.dead_classes, counts[run.dead_classes]
        name = f"{k:g} dead: {n} run{'s' if n > 1 else ''}" if k else f"none dead: {n}"
        yield Line(style="dead" if k else "alive", points=epochs[run.run], look="thin", name=name if first else "")


def _topologies(experiment: str, axis: str) -> Callable[[Tables], list[Panel]]:
    """Return the chart of RadiX-Nets, random, regular and dense networks in an experiment."""

    def panels(tables: Tables) -> list[Panel]:
        return [_topologies_panel(case, runs, axis) for (_, case), runs in tables.cases(experiment)]

    return panels


def _topologies_panel(case: str, runs: Any, axis: str) -> Panel:
    found, first = means(runs, ["arm", "x"], "test_accuracy"), runs.iloc[0]
    arms = [*ARMS, *sorted({*found.arm} - {*ARMS})]
    lines = [_line(arm, found[found.arm == arm]) for arm in arms if (found.arm == arm).any()]
    papers = papers_lines(first.experiment, first, {arm: arm for arm in ARMS}) if first.recipe == "paper" else []
    note, sparse = "Only dense networks were run.", found[found.x != 1]
    if len(sparse):
        x = sparse.x.max() if axis == "times" else sparse.x.min()
        shown = [f"{style_of(row.arm)[0]} {words.mean(row)}" for row in found[found.x == x].itertuples()]
        shown += [
            f"dense at 1: {words.mean(row)}" for row in found[(found.arm == "dense") & (found.x == 1)].itertuples()
        ]
        note = f"At {'×' if axis == 'times' else 'density '}{x:g}: {'; '.join(shown)}."
    return Panel(title=case, note=note, x=axis, lines=papers + lines)


CHARTS: dict[str, Callable[[Tables], list[Panel]]] = {
    "one-time": one_time,
    "thresholds": _over_time("threshold", "threshold"),
    "sparsities": _over_time("sparsity", "share"),
    "accuracies": _over_time("test_accuracy", "accuracy"),
    "iterative": iterative,
    "retrained": retrained,
    "figure-8": figure_8,
    "same-size": _topologies("same-size", "density"),
    "same-edges": _topologies("same-edges", "times"),
}
"""Name -> the chart's panels, in the order of the report."""
