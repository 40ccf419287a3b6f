"""Metrics: what is known of a network after an epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What is known after an epoch.

    Args:
        epoch: 1 for the first.
        train_loss: mean cross-entropy of the images, each taken at its step.
        test_accuracy: fraction of the test images.
        validation_accuracy: fraction of the images held out; None where there are none.
        seconds: spent on this epoch's optimisation steps.
        lr: learning rate of the last step.
    """

    epoch: int
    train_loss: float
    test_accuracy: float
    validation_accuracy: float | None
    seconds: float
    lr: float
