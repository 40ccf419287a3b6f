"""Trainer: the loop. It holds all that changes while networks are trained, and knows nothing of files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from topokit.errors import InvalidSpecError, TopokitError
from topokit_train.augmentation import Draws, stacked
from topokit_train.choice import Choice
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.initialisation import draw_truncated_normal
from topokit_train.inputs import Inputs
from topokit_train.metrics import Metrics
from topokit_train.models import Wiring
from topokit_train.models.networks import build_model
from topokit_train.optimisation import make_optimizer, make_scheduler
from topokit_train.sparse import SparseModule
from topokit_train.stacks import load_network_states
from topokit_train.streams import AUGMENTATION, ORDER, WEIGHTS, numpy_stream, torch_stream

TEST_BATCH = 4096


class Trainer:
    """Networks that differ in their seeds, one or stacked, and their optimizer, trained one epoch after another.

    What an epoch does depends on the weights, the optimizer's state and (seed, epoch) only, so a run that is
    continued from the state after an epoch goes on exactly as it would have, on the CPU with as many threads.

    Args:
        config: the settings.
        wiring: topologies that fill the model's slots, see `build_model`; none for a dense model.
        dataset: what to train on.
        device: where to train.
        kernel: as for `build_model`.
        seeds: of the networks to stack; the one of `config` where left out.

    Raises:
        InvalidSpecError: a topology does not fit the model, or nothing is left to train on.
    """

    def __init__(
        self,
        config: TrainConfig,
        wiring: Wiring,
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
        self.histories: tuple[list[Metrics], ...] = tuple([] for _ in self.seeds)
        self._paused = 0.0
        self._load(dataset)
        drawn = config.shuffle or self.inputs.augmented
        self.shared = config.order_seed is not None or len(self.seeds) == 1 or not drawn
        one = self.seeds[0] if config.order_seed is None else config.order_seed
        self._order_seeds = (one,) if self.shared else self.seeds
        self.model = self._built(wiring, dataset, kernel)
        self.parameters = tuple(self.model.parameters())
        self.optimizer = make_optimizer(config, self.model)
        self.steps_per_epoch = -(-len(self.labels) // config.batch_size)
        self.scheduler = make_scheduler(config, self.optimizer, config.epochs * self.steps_per_epoch)

    def _built(self, wiring: Wiring, dataset: Dataset, kernel: str | dict[str, str]) -> nn.Module:
        build = partial(
            build_model,
            self.config.model,
            wiring,
            image=dataset.input_shape,
            classes=dataset.classes,
            batch=self.config.batch_size,
        )
        draws = [torch_stream(seed, WEIGHTS) for seed in self.seeds]
        if len(draws) == 1:
            return self._drawn(build(kernel=kernel, device=self.device, generator=draws[0]), draws[0])
        model = build(kernel=kernel, device=self.device, copies=len(draws), shared=self.shared)
        alone = (self._drawn(build(kernel="csr", generator=draw), draw) for draw in draws)
        load_network_states(model, [network.state_dict() for network in alone])
        return model

    def _drawn(self, network: nn.Module, draw: torch.Generator) -> nn.Module:
        if self.config.init == "truncated-normal":
            draw_truncated_normal(network, draw)
        return network

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
        train, held_out = dataset.train_images[:kept], dataset.train_images[kept:]
        self.inputs = Inputs(self.config, dataset, train, self.device)
        self.images, self.labels = self.inputs.load(train), self._labels(dataset.train_labels[:kept])
        self.held_out = self.inputs.load(held_out), self._labels(dataset.train_labels[kept:])
        self.test = self.inputs.load(dataset.test_images), self._labels(dataset.test_labels)

    def _labels(self, labels: UInt8Array) -> Tensor:
        return torch.from_numpy(labels.astype(np.int64)).to(self.device)

    @property
    def kernels(self) -> dict[str, str]:
        """The kernel of each sparse layer."""
        return {name: part.kernel for name, part in self.model.named_modules() if isinstance(part, SparseModule)}

    @property
    def choices(self) -> dict[str, Choice]:
        """The kernel of each sparse layer, and why it was taken."""
        return {name: part.choice for name, part in self.model.named_modules() if isinstance(part, SparseModule)}

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
        for images, labels in self.batches():
            lr = self.optimizer.param_groups[0]["lr"]
            losses = self.step(images, labels)
            total.add_(losses, alpha=len(labels))  # stays on the device: reading it would wait for the step
            after_step()
        seconds = (self._clock() - started - self._paused) / len(self.seeds)
        losses = total / len(self.labels)
        for seed, loss in zip(self.seeds, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                raise TopokitError(
                    f"the loss is {loss} in epoch {self.epochs_done + 1} of seed {seed}: "
                    f"give a smaller --lr than {self.config.lr}"
                )
        validation = self.accuracies(*self.held_out) if self.config.validation else [None] * len(self.seeds)
        accuracies = zip(self.accuracies(*self.test), validation, strict=True)
        metrics = [
            Metrics(
                epoch=self.epochs_done + 1,
                train_loss=loss,
                test_accuracy=tested,
                validation_accuracy=validated,
                seconds=seconds,
                lr=lr,
            )
            for loss, (tested, validated) in zip(losses.tolist(), accuracies, strict=True)
        ]
        for history, entry in zip(self.histories, metrics, strict=True):
            history.append(entry)
        return metrics

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This epoch's images as networks see them, and their labels, as `step` takes them."""
        order, draws = self.order(), self.draws()
        for start in range(0, len(order), self.config.batch_size):
            these = slice(start, start + self.config.batch_size)
            images, labels = (_taken(data, order[these]) for data in (self.images, self.labels))
            yield self.inputs.of_training(images, draws and draws.of(these, self.device)), labels

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Between two steps: do what is no optimisation step, such as a test; it is not in the metrics' seconds."""
        started = self._clock()
        yield
        self.model.train()
        self._paused += self._clock() - started

    def order(self) -> Tensor:
        """The images in the order of this epoch: shape (images,), or (images, networks) if each has its own."""
        if not self.config.shuffle:
            order = torch.arange(len(self.labels), device=self.device)
            return order if self.shared else order[:, None].expand(-1, len(self.seeds))
        draws = (numpy_stream(seed, ORDER, self.epochs_done) for seed in self._order_seeds)
        orders = np.stack([draw.permutation(len(self.labels)) for draw in draws], axis=1)
        return torch.from_numpy(orders[:, 0] if self.shared else orders).to(self.device)

    def draws(self) -> Draws | None:
        """How the images of this epoch are augmented, in their order: of shape (images,) or (images, networks)."""
        if not self.inputs.augmented:
            return None
        streams = (torch_stream(seed, AUGMENTATION, self.epochs_done) for seed in self._order_seeds)
        each = [self.inputs.draw(len(self.labels), stream) for stream in streams]
        return each[0] if self.shared else stacked(each)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One optimisation step on a batch.

        Args:
            images: shape (batch, ...), or (batch, networks, ...) if each has its own.
            labels: shape (batch,), or (batch, networks).

        Returns:
            Each network's loss before the step, shape (networks,), left on the device.
        """
        losses = self.gradients(images, labels)
        self.optimizer.step()
        self.scheduler.step()
        return losses

    def gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute the gradients of a batch, and leave them in the parameters; arguments and result as of `step`."""
        for parameter in self.parameters:
            parameter.grad = None  # as zero_grad does, which takes ten times as long over it
        loss, losses = self._losses(self.logits(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        return losses.detach()

    def logits(self, images: Tensor) -> Tensor:
        """The logits of images as `step` takes them, shape (batch, networks * classes), behind a ReLU if so set."""
        logits: Tensor = self.model(images)
        return logits.relu() if self.config.relu_logits else logits

    def _losses(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over the networks, and each one's, shape (networks,)."""
        if len(self.seeds) == 1:
            loss = cross_entropy(logits, labels)
            return loss, loss.detach()[None]
        logits = logits.reshape(len(labels), len(self.seeds), self.classes)
        labels = labels[:, None].expand(logits.shape[:2]) if labels.ndim == 1 else labels
        each = cross_entropy(logits.flatten(0, 1), labels.reshape(-1), reduction="none")
        losses = each.view(logits.shape[:2]).mean(0)
        return losses.sum(), losses

    def accuracies(self, images: Tensor, labels: Tensor) -> list[float]:
        """Fraction of the images, as `test` holds them, whose class is predicted, by each network."""
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
        for part in torch.split(images, max(1, TEST_BATCH // networks)):
            batch = self.inputs.of_tests(part)
            inputs = batch if self.shared else batch[:, None].expand(-1, networks, *batch.shape[1:])
            found.append(self.logits(inputs).reshape(len(batch), networks, self.classes).argmax(2))
        return torch.cat(found)

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _taken(data: Tensor, numbers: Tensor) -> Tensor:
    """data[numbers], in a third of its time."""
    return data.index_select(0, numbers.flatten()).view(*numbers.shape, *data.shape[1:])
