"""Tasks: the loss that training minimises, the metrics of a test, and which values of the first metric are better."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from topokit._signals import uninterrupted
from topokit.errors import InvalidSpecError, TopokitError
from topokit_train.datasets import Dataset
from topokit_train.datasets.given import TASKS
from topokit_train.functions import UserFunction, load_function


class Task:
    """The task of a network.

    Args:
        classes: number of classes or tokens; None if targets are numbers.

    Attributes:
        metric: name of the first metric, by which runs are compared.
        better: "higher" or "lower".
        stacks: whether `losses` exists, for several stacked networks.
    """

    metric: str
    better: str = "lower"
    stacks: bool = False

    def __init__(self, classes: int | None):
        self.classes = classes

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""
        raise NotImplementedError

    def losses(self, outputs: Tensor, targets: Tensor, networks: int) -> Tensor:
        """Return the mean loss of each of several stacked networks, shape (networks,).

        Args:
            outputs: shape (batch, networks * classes).
            targets: shape (batch,), or (batch, networks).
            networks: number of networks.
        """
        raise NotImplementedError

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002 (others need them)
        """Return what `scores` needs for a batch of a test, a row for each sample."""
        return outputs

    def scores(self, kept: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the metrics of a whole test, the first one first."""
        raise NotImplementedError

    def predicted(self, kept: Tensor, targets: Tensor) -> Tensor | None:  # noqa: ARG002 (others need them)
        """Return the predicted class of each sample; None if the task has no classes of samples."""
        return None

    def fitted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the outputs in the shape that the task needs: with one number for each class, or for each target.

        Raises:
            InvalidSpecError: they have another shape.
        """
        wanted = targets.shape if self.classes is None else (*targets.shape, self.classes)
        if outputs.shape == wanted:
            return outputs
        if self.classes is None and outputs.numel() == targets.numel() and len(outputs) == len(targets):
            return outputs.view_as(targets)
        raise InvalidSpecError(
            f"the model gives outputs of shape {tuple(outputs.shape)} for a batch, and the task needs {tuple(wanted)}: "
            "let its last layer have as many outputs, or give a `loss` and a `metric` of your own"
        )


class Classification(Task):
    """One of several classes for each sample. Loss: cross-entropy; metric: accuracy, the correct fraction."""

    metric = "accuracy"
    better = "higher"
    stacks = True

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(self.fitted(outputs, targets), targets)

    def losses(self, outputs: Tensor, targets: Tensor, networks: int) -> Tensor:
        outputs = outputs.reshape(len(targets), networks, -1)
        targets = targets[:, None].expand(outputs.shape[:2]) if targets.ndim == 1 else targets
        each = cross_entropy(outputs.flatten(0, 1), targets.reshape(-1), reduction="none")
        return each.view(outputs.shape[:2]).mean(0)

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002 (others need them)
        return outputs.argmax(-1)

    def scores(self, kept: Tensor, targets: Tensor) -> dict[str, float]:
        return {"accuracy": int((kept == targets).sum()) / len(targets)}

    def predicted(self, kept: Tensor, targets: Tensor) -> Tensor | None:  # noqa: ARG002 (others need them)
        return kept


class Regression(Task):
    """Numbers for each sample. Loss: mean squared error; metrics: mse and R squared, r2.

    r2 is 1 minus the squared errors of all outputs over the squared distances of the targets from the mean of each
    output; for constant targets, 1 if all outputs are exact, and 0 otherwise.
    """

    metric = "mse"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(self.fitted(outputs, targets), targets)

    def scores(self, kept: Tensor, targets: Tensor) -> dict[str, float]:
        wanted = targets.cpu().double()
        errors = (self.fitted(kept, targets).cpu().double() - wanted).square()
        spread = float((wanted - wanted.mean(0)).square().sum())
        wrong = float(errors.sum())
        return {"mse": float(errors.mean()), "r2": 1 - wrong / spread if spread else float(wrong == 0)}


class NextToken(Task):
    """The next token after each token. Loss and metric: cross-entropy per token; its exponential, perplexity."""

    metric = "loss"
    _MOST = 700.0  # the exponential of a larger number is not a float

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(self.fitted(outputs, targets).flatten(0, -2), targets.flatten())

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = cross_entropy(self.fitted(outputs, targets).flatten(0, -2), targets.flatten(), reduction="none")
        return each.view_as(targets).mean(1)

    def scores(self, kept: Tensor, targets: Tensor) -> dict[str, float]:  # noqa: ARG002 (others need them)
        loss = float(kept.cpu().double().mean())
        return {"loss": loss, "perplexity": math.exp(min(loss, self._MOST))}


class Own(Task):
    """A task with a loss or a metric of the user.

    Args:
        task: gives the other one of the two, and further metrics.
        loss: (outputs, targets) of a batch -> a scalar, its mean; None for the loss of the task. The outputs of a
            regression have the shape of the targets.
        metric: (outputs, targets) of the whole test -> a number; None for the metric of the task.
        better: which values of the metric are better, "higher" or "lower".
    """

    def __init__(self, task: Task, loss: UserFunction | None, metric: UserFunction | None, better: str | None):
        super().__init__(task.classes)
        self.task, self._loss, self._metric = task, loss, metric
        self.stacks = task.stacks and loss is None
        self.metric = metric.name.rpartition(":")[2] if metric else task.metric
        self.better = better or task.better

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._loss is None:
            return self.task.loss(outputs, targets)
        loss = self._loss.apply(self._like(outputs, targets), targets)
        if isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad:
            return loss
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InvalidSpecError(
            f"`loss` {self._loss.name} returns {what}: give a function of (outputs, targets) that returns a scalar "
            "tensor with a gradient, such as torch.nn.functional:mse_loss"
        )

    def _like(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the outputs in the shape of the targets, if possible: (N, 1) - (N,) would be a matrix."""
        with suppress(InvalidSpecError):
            return self.task.fitted(outputs, targets)
        return outputs

    def losses(self, outputs: Tensor, targets: Tensor, networks: int) -> Tensor:
        return self.task.losses(outputs, targets, networks)

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs if self._metric else self.task.kept(outputs, targets)

    def scores(self, kept: Tensor, targets: Tensor) -> dict[str, float]:
        if self._metric is None:
            return self.task.scores(kept, targets)
        value = self._metric.apply(self._like(kept, targets), targets)
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise InvalidSpecError(
                f"`metric` {self._metric.name} returns {type(value).__name__}: give a function of (outputs, targets) "
                "that returns one number"
            ) from None
        others: dict[str, float] = {}
        with suppress(InvalidSpecError):  # outputs of a shape for the user's functions alone
            others = self.task.scores(self.task.kept(kept, targets), targets)
        return {self.metric: number} | {name: value for name, value in others.items() if name != self.metric}

    def predicted(self, kept: Tensor, targets: Tensor) -> Tensor | None:
        return self.task.predicted(self.task.kept(kept, targets) if self._metric else kept, targets)


def task_of(dataset: Dataset, loss: str | None = None, metric: str | None = None, better: str | None = None) -> Task:
    """Return the task of a dataset, with a loss and a metric of the user if they are given.

    Args:
        dataset: determines the task and the classes.
        loss: file.py:function or package.module:function; called with (outputs, targets) of a batch.
        metric: likewise, called with (outputs, targets) of the whole test, not of its batches.
        better: which values of the metric are better, "higher" or "lower".

    Raises:
        InvalidSpecError: no such task or function.
    """
    task: Task = TASKS[dataset.task](dataset.classes)
    if loss is None and metric is None:
        return task
    own = (load_function(loss, "loss") if loss else None, load_function(metric, "metric") if metric else None)
    return Own(task, *own, better)


@torch.inference_mode()
def tested(task: Task, outputs: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, batch: int) -> Tensor:
    """Return what `Task.scores` needs for a whole test.

    Args:
        task: the task.
        outputs: returns a network's outputs for a batch of inputs.
        inputs: of all samples.
        targets: of all samples.
        batch: number of samples in one call of `outputs`.
    """
    kept = []
    for part, wanted in zip(torch.split(inputs, batch), torch.split(targets, batch), strict=True):
        with uninterrupted():
            kept.append(task.kept(outputs(part), wanted))
    return torch.cat(kept)


def require_finite(scores: dict[str, float], where: str) -> None:
    """Refuse a metric that is not a finite number.

    Raises:
        TopokitError: names it and its value.
    """
    for name, value in scores.items():
        if not math.isfinite(value):
            raise TopokitError(f"the metric {name} is {value} {where}: give a smaller `lr`, or correct the metric")


def dead_classes(task: Task, kept: Tensor, targets: Tensor) -> list[int] | None:
    """Return the classes that are not predicted for any sample; None if the task has no classes of samples."""
    predicted = task.predicted(kept, targets)
    if predicted is None:
        return None
    found = set(torch.unique(predicted).tolist())
    return [label for label in range(task.classes or 0) if label not in found]
