"""Multilayer perceptrons: fully connected layers fc1, fc2, ..., a ReLU between them, linear logits.

The logits have no ReLU: with one, a class whose logit is negative for every image gets no gradient and
is never predicted again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from topokit.errors import InvalidSpecError
from topokit.reprs import counted


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these widths, from inputs to outputs, with a ReLU between each two.

    >>> [name for name, _ in perceptron((784, 300, 10)).named_children()]
    ['flatten', 'fc1', 'relu1', 'fc2']
    """
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    for number, (into, out) in enumerate(pairwise(widths), start=1):
        layers += [(f"fc{number}", nn.Linear(into, out)), (f"relu{number}", nn.ReLU())]
    return nn.Sequential(OrderedDict(layers[:-1]))


def lenet_300_100(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Return LeNet-300-100.

    Source: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition": 784-300-100-10.
    """
    return perceptron((prod(input_shape), 300, 100, outputs))


def mlp(input_shape: Sequence[int], outputs: int, widths: Sequence[int] | None = None) -> nn.Module:
    """Return a perceptron with the widths of a topology, and a dense layer to the outputs if these differ.

    Raises:
        InvalidSpecError: there is not exactly one topology, or its inputs are not those of the data.
    """
    inputs = prod(input_shape)
    if widths is None:
        raise InvalidSpecError(
            "the model mlp has the widths of a topology: give one; for dense layers, one of density 1, such as "
            f"'bernoulli widths={inputs},300,100,{outputs} density=1 seed=0'"
        )
    if widths[0] != inputs:
        crop = ",".join(map(str, (inputs, *widths[1:])))
        advice = f"crop={crop} fits" if widths[0] > inputs else "make it wider"
        raise InvalidSpecError(
            f"the topology has {counted(widths[0], 'input')} and an image {counted(inputs, 'pixel')}: {advice}"
        )
    return perceptron(widths if widths[-1] == outputs else (*widths, outputs))
