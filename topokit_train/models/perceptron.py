"""Multilayer perceptrons: fully connected layers fc1, fc2, ..., a ReLU between them, linear logits.

The logits have no ReLU: with one, a class whose logit is negative for every image gets no gradient and
is never predicted again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, ClassVar

from topokit.errors import InvalidSpecError
from topokit_train.models import Image, Slots

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron.

    Args:
        hidden: widths of the hidden layers; None takes all widths from the topology, and adds a dense layer
            to the classes where the topology does not end in them.
    """

    hidden: tuple[int, ...] | None
    convolutions: ClassVar[Mapping[str, int]] = {}

    def slots(self, widths: tuple[int, ...] | None, image: Image, classes: int) -> Slots:
        """The weights: {"fc1.weight": (out, in), ...}.

        Raises:
            InvalidSpecError: there is no topology to take the widths from, or its inputs are not the pixels.
        """
        pixels = prod(image)
        if self.hidden is not None:
            chain = (pixels, *self.hidden, classes)
        elif widths is None:
            raise InvalidSpecError("the model mlp has the widths of a topology: give one, or take lenet-300-100")
        elif widths[0] != pixels:
            crop = ",".join(map(str, (pixels, *widths[1:])))
            advice = f"crop={crop} fits" if widths[0] > pixels else "make it wider"
            raise InvalidSpecError(f"the topology has {widths[0]} inputs and an image {pixels} pixels: {advice}")
        else:
            chain = widths if widths[-1] == classes else (*widths, classes)
        return {f"fc{number}.weight": (out, into) for number, (into, out) in enumerate(pairwise(chain), start=1)}

    def module(self, layers: Mapping[str, nn.Module], _image: Image) -> nn.Module:
        """The torch module over layers that are named as the slots, without `.weight`."""
        from topokit_train.models.networks import MultilayerPerceptron

        return MultilayerPerceptron(layers)


LENET_300_100 = Perceptron(hidden=(300, 100))
"""LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition": 784-300-100-10."""

MLP = Perceptron(hidden=None)
