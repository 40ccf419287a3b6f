"""evaluate: metrics of a run's network, per class, its dead classes and inactive units."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from topokit.reprs import Tabular, aligned, short_repr
from topokit_train.activity import inactive_units
from topokit_train.datasets import Dataset
from topokit_train.feeding.inputs import Inputs, numbers
from topokit_train.metrics import shown
from topokit_train.models.networks import Model
from topokit_train.runs.loading import opened_run
from topokit_train.tasks import dead_classes, require_finite, task_of, tested
from topokit_train.training import samples_at_once


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """Counts of one class in a test.

    Args:
        label: of the class.
        count: test samples of the class.
        predicted: test samples for which it is predicted.
        recall: fraction of its samples for which it is predicted, its accuracy; None without samples.
        precision: fraction of the samples for which it is predicted that are of it; None if it never is.
    """

    label: int
    count: int
    predicted: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation(Tabular):
    """What a network does on the test samples of a dataset.

    Args:
        run: its folder or checkpoint.
        dataset: name of the dataset.
        samples: number of test samples.
        metric: name of the first metric of the task.
        better: which of its values are, "higher" or "lower"; None for a metric that the run did not have.
        test_metric: its value.
        test_metrics: the other metrics.
        classes: each class; None if the task has no classes of samples.
        dead_classes: classes that are predicted for no sample; None likewise.
        dead_units: for each hidden layer, how many units are 0 for every sample; of a convolution, how many channels.
            Nothing for a model whose layers do not follow one another.
    """

    run: str
    dataset: str
    samples: int
    metric: str
    better: str | None
    test_metric: float
    test_metrics: dict[str, float]
    classes: tuple[ClassCount, ...] | None
    dead_classes: list[int] | None
    dead_units: dict[str, int]

    __repr__ = short_repr

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        return dataclasses.asdict(self)

    def records(self) -> list[dict[str, Any]]:
        """A row for each class; of a task without classes one, of the metrics."""
        if self.classes is None:
            return [{"dataset": self.dataset, "samples": self.samples, **self._metrics}]
        return [dataclasses.asdict(one) for one in self.classes]

    @property
    def _metrics(self) -> dict[str, float]:
        return {self.metric: self.test_metric} | self.test_metrics

    def _about(self) -> list[tuple[str, str]]:
        rows = [("dataset", f"{self.dataset}, {self.samples:,} test samples")]
        rows += [(f"test {name}", shown(name, value)) for name, value in self._metrics.items()]
        if self.dead_classes is not None:
            rows.append(("dead classes", ", ".join(map(str, self.dead_classes)) or "none"))
        if self.dead_units:
            rows.append(("inactive units", ", ".join(f"{name} {count}" for name, count in self.dead_units.items())))
        return rows

    @property
    def title(self) -> str:
        return "; ".join(map(": ".join, self._about())) if self.classes is not None else ""

    def rows(self) -> list[tuple[str, ...]]:
        if self.classes is None:
            return [*self._about()]
        return [
            ("class", "samples", "predicted", "recall", "precision"),
            *(
                (str(one.label), f"{one.count:,}", f"{one.predicted:,}", _share(one.recall), _share(one.precision))
                for one in self.classes
            ),
        ]

    def __str__(self) -> str:
        classes = [] if self.classes is None else ["", *aligned(self.rows(), right=range(5))]
        return "\n".join([*aligned(self._about()), *classes])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def evaluate(
    run: Path | str,
    data: Dataset | str | None = None,
    *,
    model: Model | None = None,
    metric: str | None = None,
    device: str = "cpu",
    data_dir: Path | str | None = None,
) -> Evaluation:
    """Test the network of a run, as it was after its last whole epoch.

    Args:
        run: the run's folder, or a checkpoint.
        data: the dataset or its name; by default that of the run. Images of another dataset than the run's are scaled
            by the mean and deviation of its own training images.
        model: as for `load_run`.
        metric: a function of the user as first metric, file.py:function or package.module:function; by default the
            metric of the task.
        device: where to test, as the setting `device`.
        data_dir: as for `load_run`.

    Raises:
        FileFormatError: a damaged checkpoint.
        InvalidSpecError: the data do not fit the network; a model, a dataset or a metric of the user that must be
            given.
        TopokitError: no checkpoint, data that are not to be had, or a metric that fails.

    Cost: two passes over the test samples.
    """
    network, config, dataset = opened_run(run, model=model, data=data, device=device, data_dir=data_dir)
    place = next((one.device for one in network.parameters()), torch.device("cpu"))
    trained_on = dataset.train_inputs[: max(1, len(dataset.train_inputs) - config.validation)]
    inputs = Inputs(config, dataset, trained_on, place)
    samples, targets = inputs.load(dataset.test_inputs), numbers(dataset.test_targets).to(place)
    task = task_of(dataset, metric=metric)

    def test() -> Tensor:
        most = samples_at_once(config.batch_size, targets)
        return tested(task, lambda batch: network(inputs.of_tests(batch)), samples, targets, most)

    with torch.inference_mode():
        first = network(inputs.of_tests(samples[:1]))
        task.kept(first, targets[:1])
        if metric is None and task.classes is not None:
            task.fitted(first, targets[:1])
    kept = test()
    scores = task.scores(kept, targets)
    require_finite(scores, f"of {run}")
    predicted = task.predicted(kept, targets)
    return Evaluation(
        run=str(run),
        dataset=dataset.name,
        samples=len(targets),
        metric=task.metric,
        better=task.better if metric is None else (config.better if metric == config.metric else None),
        test_metric=scores.pop(task.metric),
        test_metrics=scores,
        classes=None if predicted is None else _by_class(predicted, targets, dataset.outputs),
        dead_classes=dead_classes(task, kept, targets),
        dead_units=inactive_units(network, test)[0],
    )


def _by_class(predicted: Tensor, targets: Tensor, classes: int) -> tuple[ClassCount, ...]:
    there, found, right = (
        torch.bincount(labels, minlength=classes).tolist()
        for labels in (targets, predicted, targets[predicted == targets])
    )
    return tuple(
        ClassCount(
            label=label,
            count=there[label],
            predicted=found[label],
            recall=right[label] / there[label] if there[label] else None,
            precision=right[label] / found[label] if found[label] else None,
        )
        for label in range(classes)
    )
