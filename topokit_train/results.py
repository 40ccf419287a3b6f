"""Result: metrics, time and sizes of a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from topokit.reprs import short_repr
from topokit_train.activity import effective_sparsities, inactive_units
from topokit_train.intervals import mean_and_ci95 as interval
from topokit_train.models.networks import count_parameters
from topokit_train.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Result:
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
        test_metrics: the other metrics on them.
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


def mean_and_ci95(results: Sequence[Result]) -> tuple[float, float | None]:
    """Return the mean test metric of several seeds, and half the width of its 95 % confidence interval.

    The interval is Student's t; None for a single seed.
    """
    return interval([result.test_metric for result in results])
