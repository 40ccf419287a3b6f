"""Charts of pruning: accuracy without retraining, and what iterative pruning does over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from topokit_train.studies import paper, words
from topokit_train.studies.charts.model import ACCURACY, Axis, Chart, Panel, Series, paper_series, sparsity_axis, value
from topokit_train.studies.charts.style import style_of
from topokit_train.studies.samples import Case, cases_of
from topokit_train.studies.statistics import Mean, mean_of
from topokit_train.studies.tables import Epoch, Pruning, Run, Tables

EPOCH = Axis(label="epoch")
Means = dict[float, Mean]
"""x -> what the seeds come to there."""


def one_time(tables: Tables) -> Chart:
    """Accuracy against sparsity, right after one pruning at the end of training."""
    return Chart(
        title="One-time pruning: accuracy against sparsity, without retraining",
        about="A trained dense network loses its smallest weights at once, and is tested.",
        panels=_by_network(tables, "one-time", _after_pruning, sparsities=True),
        missing="runs of the experiment one-time, with their prunings",
    )


def thresholds(tables: Tables) -> Chart:
    """The largest magnitude that pruning took, over time."""
    return Chart(
        title="Iterative pruning: threshold over time",
        about="The largest magnitude that the latest pruning of each epoch set to zero.",
        panels=_over_time(tables, "threshold", lambda epoch: epoch.threshold, percent=False),
        missing="runs of the experiment iterative, with a threshold in their epochs",
    )


def sparsities(tables: Tables) -> Chart:
    """The share of pruned weights, over time."""
    return Chart(
        title="Iterative pruning: sparsity over time",
        about="The share of the weights in pruned layers that are zero after each epoch.",
        panels=_over_time(tables, "sparsity, %", lambda epoch: epoch.sparsity, percent=True),
        missing="runs of the experiment iterative, with a sparsity in their epochs",
    )


def accuracies(tables: Tables) -> Chart:
    """Test accuracy while a network is pruned."""
    return Chart(
        title="Iterative pruning: accuracy over time",
        about="Test accuracy after each epoch, while more and more weights are pruned.",
        panels=_over_time(tables, "test accuracy, %", lambda epoch: epoch.test_accuracy, percent=True),
        missing="runs of the experiment iterative, with their epochs",
    )


def iterative(tables: Tables) -> Chart:
    """Accuracy against the sparsity that iterative pruning reaches."""
    return Chart(
        title="Iterative pruning: accuracy against sparsity",
        about="Test accuracy right after the pruning that reaches a sparsity; at the last sparsity of a run, when it "
        "has been trained to its end.",
        panels=_by_network(tables, "iterative", _at_sparsity, sparsities=True),
        missing="runs of the experiment iterative, with their prunings",
    )


def _over_time(
    tables: Tables, label: str, read: Callable[[Epoch], float | None], *, percent: bool
) -> tuple[Panel, ...]:
    def of_run(tables: Tables, run: Run) -> Iterable[tuple[float, float]]:
        for epoch in tables.epochs.get(run.run, ()):
            found = read(epoch)
            if found is not None:
                yield epoch.epoch, found

    axis = ACCURACY if "accuracy" in label else Axis(label=label, percent=percent)
    return _by_network(tables, "iterative", of_run, y=axis)


def _after_pruning(tables: Tables, run: Run) -> Iterable[tuple[float, float]]:
    prunings = tables.prunings.get(run.run, ())
    if prunings and prunings[0].accuracy_before is not None:
        yield 1.0, prunings[0].accuracy_before
    yield from ((_density(one), one.test_accuracy) for one in prunings if one.test_accuracy is not None)


def _at_sparsity(tables: Tables, run: Run) -> Iterable[tuple[float, float]]:
    prunings = tables.prunings.get(run.run, ())
    for number, one in enumerate(prunings):
        last = number == len(prunings) - 1
        accuracy = run.test_accuracy if last else one.test_accuracy
        if accuracy is not None:
            yield _density(one), accuracy


def _last(tables: Tables, run: Run) -> float:
    """The density that a run ends with; below that of all other runs first, so that a run's own end comes last."""
    return min((_density(one) for one in tables.prunings.get(run.run, ())), default=1.0)


def _density(pruning: Pruning) -> float:
    return round(1 - (pruning.sparsity if pruning.target is None else pruning.target), 6)


def _by_network(
    tables: Tables,
    experiment: str,
    read: Callable[[Tables, Run], Iterable[tuple[float, float]]],
    *,
    sparsities: bool = False,
    y: Axis = ACCURACY,
) -> tuple[Panel, ...]:
    """A panel for each network, a series for each recipe: the means over seeds of what each run says."""
    cases = cases_of(tables, experiment)
    means = {case: _means(tables, runs, read) for case, runs in cases.items()}
    panels = []
    for network, members in groupby((case for case in cases if means[case]), key=lambda case: case.network):
        of_network = list(members)
        lengths = {case.recipe for case in of_network}
        series = [
            Series(
                name=style_of(case.recipe).name + ("" if len(lengths) == len(of_network) else f", {case.epochs}"),
                style=case.recipe,
                values=tuple(value(x, mean) for x, mean in sorted(means[case].items(), reverse=sparsities)),
                look="points" if sparsities else "band",
            )
            for case in of_network
        ]
        if experiment == "iterative" and sparsities:
            theirs = paper.points(experiment, of_network[0].model, of_network[0].dataset)
            series = [*paper_series(theirs, {"": "paper"}), *series]
        places = {point.x for one in series for point in one.values}
        panels.append(
            Panel(
                title=network,
                note=" ".join(_note(case, means[case], y, sparsities=sparsities) for case in of_network),
                x=sparsity_axis(places) if sparsities else EPOCH,
                y=y,
                series=tuple(series),
            )
        )
    return tuple(panels)


def _means(
    tables: Tables, runs: dict[int, list[Run]], read: Callable[[Tables, Run], Iterable[tuple[float, float]]]
) -> Means:
    """The mean over seeds at each x; of several runs of one seed, as one to each sparsity, the last has the word."""
    by_x: dict[float, dict[int, float]] = {}
    for seed, of_seed in runs.items():
        for run in sorted(of_seed, key=lambda run: (_last(tables, run), run.run)):
            for x, found in read(tables, run):
                by_x.setdefault(x, {})[seed] = found
    return {x: mean_of([of_x[seed] for seed in sorted(of_x)]) for x, of_x in by_x.items()}


def _note(case: Case, means: Means, y: Axis, *, sparsities: bool) -> str:
    x = min(means) if sparsities else max(means)
    where = f"at sparsity {100 * (1 - x):g} %" if sparsities else f"after epoch {x:g}"
    found = means[x]
    if y.percent:
        told = words.mean(found)
    else:
        half = f" ± {found.half:.2g}" if found.half is not None else ""
        told = f"{found.mean:.3g}{half} ({found.n} seed{'s' if found.n > 1 else ''})"
    return f"{case.recipe.capitalize()} recipe, {where}: {told}."
