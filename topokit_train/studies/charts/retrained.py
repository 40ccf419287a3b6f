"""Charts of networks that are trained anew on what pruning left: accuracy, and Figure 8's plateaus."""

from __future__ import annotations

from collections import Counter

from topokit_train.studies import paper, words
from topokit_train.studies.charts.model import (
    ACCURACY,
    Axis,
    Chart,
    Panel,
    Series,
    Value,
    paper_series,
    sparsity_axis,
    value,
)
from topokit_train.studies.charts.style import style_of
from topokit_train.studies.samples import CLASSES, MASKS, Samples, samples
from topokit_train.studies.tables import Run, Tables


def retrained(tables: Tables) -> Chart:
    """Accuracy against sparsity of networks trained on pruned structures."""
    random = {found.case: found for found in samples(tables, "same-size")}
    return Chart(
        title="Trained on pruned structures: accuracy against sparsity",
        about="Fresh weights on the structures that one-time and iterative pruning left, beside random ones of the "
        "same density where these were run: a mask thins all layers, and they those that are sparse, so they have more "
        "edges. Sparsity 0 is the dense network.",
        panels=tuple(_panel(found, random.get(found.case)) for found in samples(tables, "retrained")),
        missing="runs of the experiment retrained",
    )


def _panel(found: Samples, random: Samples | None) -> Panel:
    means, case = found.means(), found.case
    dense = [(1.0, means["dense", 1.0])] if ("dense", 1.0) in means else []
    arms = [
        (arm, [*dense, *sorted(((x, mean) for (name, x), mean in means.items() if name == arm), reverse=True)])
        for arm in sorted({name for name, _ in means} - {"dense"}, reverse=True)
    ]
    places = {x for _, of_arm in arms for x, _ in of_arm}
    if random:
        beside = [(x, mean) for (arm, x), mean in random.means().items() if arm == "random" and x in places]
        arms = [("random", sorted(beside, reverse=True)), *arms] if beside else arms
    ours = [
        Series(name=style_of(arm).name, style=arm, values=tuple(value(x, mean) for x, mean in of_arm))
        for arm, of_arm in arms
    ]
    if not arms:
        ours = [Series(name="dense", style="dense", values=tuple(value(x, mean) for x, mean in dense))]
    theirs = paper.points("retrained", case.model, case.dataset) if case.recipe == "paper" else {}
    drawn = (*paper_series(theirs, {arm: arm for arm in MASKS}), *ours)
    note = [
        f"{style_of(arm).name} at sparsity {100 * (1 - of_arm[-1][0]):g} %: {words.mean(of_arm[-1][1])}"
        for arm, of_arm in arms
    ]
    return Panel(
        title=str(case),
        note=words.sentence("; ".join(note)) if note else "Only dense networks were run.",
        x=sparsity_axis({point.x for one in drawn for point in one.values}),
        y=ACCURACY,
        series=drawn,
    )


def figure_8(tables: Tables) -> Chart:
    """Accuracy over epochs of each run of LeNet-5 on pruned structures, with the classes that died."""
    found = [one for one in samples(tables, "retrained") if one.case.model == "lenet-5"]
    return Chart(
        title="Figure 8: LeNet-5 on pruned structures, each seed by itself",
        about="A line is a run, of one seed and one sparsity. Pale lines stand where k of ten classes are never told: "
        "accuracy 1 − k/10. The names at the right ends are how many classes are dead there, and in how many runs.",
        panels=tuple(panel for one in found for arm in MASKS for panel in _plateaus(tables, one, arm)),
        missing="runs of the experiment retrained with LeNet-5, and their epochs",
    )


def _plateaus(tables: Tables, found: Samples, arm: str) -> list[Panel]:
    runs = [
        run
        for (name, _), of_arm in found.arms.items()
        if name == arm
        for run in of_arm.values()
        if tables.epochs.get(run.run)
    ]
    if not runs:
        return []
    runs.sort(key=lambda run: (bool(run.dead_classes), run.density or 0, run.seed))  # plateaus in front
    dead = [run for run in runs if run.dead_classes]
    return [
        Panel(
            title=f"{found.case}, {arm}",
            note=f"{len(dead)} of {len(runs)} runs end with dead classes{_sparsities(dead)}.",
            x=Axis(label="epoch"),
            y=Axis(label="test accuracy, %", percent=True, limits=(0.0, 1.0), ticks=(0, 0.2, 0.4, 0.6, 0.8, 1)),
            series=tuple(_named(tables, runs)),
            references=tuple((1 - k / CLASSES, "") for k in range(1, CLASSES)),
        )
    ]


def _sparsities(dead: list[Run]) -> str:
    counts = Counter(round(100 * (1 - (run.density or 0)), 4) for run in dead)
    told = ", ".join(f"{count} at sparsity {sparsity:g} %" for sparsity, count in sorted(counts.items()))
    return f" ({told})" if told else ""


def _named(tables: Tables, runs: list[Run]) -> list[Series]:
    """The lines of the runs; the first of each number of dead classes is named for all of them."""
    counts = Counter(run.dead_classes for run in runs)
    named: set[int | None] = set()
    series = []
    for run in runs:
        name = ""
        if run.dead_classes not in named:
            named.add(run.dead_classes)
            k, n = run.dead_classes, counts[run.dead_classes]
            name = f"{k} dead: {n} run{'s' if n > 1 else ''}" if k else f"none dead: {n}"
        values = (
            Value(e.epoch, e.test_accuracy, None, 1) for e in tables.epochs[run.run] if e.test_accuracy is not None
        )
        series.append(
            Series(name=name, style="dead" if run.dead_classes else "alive", values=tuple(values), look="thin")
        )
    return series
