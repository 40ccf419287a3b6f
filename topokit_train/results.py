"""Result: metrics, time and sizes of a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from topokit.reprs import Tabular, aligned, counted, short_repr
from topokit.statistics import mean_and_ci95
from topokit_train.activity import effective_sparsities, inactive_units
from topokit_train.metrics import shown
from topokit_train.models.networks import count_parameters
from topokit_train.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Result(Tabular):
    """The result of a finished run.

    Args:
        run: its folder.
        model: name of the model.
        dataset: name of the dataset.
        kernel: of the sparse layers, several joined by "+"; "dense" for a dense model.
        device: on which it was trained.
        seed: of the weights and of the order of the samples.
        epochs: number of epochs.
        test_accuracy: fraction of the test samples whose class is predicted; None if the task has no classes.
        metric: name of the first metric of the task, by which runs are compared.
        better: which values of the metric are better, "higher" or "lower".
        test_metric: its value on the test samples, after the last epoch.
        test_metrics: the other metrics on them, and numbers that a method or callback returned.
        stacked: number of networks that were trained together, this one included.
        train_seconds: time of the optimisation steps; the share of this network, if stacked.
        parameters: "total" of the dense model, and "nonzero", the parameters of this model, biases included.
        dead_classes: classes that are predicted for no test sample; None if the task has no classes of samples.
        dead_units: for each hidden layer, the number of inactive units, which are 0 for every test sample; channels, in
            a convolution.
        effective_sparsity: "before" training, of the edges, unless a method has changed them; and "after" training, of
            the weights other than 0: see `topokit_train.activity`. None for a model whose layers do not chain.
    """

    run: str
    model: str
    dataset: str
    kernel: str
    device: str
    seed: int
    epochs: int
    test_accuracy: float | None
    metric: str
    better: str
    test_metric: float
    test_metrics: dict[str, float]
    stacked: int
    train_seconds: float
    parameters: dict[str, int]
    dead_classes: list[int] | None
    dead_units: dict[str, int]
    effective_sparsity: dict[str, float] | None

    __repr__ = short_repr

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-able values, as in result.json."""
        return dataclasses.asdict(self)

    def records(self) -> list[dict[str, Any]]:
        return [self.to_json()]

    def rows(self) -> list[tuple[str, str]]:
        head = (f"test {self.metric}", shown(self.metric, self.test_metric))
        dead = [] if self.dead_classes is None else [("dead classes", _dead(self))]
        return [head, *_others([self]), *_about([self]), *dead, ("run", self.run)]

    def __str__(self) -> str:
        return "\n".join(aligned(self.rows()))


class Results(list[Result], Tabular):
    """The results of several seeds. Prints as a table, in a notebook too."""

    columns = tuple(field.name for field in dataclasses.fields(Result))

    @property
    def title(self) -> str:
        metric, (mean, half) = self[0].metric, mean_and_ci95([result.test_metric for result in self])
        spread = "" if half is None else f" ± {shown(metric, half)} (95 % of Student's t, {len(self)} seeds)"
        return f"test {metric}  {shown(metric, mean)}{spread}"

    def records(self) -> list[dict[str, Any]]:
        return [result.to_json() for result in self]

    def rows(self) -> list[tuple[str, ...]]:
        return [
            ("seed", f"test {self[0].metric}", "run", "dead classes"),
            *((str(one.seed), shown(one.metric, one.test_metric), one.run, _dead(one)) for one in self),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the results, and the mean test metric with half its confidence interval, for `json.dumps`."""
        mean, half = mean_and_ci95([result.test_metric for result in self])
        return {"runs": self.records(), "mean": mean, "ci95": half}

    def __repr__(self) -> str:
        return f"<Results of {len(self)} seeds, {' '.join(self.title.split())}>"

    def __str__(self) -> str:
        head, spread = self.title.split("  ")
        seeds = [
            f"seed {one.seed:<5} {shown(one.metric, one.test_metric)}  {one.run}"
            + (f"  dead classes {_dead(one)}" if one.dead_classes else "")
            for one in self
        ]
        return "\n".join([*seeds, *aligned([(head, spread), *_others(self), *_about(self)])])


class Kernels(list[tuple[str, str, str]], Tabular):
    """Name, kernel and reason for the kernel of each sparse layer. Prints as a table, in a notebook too."""

    columns = ("layer", "kernel", "reason")

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, one, strict=True)) for one in self]

    __repr__ = Tabular.__str__


def _dead(result: Result) -> str:
    return ", ".join(map(str, result.dead_classes or ())) or "none"


def _others(results: Sequence[Result]) -> list[tuple[str, str]]:
    """A row for each further metric."""
    return [
        (f"test {name}", " to ".join(dict.fromkeys(shown(name, most) for most in (min(values), max(values)))))
        for name in results[0].test_metrics
        if (values := [result.test_metrics[name] for result in results])
    ]


def _about(results: Sequence[Result]) -> list[tuple[str, str]]:
    first = results[0]
    parameters = first.parameters
    seconds = f"{first.train_seconds:.1f} s" + (f" a network, {first.stacked} at once" if first.stacked > 1 else "")
    units = (f"{name} {_range([result.dead_units[name] for result in results])}" for name in first.dead_units)
    return [
        ("parameters", f"{parameters['nonzero']:,} of the dense model's {parameters['total']:,}"),
        ("effective sparsity", _sparsities([result.effective_sparsity for result in results])),
        *([("inactive units", ", ".join(units) or "no hidden layer")] if first.effective_sparsity else []),
        ("training", f"{seconds}, {counted(first.epochs, 'epoch')}, kernel {first.kernel}, {first.device}"),
    ]


def _sparsities(found: Sequence[dict[str, float] | None]) -> str:
    known = [one for one in found if one is not None]
    if not known:
        return "not measured: the model is not an nn.Sequential of known layers"
    after = _range([one["after"] for one in known], ".2%")
    before = known[0].get("before")
    return f"{after} after training" if before is None else f"{before:.2%} before training, {after} after"


def _range(values: Sequence[float], form: str = "") -> str:
    """The one value of all networks, or the least and the greatest."""
    texts = [format(value, form) for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))


def results_of(trainer: Trainer, folders: Sequence[str]) -> list[Result]:
    """Return the result of each network of a trainer.

    Args:
        trainer: has run all epochs.
        folders: the run folder of each network.
    """
    dead_classes = trainer.dead_classes()
    inactive = inactive_units(trainer.model, lambda: trainer.scores(*trainer.feed.test))
    sparsities = effective_sparsities(trainer.model)
    results = []
    for k, history in enumerate(trainer.histories):
        sparsity = sparsities[k]
        if sparsity and trainer.rewired:
            sparsity = {"after": sparsity["after"]}  # the edges before training are not known any more
        results.append(
            Result(
                run=folders[k],
                model=trainer.config.model,
                dataset=trainer.config.dataset,
                kernel="+".join(sorted(set(trainer.kernels.values()))) or "dense",
                device=str(trainer.device),
                seed=trainer.seeds[k],
                epochs=trainer.config.epochs,
                test_accuracy=history[-1].test_accuracy,
                metric=trainer.task.metric,
                better=trainer.task.better,
                test_metric=history[-1].test_metric,  # type: ignore[arg-type]  # known after an epoch
                test_metrics=history[-1].test_metrics,
                stacked=len(trainer.seeds),
                train_seconds=sum(metrics.seconds for metrics in history),
                parameters=count_parameters(trainer.model),
                dead_classes=dead_classes[k],
                dead_units=inactive[k],
                effective_sparsity=sparsity,
            )
        )
    return results
