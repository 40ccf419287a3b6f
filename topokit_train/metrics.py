"""Metrics: what is known of a network after an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

ACCURACY = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What is known after an epoch.

    Args:
        epoch: 1 for the first.
        train_loss: mean loss of the training samples, each taken at its step.
        test_accuracy: fraction of the test samples whose class is predicted; None if the task has no classes.
        validation_accuracy: the same of the samples held out; None also if there are none.
        seconds: spent on this epoch's optimisation steps.
        lr: learning rate of the last step.
        metric: name of the first metric of the task.
        test_metric: its value on the test samples.
        validation_metric: its value on the samples held out; None if there are none.
        test_metrics: the other metrics on the test samples.
    """

    epoch: int
    train_loss: float
    test_accuracy: float | None
    validation_accuracy: float | None
    seconds: float
    lr: float
    metric: str = ACCURACY
    test_metric: float | None = None
    validation_metric: float | None = None
    test_metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric == ACCURACY and self.test_metric is None:  # of a release that knew no other metric
            object.__setattr__(self, "test_metric", self.test_accuracy)
            object.__setattr__(self, "validation_metric", self.validation_accuracy)

    @classmethod
    def of(cls, metric: str, tested: Mapping[str, float], validated: Mapping[str, float] | None, **more: Any) -> Self:
        """Return the metrics of an epoch from those of its tests, of which `metric` is the first."""
        held_out = validated or {}
        return cls(
            metric=metric,
            test_accuracy=tested.get(ACCURACY),
            validation_accuracy=held_out.get(ACCURACY),
            test_metric=tested[metric],
            validation_metric=held_out.get(metric),
            test_metrics={name: value for name, value in tested.items() if name != metric},
            **more,
        )


def shown(metric: str, value: float) -> str:
    """Return the value of a metric as text: accuracies in percent.

    >>> shown("accuracy", 0.9825), shown("mse", 0.123456)
    ('98.25%', '0.1235')
    """
    return f"{value:.2%}" if metric == ACCURACY else f"{value:.4g}"


def with_metric(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first metric in a result or a row of a table: "metric", "better" and "test_metric".

    What 0.1.0 wrote has only a test accuracy.
    """
    if "metric" in record:
        return {name: record[name] for name in ("metric", "better", "test_metric")}
    return {"metric": ACCURACY, "better": "higher", "test_metric": record["test_accuracy"]}
