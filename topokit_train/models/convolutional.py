"""LeNet-5: two convolutions of 5 x 5 pixels, each with a pool behind it, and fully connected layers.

There are two of that name. `lenet-5` is what pruning papers since 2015 call so: TensorFlow's tutorial network with
20 and 50 filters and local response normalisation. `lenet-5-classic` has the widths of 1998.

A pool stands before the ReLU wherever nothing lies between them: max and ReLU commute, so it is the same function, and
the ReLU has a quarter of the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from topokit.errors import InvalidSpecError
from topokit_train.models import Image, Slots

if TYPE_CHECKING:
    from torch import nn

FILTER = 5  # rows and columns of every filter


@dataclass(frozen=True)
class LeNet5:
    """A LeNet-5 for images of any size.

    Args:
        name: in MODELS, for messages.
        filters: of the two convolutions.
        paddings: zeros on each side of the two convolutions' inputs: 2 keeps the size, 0 takes 4 rows and columns off.
        hidden: widths of the fully connected layers before the logits.
        normalised: whether the convolutions are normalised over the channels, the first behind its pool and the
            second before; the pools then round sizes up, and are of 3 x 3 pixels where an image has several channels.
    """

    name: str
    filters: tuple[int, int]
    paddings: tuple[int, int]
    hidden: tuple[int, ...]
    normalised: bool

    def slots(self, _widths: tuple[int, ...] | None, image: Image, classes: int) -> Slots:
        """The weights: {"conv1.weight": (out, in, 5, 5), ..., "fc1.weight": (out, in), ...}.

        Raises:
            InvalidSpecError: the images are too small.
        """
        channels, *sizes = image
        for padding in self.paddings:
            sizes = [self._halved(size + 2 * padding - FILTER + 1) for size in sizes]
        if min(sizes) < 1:
            raise InvalidSpecError(
                f"the model {self.name} has no room in images of {image[1]} x {image[2]} pixels: "
                f"give images of {self._least()} x {self._least()} or more, or take lenet-300-100 or mlp"
            )
        one, two = self.filters
        chain = (two * prod(sizes), *self.hidden, classes)
        return {
            "conv1.weight": (one, channels, FILTER, FILTER),
            "conv2.weight": (two, one, FILTER, FILTER),
            **{f"fc{number}.weight": (out, into) for number, (into, out) in enumerate(pairwise(chain), start=1)},
        }

    def _halved(self, size: int) -> int:
        return -(-size // 2) if self.normalised else size // 2

    def _least(self) -> int:
        """The least rows and columns of an image."""
        size = 1
        for padding in self.paddings[::-1]:
            size = (2 * size - self.normalised) + FILTER - 1 - 2 * padding
        return max(size, 1)

    @property
    def convolutions(self) -> Mapping[str, int]:
        """The convolutions, and how many zeros each has on each side of its input."""
        return dict(zip(("conv1", "conv2"), self.paddings, strict=True))

    def module(self, layers: Mapping[str, nn.Module], image: Image) -> nn.Module:
        """The torch module over layers that are named as the slots, without `.weight`."""
        from topokit_train.models.networks import ConvolutionalNetwork

        return ConvolutionalNetwork(layers, normalised=self.normalised, pool=3 if self._wide(image) else 2)

    def _wide(self, image: Image) -> bool:
        return self.normalised and image[0] > 1


LENET_5 = LeNet5("lenet-5", filters=(20, 50), paddings=(2, 2), hidden=(384,), normalised=True)
"""As in Alford, Robinett, Milechin, Kepner, "Training Behavior of Sparse Neural Network Topologies", 2018,
arXiv:1810.00299: fc1 has 2,450 inputs for MNIST, and 1,800 for crops of CIFAR-10, 24 x 24 pixels of 3 channels."""

LENET_5_X2 = LeNet5("lenet-5-x2", filters=(28, 71), paddings=(2, 2), hidden=(543,), normalised=True)
"""LeNet-5 with twice as many weights in conv2 and fc1: 2.007 times for MNIST and CIFAR-10."""

LENET_5_X10 = LeNet5("lenet-5-x10", filters=(63, 158), paddings=(2, 2), hidden=(1214,), normalised=True)
"""LeNet-5 with ten times as many weights in conv2 and fc1: 9.989 times for MNIST and CIFAR-10."""

LENET_5_CLASSIC = LeNet5("lenet-5-classic", filters=(6, 16), paddings=(2, 0), hidden=(120, 84), normalised=False)
"""LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", with ReLU, max
pooling and every filter on every channel, as it is mostly built today."""
