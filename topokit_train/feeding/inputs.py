"""Inputs: the numbers that networks read of a dataset's samples, in training and in tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from topokit.csr import require_memory
from topokit_train.config import TrainConfig
from topokit_train.datasets import Array, Dataset, UInt8Array
from topokit_train.feeding.augmentation import Draws, augmented, central_crop, draw, standardised


class Inputs:
    """The numbers that networks read of a dataset's samples; images are scaled and, with a `crop`, cropped.

    Images to train on stay bytes until their batch, as numbers would take four times the memory, and those to crop are
    cropped in another way in each epoch. Images to test with become numbers once, unless they are cropped.

    Args:
        config: its `pixels` and `augment` are used.
        dataset: its `crop` is used.
        trained_on: the samples to train on; the mean and deviation of images among them standardise all images.
        device: of the numbers.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, trained_on: Array, device: torch.device):
        self.crop = dataset.crop
        self.augmented = config.augment == "auto" and dataset.crop is not None
        self.device = device
        self._images = dataset.is_images
        self._sizes: tuple[int, int] = dataset.train_inputs.shape[2:4] if self._images else (0, 0)
        self._per_image = config.pixels == "per-image"
        self._mean, self._deviation = (0.0, 255.0)
        if config.pixels == "standardised" and self._images:
            self._mean, self._deviation = mean_and_deviation(trained_on)

    @property
    def scale(self) -> tuple[float, float] | None:
        """The numbers (a, b) if networks read (byte - a) * b of each byte of a whole image; else None."""
        whole = self._images and self.crop is None and not self._per_image
        return (self._mean, 1 / self._deviation) if whole else None

    def load(self, samples: Array, *, to_train: bool = False) -> Tensor:
        """Return samples on the device, as networks read them or as bytes: `of_training` and `of_tests` take both."""
        if not self._images:
            require_memory(8 * samples.size, "the data as numbers of training")
            return numbers(samples).to(self.device)
        if self.crop is not None or (to_train and self.scale):
            return torch.from_numpy(np.require(samples, requirements=("C", "W"))).to(self.device)
        require_memory(4 * samples.size, "the images as 32-bit numbers")
        return self._scaled(torch.from_numpy(samples.astype(np.float32)).to(self.device))

    def draw(self, images: int, generator: torch.Generator) -> Draws:
        """Draw how each of so many images is augmented; for images that are cropped."""
        return draw(images, self._sizes, self.crop or self._sizes, generator)

    def of_training(self, images: Tensor, draws: Draws | None) -> Tensor:
        """Return a batch as networks read it in training.

        Args:
            images: of `load`, shape (batch, ...) or, if each network has its own, (batch, networks, ...).
            draws: one for each image, all of one dimension; None if they are not augmented.
        """
        if draws is None or self.crop is None:
            return self.of_tests(images)
        seen = self._scaled(augmented(images.flatten(0, -4), draws, self.crop))
        return seen.view(*images.shape[:-3], *seen.shape[1:])

    def of_tests(self, images: Tensor) -> Tensor:
        """Return a batch as networks read it in tests: the middle of each image if images are cropped."""
        if images.dtype != torch.uint8:
            return images
        return self._scaled((images if self.crop is None else central_crop(images, self.crop)).float())

    def _scaled(self, images: Tensor) -> Tensor:
        if self._per_image:
            return standardised(images)
        return images.sub_(self._mean).mul_(1 / self._deviation)


def numbers(array: Array) -> Tensor:
    """Return numbers as networks and losses take them: integers as int64, others as float32."""
    return torch.from_numpy(array.astype(np.int64 if array.dtype.kind in "iu" else np.float32))


def mean_and_deviation(images: UInt8Array) -> tuple[float, float]:
    """The mean and standard deviation of all pixels, exact but for the last rounding; 1 for one that is 0.

    Cost: O(pixels) time, and no memory for a number of each.
    """
    parts = np.array_split(images.reshape(-1), images.size // 2**20 + 1)
    counts = np.sum([np.bincount(part, minlength=256) for part in parts], axis=0)
    values = np.arange(256)
    mean = float(counts @ values / images.size)
    deviation = float(counts @ (values - mean) ** 2 / images.size) ** 0.5
    return mean, deviation or 1.0
