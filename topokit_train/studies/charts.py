"""The charts of the report: CHARTS maps each to a function from the tables to its panels, none without runs.

Its title, an explanation and what must be run for it are in report.toml. The CSV of a chart's numbers and its drawing
come from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from topokit.statistics import half_width
from topokit_train.studies import words
from topokit_train.studies.claims import MASKS
from topokit_train.studies.tables import Tables

STYLES: dict[str, list[str]] = words.TEXTS["styles"]
"""Arm or recipe -> [name, colour, marker], the same in all charts; lines are drawn in this order."""
PAPER = pd.read_csv(Path(__file__).parent / "training_behavior" / "paper.csv", keep_default_na=False).rename(
    columns={"accuracy": "y"}
)
"""Test accuracies of the paper's single runs, from the authors' result sheet (arXiv:1810.00299)."""

_AT = {"sparsity": "sparsity {1:g} %", "density": "density {0:g}", "times": "×{0:g}", "epoch": "epoch {0:g}"}


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
        x: a key of `axes` in report.toml.
        y: a key of `axes` in report.toml.
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


def style_of(name: str) -> list[str]:
    """Return the name, colour and marker of an arm or a recipe."""
    return STYLES.get(name, [name, "ink", "v"])


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


def _panels(rows: Any, x: str, y: str = "accuracy", papers: str = "") -> list[Panel]:
    """Return a panel for each `panel` of some rows, with a line of means over seeds for each `name` in it.

    Args:
        rows: DataFrame with the columns panel, style (key of STYLES), name, x, y, and those of `Tables.finished`.
        x: key of `axes` in report.toml.
        y: key of `axes` in report.toml.
        papers: the experiment whose points of the paper are drawn too; "" for none.
    """
    rank = {style: place for place, style in enumerate(STYLES)}
    rows = rows.assign(rank=rows["style"].map(rank).fillna(len(rank)))
    found = means(rows, ["order", "rank", "panel", "name", "style", "model", "dataset", "recipe", "x"], "y")
    found = found.sort_values(["order", "rank", "name", "x"], ascending=[True, True, True, x != "sparsity"])
    panels = []
    for title, of_panel in found.groupby("panel", sort=False):
        of_lines = [points for _, points in of_panel.groupby("name", sort=False)]
        lines = _papers_lines(papers, of_panel.iloc[0])
        look = "band" if x == "epoch" else "points"
        lines += [Line(style=of["style"].iloc[0], name=of.name.iloc[0], points=of, look=look) for of in of_lines]
        note = "; ".join(_end(points.iloc[0 if x == "density" else -1], x, y) for points in of_lines)
        panels.append(Panel(title=title, note=f"{note[0].upper()}{note[1:]}.", x=x, y=y, lines=lines))
    return panels


def _end(point: Any, x: str, y: str) -> str:
    at = _AT[x].format(point.x, 100 * (1 - point.x))
    return f"{point['name']} at {at}: {words.mean(point, percent=y != 'threshold')}"


def papers_points(experiment: str, case: Any) -> Any:
    """Return the paper's points of the model and dataset of a case, ascending in x."""
    found = PAPER[(PAPER.experiment == experiment) & (PAPER.model == case.model) & (PAPER.dataset == case.dataset)]
    return found.sort_values("x")


def _papers_lines(experiment: str, case: Any) -> list[Line]:
    """Return the paper's points for a case; they belong to its recipe, but iterative pruning has one panel for all."""
    if case.recipe != "paper" and experiment != "iterative":
        return []
    points = papers_points(experiment, case).assign(half=float("nan"), n=1)
    lines = [Line(style=style, points=points[points.arm == style], look="paper") for style in STYLES]
    return [line for line in lines if len(line.points)]


def _pruned(tables: Tables, experiment: str, rows: Any, x: str, y: str) -> Any:
    """Return the rows of epochs.csv or prunings.csv of an experiment, with the columns of their runs.

    If several runs of a seed have the same x, the last row counts: that of the run that ends there, since runs are in
    the order of the density at which they end.
    """
    runs = tables.finished[tables.finished.experiment == experiment]
    end = tables.prunings.groupby("run").density.min()
    runs = runs.assign(end=runs.run.map(end).fillna(1.0)).sort_values(["end", "run"])
    found = runs.merge(rows, on="run", suffixes=("_of_run", ""))
    return found.assign(x=found[x], y=found[y])


def _by_network(rows: Any, x: str, y: str = "accuracy", papers: str = "") -> list[Panel]:
    """Return a panel for each network, with a line for each recipe, and for each number of epochs if it has several."""
    rows = rows.dropna(subset="y").drop_duplicates(["case", "seed", "x"], keep="last")
    several = rows.groupby(["on", "recipe"]).epochs.transform("nunique") > 1
    names = rows.recipe.map(lambda recipe: style_of(recipe)[0])
    names = names.mask(several, names + rows.epochs.map(", {}".format))
    return _panels(rows.assign(panel=rows.on, style=rows.recipe, name=names), x, y, papers)


def one_time(tables: Tables) -> list[Panel]:
    """Accuracy against sparsity, before and right after one pruning at the end of training."""
    after = _pruned(tables, "one-time", tables.prunings, "density", "test_accuracy")
    before = after.drop_duplicates("run")
    return _by_network(pd.concat([before.assign(x=1.0, y=before.accuracy_before), after]), "sparsity")


def iterative(tables: Tables) -> list[Panel]:
    """Accuracy against the sparsity that iterative pruning reaches; at the last one, at the end of training."""
    rows = _pruned(tables, "iterative", tables.prunings, "density", "test_accuracy")
    last = ~rows.duplicated("run", keep="last")
    return _by_network(rows.assign(y=rows.y.mask(last, rows.test_accuracy_of_run)), "sparsity", papers="iterative")


def _over_time(column: str, axis: str, tables: Tables) -> list[Panel]:
    return _by_network(_pruned(tables, "iterative", tables.epochs, "epoch", column), "epoch", axis)


def _by_case(experiment: str, axis: str, tables: Tables) -> list[Panel]:
    """Return the chart of an experiment, with a panel for each case and a line for each arm.

    Networks trained on masks are drawn beside the random ones of the same density.
    """
    rows = tables.finished[tables.finished.experiment == experiment]
    if experiment == "retrained":
        random = tables.finished[(tables.finished.experiment == "same-size") & (tables.finished.arm == "random")]
        places = rows.loc[rows.arm != "dense", ["case", "x"]].drop_duplicates()
        rows = pd.concat([rows, random.merge(places, on=["case", "x"])])
    names = rows.arm.map(lambda arm: style_of(arm)[0])
    rows = rows.assign(panel=rows.case, style=rows.arm, name=names, y=rows.test_accuracy)
    return _panels(rows, axis, papers=experiment)


def figure_8(tables: Tables) -> list[Panel]:
    """Accuracy over epochs of each run of LeNet-5 on pruned topologies, with its number of dead classes."""
    epochs = tables.epochs.dropna(subset="test_accuracy").rename(columns={"epoch": "x", "test_accuracy": "y"})
    epochs = dict(list(epochs.assign(half=float("nan"), n=1).groupby("run")))
    drawn = tables.finished[(tables.finished.experiment == "retrained") & (tables.finished.model == "lenet-5")]
    drawn = drawn[drawn.arm.isin(MASKS) & drawn.run.isin(epochs)].fillna({"dead_classes": 0})
    drawn = drawn.assign(died=drawn.dead_classes > 0).sort_values(["order", "arm", "died", "x", "seed"])
    panels = []
    for (case, arm), runs in drawn.groupby(["case", "arm"], sort=False):
        names = runs.dead_classes.map("{:g} dead: ".format) + runs.groupby("dead_classes").run.transform("size").astype(
            str
        )
        names = names.mask(runs.duplicated("dead_classes"), "")
        lines = [
            Line(style="dead" if died else "alive", points=epochs[run], look="thin", name=name)
            for run, died, name in zip(runs.run, runs.died, names, strict=True)
        ]
        died = (100 * (1 - runs.x[runs.died])).round(4).value_counts().sort_index()
        at = ", ".join(f"{n} at sparsity {sparsity:g} %" for sparsity, n in died.items())
        note = f"{runs.died.sum()} of {len(runs)} runs end with dead classes{f' ({at})' if at else ''}."
        panels.append(Panel(title=f"{case}, {arm}", note=note, x="epoch", y="plateaus", lines=lines))
    return panels


CHARTS: dict[str, Callable[[Tables], list[Panel]]] = {
    "one-time": one_time,
    "thresholds": partial(_over_time, "threshold", "threshold"),
    "sparsities": partial(_over_time, "sparsity", "share"),
    "accuracies": partial(_over_time, "test_accuracy", "accuracy"),
    "iterative": iterative,
    "retrained": partial(_by_case, "retrained", "sparsity"),
    "figure-8": figure_8,
    "same-size": partial(_by_case, "same-size", "density"),
    "same-edges": partial(_by_case, "same-edges", "times"),
}
"""Name -> the chart's panels, in the order of the report."""
