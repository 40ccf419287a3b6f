"""Feed: the data of a training run on their device, and the batches of each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InvalidSpecError
from topokit_train.config import TrainConfig
from topokit_train.datasets import Array, Dataset
from topokit_train.feeding.augmentation import Draws, stacked
from topokit_train.feeding.inputs import Inputs, numbers
from topokit_train.ranks import ALONE, Ranks
from topokit_train.streams import AUGMENTATION, ORDER, numpy_stream, torch_stream


class Feed:
    """The data of a run, and their order and augmentation in each epoch, which depend on (seed, epoch) alone.

    Args:
        config: the settings.
        dataset: what to train on.
        seeds: of the networks that are trained together.
        device: of the networks.
        ranks: the processes that each get a share of every batch.

    Raises:
        InvalidSpecError: all samples are for validation, or a setting does not fit the data.

    Attributes:
        images, labels: inputs, of images their bytes, and targets to train on.
        held_out: inputs and targets for validation.
        test: inputs and targets.
        inputs: makes batches of the inputs.
        shared: whether all networks see the same batches.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        seeds: tuple[int, ...],
        device: torch.device,
        ranks: Ranks = ALONE,
    ):
        kept = len(dataset.train_targets) - config.validation
        if kept < 1:
            raise InvalidSpecError(
                f"`validation` {config.validation} holds out all {len(dataset.train_targets)} training samples: "
                "hold out fewer"
            )
        _require_fitting(config, dataset)
        self.config, self.device, self.networks, self.ranks = config, device, len(seeds), ranks
        train, held_out = dataset.train_inputs[:kept], dataset.train_inputs[kept:]
        self.inputs = Inputs(config, dataset, train, device)
        self.images = self.inputs.load(train, to_train=True)
        self.labels = self._targets(dataset.train_targets[:kept])
        self.held_out = self.inputs.load(held_out), self._targets(dataset.train_targets[kept:])
        self.test = self.inputs.load(dataset.test_inputs), self._targets(dataset.test_targets)
        drawn = config.shuffle or self.inputs.augmented
        self.shared = config.order_seed is not None or len(seeds) == 1 or not drawn
        one = seeds[0] if config.order_seed is None else config.order_seed
        self._seeds = (one,) if self.shared else seeds

    def _targets(self, targets: Array) -> Tensor:
        return numbers(targets).to(self.device)

    @property
    def batch_sizes(self) -> list[int]:
        """Number of samples in each batch of an epoch, the shares of all processes together."""
        images, most = len(self.labels), self.config.batch_size
        return [min(most, images - start) for start in range(0, images, most)]

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's inputs as networks read them, and their targets; the first epoch is number 0.

        Of several processes each gets its share of every batch, which may be empty.
        Of shapes (batch, ...) and (batch,), or (batch, networks, ...) and (batch, networks) if each has its own.
        """
        order, draws = self.order(epoch), self.draws(epoch)
        for number, size in enumerate(self.batch_sizes):
            start = number * self.config.batch_size
            these = self.ranks.share(start, start + size)
            images, labels = (_taken(data, order[these]) for data in (self.images, self.labels))
            yield self.inputs.of_training(images, draws and draws.of(these, self.device)), labels

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of samples, without augmentation: of the shapes of `batches`.

        Args:
            index: numbers of samples, shape (batch,), or (batch, networks).
        """
        images, labels = (_taken(data, index) for data in (self.images, self.labels))
        return self.inputs.of_training(images, None), labels

    def order(self, epoch: int) -> Tensor:
        """The samples in the order of an epoch: shape (samples,), or (samples, networks) if each has its own."""
        if not self.config.shuffle:
            order = torch.arange(len(self.labels), device=self.device)
            return order if self.shared else order[:, None].expand(-1, self.networks)
        draws = (numpy_stream(seed, ORDER, epoch) for seed in self._seeds)
        orders = np.stack([draw.permutation(len(self.labels)) for draw in draws], axis=1)
        return torch.from_numpy(orders[:, 0] if self.shared else orders).to(self.device)

    def draws(self, epoch: int) -> Draws | None:
        """Draw how the images of an epoch are augmented, in their order: shape (images,) or (images, networks)."""
        if not self.inputs.augmented:
            return None
        streams = (torch_stream(seed, AUGMENTATION, epoch) for seed in self._seeds)
        each = [self.inputs.draw(len(self.labels), stream) for stream in streams]
        return each[0] if self.shared else stacked(each)


def _taken(data: Tensor, numbers: Tensor) -> Tensor:
    """data[numbers], in a third of its time."""
    return data.index_select(0, numbers.flatten()).view(*numbers.shape, *data.shape[1:])


def _require_fitting(config: TrainConfig, dataset: Dataset) -> None:
    """Refuse settings of images for other data, and of logits for a regression."""
    names = ([] if dataset.is_images else ["pixels", "augment"]) + ([] if dataset.classes else ["relu_logits"])
    for name in names:
        if not config.is_default(name):
            kind = "images, bytes of shape (N, channels, rows, columns)" if name != "relu_logits" else "classes"
            raise InvalidSpecError(f"`{name}` is for {kind}, and {dataset.name} has none: omit it")
