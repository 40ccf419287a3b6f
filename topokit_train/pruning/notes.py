"""What the user of a pruning run is told before it starts. Pure functions of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod

from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.magnitude import pruned

FEW = 3  # weights of a class: of a LeNet-300-100 with fewer, classes died


def notes(config: PruneConfig, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """A note where a sparsity of each layer leaves the last one, which is small, too little to tell the classes apart.

    Args:
        config: the settings.
        shapes: of the weights that are pruned, by name, in the model's order.
    """
    *_, (name, shape) = shapes.items()
    layer = name.removesuffix(".weight")
    if config.scope != "layer" or not config.to or {name, layer} & set(config.keep):
        return ()
    weights = prod(shape)
    left = weights - pruned(weights, Fraction(str(config.to[-1])))
    if left >= FEW * shape[0]:
        return ()
    return (
        f"to {config.to[-1]:g} leaves {left:,} of {weights:,} weights of {layer}, fewer than {FEW} for each class, "
        f"and classes may be lost: add keep {layer} or scope global",
    )
