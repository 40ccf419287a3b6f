"""Result: metrics, time and sizes of a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from topokit.reprs import Tabular, aligned, counted, short_repr
from topokit_train.metrics import shown
from topokit_train.models.networks import count_parameters
from topokit_train.training import Trainer
from topokit_train.vitality import dead_units, effective_sparsities


@dataclass(frozen=True, kw_only=True)
class Result(Tabular):
    """What a finished run came to.

    Args:
        run: its folder.
        model: name of the model.
        dataset: name of the dataset.
        kernel: of the sparse layers; several are joined by "+", and a dense model has "dense".
        device: where it was trained.
        seed: of the weights and of the images' order.
        epochs: how often each image was used.
        test_accuracy: fraction of the test samples whose class is predicted; None if the task has no classes.
        metric: name of the first metric of the task, by which runs are compared.
        better: which of its values are, "higher" or "lower".
        test_metric: its value on the test samples, after the last epoch.
        test_metrics: the other metrics on them.
        stacked: how many networks were trained together, this one included.
        train_seconds: spent on optimisation steps; of stacked networks, this one's share.
        parameters: "total" of the dense model, and "nonzero", the numbers that are really there, biases included.
        dead_classes: classes that are predicted for no test sample; None if the task has no classes of samples.
        dead_units: for each hidden layer, how many units are 0 for every test image; of a convolution, how many
            channels.
        effective_sparsity: "before" training, of the edges, unless a method has changed them; and "after" it, of the
            weights that are not 0: see `topokit_train.vitality`. None for a model whose layers do not chain.
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
        """The fields as JSON-able values: what result.json holds."""
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
        return f"<Results of {len(self)} seeds, {self.title}>"

    def __str__(self) -> str:
        head, spread = self.title.split("  ")
        seeds = [
            f"seed {one.seed:<5} {shown(one.metric, one.test_metric)}  {one.run}"
            + (f"  dead classes {_dead(one)}" if one.dead_classes else "")
            for one in self
        ]
        return "\n".join([*seeds, *aligned([(head, spread), *_others(self), *_about(self)])])


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
        return "unknown: the layers do not chain"
    after = _range([one["after"] for one in known], ".2%")
    before = known[0].get("before")
    return f"{after} after training" if before is None else f"{before:.2%} before training, {after} after"


def _range(values: Sequence[float], form: str = "") -> str:
    """The one value of all networks, or the least and the greatest."""
    texts = [format(value, form) for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))


def results_of(trainer: Trainer, folders: Sequence[str]) -> list[Result]:
    """The result of each of a trainer's networks.

    Args:
        trainer: has run all epochs.
        folders: the run's folder of each network.
    """
    config = trainer.config
    about = {
        "model": config.model,
        "dataset": config.dataset,
        "kernel": "+".join(sorted(set(trainer.kernels.values()))) or "dense",
        "device": str(trainer.device),
        "epochs": config.epochs,
        "stacked": len(trainer.seeds),
        "metric": trainer.task.metric,
        "better": trainer.task.better,
    }
    return [
        Result(
            run=folder,
            seed=seed,
            test_metric=history[-1].test_metric,
            test_metrics=history[-1].test_metrics,
            test_accuracy=history[-1].test_accuracy,
            train_seconds=sum(metrics.seconds for metrics in history),
            parameters=count_parameters(trainer.model),
            dead_classes=classes,
            dead_units=units,
            effective_sparsity=sparsity,
            **about,  # type: ignore[arg-type]  # the names and types are those above
        )
        for folder, seed, history, classes, units, sparsity in zip(
            folders,
            trainer.seeds,
            trainer.histories,
            trainer.dead_classes(),
            dead_units(trainer.model, len(trainer.seeds), lambda: trainer.scores(*trainer.feed.test)),
            [_sparsity(trainer, one) for one in effective_sparsities(trainer.model)],
            strict=True,
        )
    ]


def _sparsity(trainer: Trainer, found: dict[str, float] | None) -> dict[str, float] | None:
    """Without that of the edges before training, if a method has changed them."""
    return {"after": found["after"]} if found and trainer.rewired else found
