"""Trainer: the loop. It holds all that changes while a network is trained, and knows nothing of files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler

from topokit.csr import require_memory
from topokit.errors import InvalidSpecError, TopokitError
from topokit.layered import Layered
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.layers import SparseLinear
from topokit_train.models.networks import build_model

WEIGHTS, ORDER = 0, 1  # what a seed is spent on: each has its own random stream
TEST_BATCH = 4096


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


class Trainer:
    """A network and its optimizer, trained one epoch after another.

    What an epoch does depends on the weights, the optimizer's state and (seed, epoch) only, so a run that is
    continued from the state after an epoch goes on exactly as it would have, on the CPU with as many threads.

    Args:
        config: the settings.
        topology: fills the model's slots; None for a dense model.
        dataset: what to train on; the pixels are shifted and scaled to mean 0 and standard deviation 1.
        device: where to train.
        kernel: as for `build_model`.

    Raises:
        InvalidSpecError: the topology does not fit the model, or nothing is left to train on.
    """

    def __init__(
        self,
        config: TrainConfig,
        topology: Layered | None,
        dataset: Dataset,
        *,
        device: torch.device,
        kernel: str | dict[str, str],
    ):
        self.config = config
        self.device = device
        self.classes = dataset.classes
        self.history: list[Metrics] = []
        self._load(dataset)
        self.model = build_model(
            config.model,
            topology,
            pixels=dataset.pixels,
            classes=dataset.classes,
            kernel=kernel,
            device=device,
            generator=torch.Generator().manual_seed(int(_stream(config.seed, WEIGHTS).generate_state(1, np.uint64)[0])),
        )
        self.optimizer = _optimizer(config, self.model)
        self.steps_per_epoch = -(-len(self.labels) // config.batch_size)
        self.scheduler = _scheduler(config, self.optimizer, config.epochs * self.steps_per_epoch)

    def _load(self, dataset: Dataset) -> None:
        kept = len(dataset.train_labels) - self.config.validation
        if kept < 1:
            raise InvalidSpecError(
                f"--validation {self.config.validation} holds out all {len(dataset.train_labels)} training images: "
                "hold out fewer"
            )
        images = self._pixels(dataset.train_images[:kept])
        deviation, mean = torch.std_mean(images, correction=0)
        scale = 1 / deviation if deviation > 0 else torch.ones_like(deviation)
        self.images = images.sub_(mean).mul_(scale)
        self.labels = self._labels(dataset.train_labels[:kept])
        self.held_out = (
            self._pixels(dataset.train_images[kept:]).sub_(mean).mul_(scale),
            self._labels(dataset.train_labels[kept:]),
        )
        self.test = (self._pixels(dataset.test_images).sub_(mean).mul_(scale), self._labels(dataset.test_labels))

    def _pixels(self, images: UInt8Array) -> Tensor:
        require_memory(4 * images.size, "the images as 32-bit numbers")
        return torch.from_numpy(images.astype(np.float32)).to(self.device)

    def _labels(self, labels: UInt8Array) -> Tensor:
        return torch.from_numpy(labels.astype(np.int64)).to(self.device)

    @property
    def kernels(self) -> dict[str, str]:
        """The kernel of each sparse layer."""
        return {name: part.kernel for name, part in self.model.named_modules() if isinstance(part, SparseLinear)}

    def run_epoch(self, after_step: Callable[[], object] = lambda: None) -> Metrics:
        """Use each training image once, in an order of its own, and then test.

        Args:
            after_step: called after each step.

        Raises:
            TopokitError: the loss is no longer a finite number.
        """
        count, number = len(self.labels), len(self.history)
        order = torch.from_numpy(np.random.default_rng(_stream(self.config.seed, ORDER, number)).permutation(count))
        total = torch.zeros((), device=self.device)
        lr = 0.0
        self.model.train()
        started = self._clock()
        for batch in torch.split(order.to(self.device), self.config.batch_size):
            lr = self.optimizer.param_groups[0]["lr"]
            loss = self.step(self.images.index_select(0, batch), self.labels.index_select(0, batch))
            total.add_(loss, alpha=len(batch))  # stays on the device: reading it would wait for the step
            after_step()
        seconds = self._clock() - started
        mean_loss = total.item() / count
        if not math.isfinite(mean_loss):
            raise TopokitError(
                f"the loss is {mean_loss} in epoch {number + 1}: give a smaller --lr than {self.config.lr}"
            )
        metrics = Metrics(
            epoch=number + 1,
            train_loss=mean_loss,
            test_accuracy=self.accuracy(*self.test),
            validation_accuracy=self.accuracy(*self.held_out) if self.config.validation else None,
            seconds=seconds,
            lr=lr,
        )
        self.history.append(metrics)
        return metrics

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One optimisation step on a batch; returns its loss before the step, left on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.optimizer.step()
        self.scheduler.step()
        return loss.detach()

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Fraction of the images whose class is predicted."""
        return int((self._predict(images) == labels).sum()) / len(labels)

    def dead_classes(self) -> list[int]:
        """Classes that are predicted for no test image."""
        predicted = set(self._predict(self.test[0]).tolist())
        return [label for label in range(self.classes) if label not in predicted]

    @torch.inference_mode()
    def _predict(self, images: Tensor) -> Tensor:
        self.model.eval()
        return torch.cat([self.model(batch).argmax(1) for batch in torch.split(images, TEST_BATCH)])

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _stream(seed: int, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=key)


def _optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    # fused: one call for all parameters, half the time of a step of a small network
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9, fused=True)
    return torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)


def _scheduler(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    if config.schedule == "constant":
        return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    return lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=steps, cycle_momentum=False)
