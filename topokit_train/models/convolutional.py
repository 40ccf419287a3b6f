"""LeNet-5: two convolutions of 5 x 5 pixels, each with a pool behind it, and fully connected layers.

Two networks have that name. `lenet-5` is that of pruning papers since 2015: TensorFlow's tutorial network with 20 and
50 filters and local response normalisation. `lenet-5-classic` has the widths of 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from topokit.errors import InvalidSpecError
from topokit_train.fusing import fused
from topokit_train.layers.normalisation import LocalResponseNorm

FILTER = 5  # rows and columns of every filter


class LeNet5(nn.Module):
    """A LeNet-5 for images of any size.

    A pool comes before the ReLU if nothing is between them: max and ReLU commute, so it is the same function, and the
    ReLU has a quarter of the work. Activations have their channels last in memory, which is faster on a CPU.

    Args:
        input_shape: of an image: (channels, rows, columns).
        outputs: number of outputs.
        filters: of the two convolutions.
        paddings: zeros on each side of the two convolutions' inputs: 2 keeps the size, 0 takes 4 rows and columns off.
        hidden: widths of the fully connected layers before the outputs.
        normalised: whether the convolutions are normalised over the channels, the first behind its pool and the
            second before; the pools then round sizes up, and are of 3 x 3 pixels if an image has several channels.

    Raises:
        InvalidSpecError: the images are too small.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        outputs: int,
        *,
        filters: tuple[int, int],
        paddings: tuple[int, int],
        hidden: tuple[int, ...],
        normalised: bool,
    ):
        super().__init__()
        if len(input_shape) != 3:
            raise InvalidSpecError(f"LeNet-5 needs images, (channels, rows, columns), not inputs of {input_shape}")
        channels, *sizes = input_shape
        self.normalised, self.pool = normalised, 3 if normalised and channels > 1 else 2
        for padding in paddings:
            sizes = [(size + 2 * padding - FILTER + 1 + normalised) // 2 for size in sizes]
        if min(sizes) < 1:
            least = self._least(paddings)
            raise InvalidSpecError(
                f"LeNet-5 does not fit images of {input_shape[1]} x {input_shape[2]} pixels: "
                f"give images of {least} x {least} or more, or take lenet-300-100 or mlp"
            )
        one, two = filters
        self.conv1 = nn.Conv2d(channels, one, FILTER, padding=paddings[0])
        self.conv2 = nn.Conv2d(one, two, FILTER, padding=paddings[1])
        widths = (two * prod(sizes), *hidden, outputs)
        for number, (into, out) in enumerate(pairwise(widths), start=1):
            self.add_module(f"fc{number}", nn.Linear(into, out))
        self._linear = [f"fc{number}" for number in range(1, len(widths))]
        self.norm1, self.norm2 = (
            LocalResponseNorm(width, device="cpu") if normalised else nn.Identity() for width in filters
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs, shape (batch, outputs), of images of shape (batch, channels, rows, columns)."""
        x = self._pooled(self.conv1(images.contiguous(memory_format=torch.channels_last))).relu()
        if self.normalised:
            x = self._pooled(self.norm2(self.conv2(self.norm1(x)).relu()))
        else:
            x = self._pooled(self.conv2(x)).relu()
        parts = [part for name in self._linear for part in (self.get_submodule(name), nn.ReLU())]
        return fused(parts[:-1], x.flatten(1))  # type: ignore[no-any-return]

    def _pooled(self, x: Tensor) -> Tensor:
        """The greatest number of each window, as TensorFlow's SAME places them: half the size, rounded up.

        Without normalisation a row or column that is left over is dropped.
        """
        if not self.normalised:
            return max_pool2d(x, self.pool, 2)
        before = [size % 2 if self.pool == 3 else 0 for size in x.shape[2:]]
        return max_pool2d(x, self.pool, 2, before, ceil_mode=True)

    def _least(self, paddings: Sequence[int]) -> int:
        """The least rows and columns of an image."""
        size = 1
        for padding in paddings[::-1]:
            size = (2 * size - self.normalised) + FILTER - 1 - 2 * padding
        return max(size, 1)


def lenet_5(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Return the LeNet-5 of pruning papers.

    Source: Alford, Robinett, Milechin, Kepner 2018, "Training Behavior of Sparse Neural Network Topologies",
    arXiv:1810.00299: fc1 has 2,450 inputs for MNIST, and 1,800 for crops of CIFAR-10, 24 x 24 pixels of 3 channels.
    """
    return LeNet5(input_shape, outputs, filters=(20, 50), paddings=(2, 2), hidden=(384,), normalised=True)


def lenet_5_x2(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Return LeNet-5 with twice as many weights in conv2 and fc1: 2.007 times for MNIST and CIFAR-10."""
    return LeNet5(input_shape, outputs, filters=(28, 71), paddings=(2, 2), hidden=(543,), normalised=True)


def lenet_5_x10(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Return LeNet-5 with ten times as many weights in conv2 and fc1: 9.989 times for MNIST and CIFAR-10."""
    return LeNet5(input_shape, outputs, filters=(63, 158), paddings=(2, 2), hidden=(1214,), normalised=True)


def lenet_5_classic(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Return LeNet-5 with ReLU, max pooling and every filter on every channel, as it is mostly built today.

    Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition".
    """
    return LeNet5(input_shape, outputs, filters=(6, 16), paddings=(2, 0), hidden=(120, 84), normalised=False)
