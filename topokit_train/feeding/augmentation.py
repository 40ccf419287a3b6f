"""Augmentation: random crops, mirroring, brightness and contrast, for a batch at once and without padding.

As TensorFlow's CIFAR-10 tutorial does it, and with it the paper (arXiv:1810.00299). Every image has its own draws. They
are made on the CPU for a whole epoch, so a seed gives the same images on every device.

Standardising an image removes its brightness again; brightening is a separate step for data that are not standardised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BRIGHTNESS = 63.0  # at most so much lighter or darker, of 255
CONTRAST = (0.2, 1.8)


class Draws(NamedTuple):
    """The random numbers of each image; all of one shape, mostly (images,).

    Args:
        top: first row of the crop.
        left: first column of the crop.
        mirror: whether left and right are exchanged.
        brightness: added to all pixels.
        contrast: multiplies a pixel's distance from the mean of its channel.
    """

    top: Tensor
    left: Tensor
    mirror: Tensor
    brightness: Tensor
    contrast: Tensor

    def of(self, images: slice, device: torch.device) -> Draws:
        """The draws of some of the images, on a device; (batch, networks) become (batch * networks,)."""
        return Draws(*(drawn[images].flatten().to(device) for drawn in self))


def draw(images: int, sizes: tuple[int, int], crop: tuple[int, int], generator: torch.Generator) -> Draws:
    """Draw the random numbers of images.

    Args:
        images: number of images.
        sizes: rows and columns of an image.
        crop: rows and columns of the crop.
        generator: a CPU generator.
    """
    top, left = (
        torch.randint(size - part + 1, (images,), generator=generator) for size, part in zip(sizes, crop, strict=True)
    )
    mirror = torch.randint(2, (images,), generator=generator).bool()
    brightness = torch.empty(images).uniform_(-BRIGHTNESS, BRIGHTNESS, generator=generator)
    contrast = torch.empty(images).uniform_(*CONTRAST, generator=generator)
    return Draws(top, left, mirror, brightness, contrast)


def stacked(draws: Sequence[Draws]) -> Draws:
    """The draws of several networks as one, of shape (images, networks)."""
    return Draws(*(torch.stack(parts, 1) for parts in zip(*draws, strict=True)))


def augmented(images: Tensor, draws: Draws, crop: tuple[int, int]) -> Tensor:
    """Crop, mirror, brighten and contrast each image by its own draws.

    Args:
        images: shape (batch, channels, rows, columns), of any number type.
        draws: one for each image.
        crop: rows and columns of the crop.

    Returns:
        Shape (batch, channels, *crop), float32, of the same scale; values may leave the range of `images`.
    """
    windows = images.unfold(2, crop[0], 1).unfold(3, crop[1], 1)  # a view: (batch, channels, tops, lefts, *crop)
    seen = windows[torch.arange(len(images), device=images.device), :, draws.top, draws.left]
    mirror, brightness, contrast = (drawn[:, None, None, None] for drawn in draws[2:])
    seen = torch.where(mirror, seen.flip(3), seen).float() + brightness  # nothing is clipped
    return torch.lerp(seen.mean((2, 3), keepdim=True), seen, contrast)


def central_crop(images: Tensor, crop: tuple[int, int]) -> Tensor:
    """The middle of all images, shape (..., *crop), a view; of an odd margin, the larger half is after it."""
    top, left = ((size - part) // 2 for size, part in zip(images.shape[-2:], crop, strict=True))
    return images[..., top : top + crop[0], left : left + crop[1]]


def standardised(images: Tensor) -> Tensor:
    """Each image less its mean, over its standard deviation or 1 / sqrt(numbers in it), whichever is more.

    The lower bound keeps an image without contrast from a division by zero.

    Args:
        images: shape (..., channels, rows, columns).
    """
    rows = images.flatten(-3)
    centred = rows - rows.mean(-1, keepdim=True)
    # half the time of torch.std, and as exact where the mean is 0
    deviations: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / rows.shape[-1] ** 0.5
    return centred.div_(deviations.clamp(min=rows.shape[-1] ** -0.5)).view_as(images)
