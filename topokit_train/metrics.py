"""Metrics of a network after an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

ACCURACY = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The metrics of an epoch.

    Args:
        epoch: 1 for the first.
        train_loss: mean loss of the training samples, each at its step.
        test_accuracy: fraction of the test samples whose class is predicted; None if the task has no classes.
        validation_accuracy: the same for the validation samples; None also if there are none.
        seconds: time of the optimisation steps of the epoch.
        lr: learning rate of the last step.
        metric: name of the first metric of the task.
        test_metric: its value on the test samples.
        validation_metric: its value on the validation samples; None if there are none.
        test_metrics: the other metrics on the test samples, and numbers that a method or callback returned.
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
        if self.metric == ACCURACY and self.test_metric is None:  # written by 0.1.0
            object.__setattr__(self, "test_metric", self.test_accuracy)
            object.__setattr__(self, "validation_metric", self.validation_accuracy)

    @classmethod
    def of(cls, metric: str, tested: Mapping[str, float], validated: Mapping[str, float], **more: Any) -> Self:
        """Return the metrics of an epoch from the scores of its tests, of which `metric` is the first."""
        return cls(
            metric=metric,
            test_accuracy=tested.get(ACCURACY),
            validation_accuracy=validated.get(ACCURACY),
            test_metric=tested[metric],
            validation_metric=validated.get(metric),
            test_metrics={name: value for name, value in tested.items() if name != metric},
            **more,
        )


def shown(metric: str, value: float) -> str:
    """Return the value of a metric as text: accuracies in percent, whole numbers with all digits.

    >>> shown("accuracy", 0.9825), shown("mse", 0.123456), shown("replaced", 31824.0)
    ('98.25%', '0.1235', '31,824')
    """
    if metric == ACCURACY:
        return f"{value:.2%}"
    return f"{value:,.0f}" if value % 1 == 0 and abs(value) < 1e15 else f"{value:.4g}"


def with_metric(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first metric of a result or a row of a table: "metric", "better" and "test_metric".

    Results of 0.1.0 have only a test accuracy.
    """
    if "metric" in record:
        return {name: record[name] for name in ("metric", "better", "test_metric")}
    return {"metric": ACCURACY, "better": "higher", "test_metric": record["test_accuracy"]}
