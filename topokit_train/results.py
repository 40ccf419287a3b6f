"""Result: metrics, time and sizes of a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from topokit.reprs import short_repr
from topokit_train.models.networks import count_parameters
from topokit_train.training import Trainer
from topokit_train.vitality import dead_units, effective_sparsities


@dataclass(frozen=True, kw_only=True)
class Result:
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
