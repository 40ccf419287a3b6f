"""Charts of RadiX-Nets, random, regular and dense networks: of the same size, and of the same number of edges."""

from __future__ import annotations

from topokit_train.studies import paper, words
from topokit_train.studies.charts.model import ACCURACY, Axis, Chart, Panel, Series, paper_series, value
from topokit_train.studies.charts.style import style_of
from topokit_train.studies.samples import Samples, samples
from topokit_train.studies.tables import Tables

ARMS = ("dense", "regular", "random", "radix-split", "radix")


def same_size(tables: Tables) -> Chart:
    """Accuracy against density, of networks of the dense network's widths."""
    return Chart(
        title="Same size: accuracy against density",
        about="All networks have the widths of the dense one, and fewer edges. Regular networks have the degrees of "
        "the RadiX-Net and are random otherwise; random ones have each edge by chance, as in the paper. A split "
        "RadiX-Net stands where none reaches the density: some of its pairs of nodes are without a path.",
        panels=tuple(_panel(found, "density") for found in samples(tables, "same-size")),
        missing="runs of the experiment same-size",
    )


def same_edges(tables: Tables) -> Chart:
    """Accuracy against the number of times that a larger network has the dense one's weights."""
    return Chart(
        title="Same number of edges: accuracy of larger, sparser networks",
        about="At ×10 a network has the widths of a dense one of ten times the weights, and a tenth of its edges: as "
        "many as the dense network at ×1.",
        panels=tuple(
            _panel(found, "size: times the weights of the dense network") for found in samples(tables, "same-edges")
        ),
        missing="runs of the experiment same-edges",
    )


def _panel(found: Samples, label: str) -> Panel:
    means = found.means()
    arms = [arm for arm in (*ARMS, *sorted({arm for arm, _ in means} - {*ARMS})) if any(key[0] == arm for key in means)]
    ours = [
        Series(
            name=style_of(arm).name,
            style=arm,
            values=tuple(value(x, mean) for (name, x), mean in means.items() if name == arm),
        )
        for arm in arms
    ]
    case = found.case
    theirs = paper.points(found.experiment, case.model, case.dataset) if case.recipe == "paper" else {}
    drawn = [*paper_series(theirs, {arm: arm for arm in ARMS}), *ours]
    places = sorted({point.x for one in drawn for point in one.values})
    return Panel(
        title=str(case),
        note=_note(found),
        x=Axis(label=label, scale="log", ticks=(*places,)),
        y=ACCURACY,
        series=tuple(drawn),
    )


def _note(found: Samples) -> str:
    """What the sparsest place comes to, arm by arm."""
    means = found.means()
    sparse = [x for x in found.places() if x != 1]
    if not sparse:
        return "Only dense networks were run."
    x = sparse[0] if found.experiment == "same-edges" else sparse[-1]
    told = [f"{style_of(arm).name} {words.mean(mean)}" for (arm, place), mean in means.items() if place == x]
    if ("dense", 1.0) in means and not any(arm == "dense" and place == x for arm, place in means):
        told.append(f"dense at 1: {words.mean(means['dense', 1.0])}")
    return f"At {'×' if found.experiment == 'same-edges' else 'density '}{x:g}: {'; '.join(told)}."
