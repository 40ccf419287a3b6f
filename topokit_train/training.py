"""Trainer: the loop. It holds all that changes while networks are trained, and knows nothing of files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler

from topokit.csr import require_memory
from topokit.errors import InvalidSpecError, TopokitError
from topokit.layered import Layered
from topokit_train.choice import Choice
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.layers import SparseLinear
from topokit_train.models.networks import build_model
from topokit_train.stacks import load_network_states

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
    """Networks that differ in their seeds, one or stacked, and their optimizer, trained one epoch after another.

    What an epoch does depends on the weights, the optimizer's state and (seed, epoch) only, so a run that is
    continued from the state after an epoch goes on exactly as it would have, on the CPU with as many threads.

    Args:
        config: the settings.
        topology: fills the model's slots; None for a dense model.
        dataset: what to train on; the pixels are shifted and scaled to mean 0 and standard deviation 1.
        device: where to train.
        kernel: as for `build_model`.
        seeds: of the networks to stack; the one of `config` where left out.

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
        seeds: Sequence[int] | None = None,
    ):
        self.config = config
        self.device = device
        self.classes = dataset.classes
        self.seeds = tuple(seeds or (config.seed,))
        self.shared = config.order_seed is not None or len(self.seeds) == 1
        self.histories: tuple[list[Metrics], ...] = tuple([] for _ in self.seeds)
        self._paused = 0.0
        self._load(dataset)
        self.model = self._built(topology, dataset, kernel)
        self.optimizer = _optimizer(config, self.model)
        self.steps_per_epoch = -(-len(self.labels) // config.batch_size)
        self.scheduler = _scheduler(config, self.optimizer, config.epochs * self.steps_per_epoch)

    def _built(self, topology: Layered | None, dataset: Dataset, kernel: str | dict[str, str]) -> nn.Module:
        build = partial(build_model, self.config.model, topology, pixels=dataset.pixels, classes=dataset.classes)
        starts = [int(_stream(seed, WEIGHTS).generate_state(1, np.uint64)[0]) for seed in self.seeds]
        draws = [torch.Generator().manual_seed(start) for start in starts]
        if len(draws) == 1:
            return build(kernel=kernel, device=self.device, generator=draws[0])
        model = build(kernel=kernel, device=self.device, copies=len(draws), shared=self.shared)
        load_network_states(model, [build(kernel="csr", generator=draw).state_dict() for draw in draws])
        return model

    @property
    def epochs_done(self) -> int:
        """How many epochs there have been."""
        return len(self.histories[0])

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

    @property
    def choices(self) -> dict[str, Choice]:
        """The kernel of each sparse layer, and why it was taken."""
        return {name: part.choice for name, part in self.model.named_modules() if isinstance(part, SparseLinear)}

    def run_epoch(self, after_step: Callable[[], object] = lambda: None) -> list[Metrics]:
        """Use each training image once, in an order of its own, and then test.

        Args:
            after_step: called after each step.

        Returns:
            The metrics of each network; the seconds are its share.

        Raises:
            TopokitError: a loss is no longer a finite number.
        """
        total = torch.zeros(len(self.seeds), device=self.device)
        lr = self._paused = 0.0
        self.model.train()
        started = self._clock()
        for batch in torch.split(self.order(), self.config.batch_size):
            lr = self.optimizer.param_groups[0]["lr"]
            losses = self.step(self.images[batch], self.labels[batch])
            total.add_(losses, alpha=len(batch))  # stays on the device: reading it would wait for the step
            after_step()
        seconds = (self._clock() - started - self._paused) / len(self.seeds)
        losses = total / len(self.labels)
        for seed, loss in zip(self.seeds, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                raise TopokitError(
                    f"the loss is {loss} in epoch {self.epochs_done + 1} of seed {seed}: "
                    f"give a smaller --lr than {self.config.lr}"
                )
        test = self.accuracies(*self.test)
        validation = self.accuracies(*self.held_out) if self.config.validation else [None] * len(self.seeds)
        metrics = [
            Metrics(
                epoch=self.epochs_done + 1,
                train_loss=loss,
                test_accuracy=tested,
                validation_accuracy=validated,
                seconds=seconds,
                lr=lr,
            )
            for loss, tested, validated in zip(losses.tolist(), test, validation, strict=True)
        ]
        for history, entry in zip(self.histories, metrics, strict=True):
            history.append(entry)
        return metrics

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Between two steps: do what is no optimisation step, such as a test; it is not in the metrics' seconds."""
        started = self._clock()
        yield
        self.model.train()
        self._paused += self._clock() - started

    def order(self) -> Tensor:
        """The images in the order of this epoch: shape (images,), or (images, networks) if each has its own."""
        seeds = (
            self.seeds
            if not self.shared
            else (self.seeds[0] if self.config.order_seed is None else self.config.order_seed,)
        )
        draws = (np.random.default_rng(_stream(seed, ORDER, self.epochs_done)) for seed in seeds)
        orders = np.stack([draw.permutation(len(self.labels)) for draw in draws], axis=1)
        return torch.from_numpy(orders[:, 0] if self.shared else orders).to(self.device)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One optimisation step on a batch.

        Args:
            images: shape (batch, ...), or (batch, networks, ...) if each has its own.
            labels: shape (batch,), or (batch, networks).

        Returns:
            Each network's loss before the step, shape (networks,), left on the device.
        """
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._losses(self.model(images), labels)
        losses.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.optimizer.step()
        self.scheduler.step()
        return losses.detach()

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        if len(self.seeds) == 1:
            return cross_entropy(logits, labels)[None]
        logits = logits.reshape(len(labels), len(self.seeds), self.classes)
        labels = labels[:, None].expand(logits.shape[:2]) if labels.ndim == 1 else labels
        each = cross_entropy(logits.flatten(0, 1), labels.reshape(-1), reduction="none")
        return each.view(logits.shape[:2]).mean(0)

    def accuracies(self, images: Tensor, labels: Tensor) -> list[float]:
        """Fraction of the images whose class is predicted, by each network."""
        right = (self._predict(images) == labels[:, None]).sum(0)
        return [count / len(labels) for count in right.tolist()]

    def dead_classes(self) -> list[list[int]]:
        """For each network, the classes that it predicts for no test image."""
        predicted = map(set, self._predict(self.test[0]).T.tolist())
        return [[label for label in range(self.classes) if label not in found] for found in predicted]

    @torch.inference_mode()
    def _predict(self, images: Tensor) -> Tensor:
        """The class that each network predicts for each image, shape (images, networks)."""
        self.model.eval()
        networks = len(self.seeds)
        found = []
        for batch in torch.split(images, max(1, TEST_BATCH // networks)):
            inputs = batch if self.shared else batch[:, None].expand(-1, networks, *batch.shape[1:])
            found.append(self.model(inputs).reshape(len(batch), networks, self.classes).argmax(2))
        return torch.cat(found)

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
