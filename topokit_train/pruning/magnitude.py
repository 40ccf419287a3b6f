"""Which weights go: the smallest ones. Pure functions on the weights of several networks, each a row."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

Rows = dict[str, Tensor]
"""Parameter name -> shape (networks, weights): magnitudes, or bool, True where a weight is kept."""


def smallest(magnitudes: Tensor, kept: Tensor, count: int) -> Tensor:
    """Prune the smallest weights of each row until `count` are pruned; of equal ones those that come first.

    Args:
        magnitudes: shape (networks, weights).
        kept: bool of that shape: False where a weight is pruned already; as many in each row.
        count: how many are to be pruned of each row; where there are more already, nothing changes.

    Returns:
        What is kept now. O(weights).
    """
    more = count - int(kept.shape[1] - kept[0].sum())
    if more <= 0:
        return kept
    # only what is left is looked at: most of a run's prunings come when most weights have gone
    edge = magnitudes[kept].view(len(kept), -1).kthvalue(more, dim=1, keepdim=True).values
    above = kept & (magnitudes > edge)
    equal = kept.shape[1] - count - above.sum(1, keepdim=True)  # weights as large as the last one pruned, and kept
    if equal.any():
        tied = kept & (magnitudes == edge)
        above |= tied & (tied.cumsum(1) > tied.sum(1, keepdim=True) - equal)
    return above


def per_layer(magnitudes: Mapping[str, Tensor], kept: Mapping[str, Tensor], sparsity: Fraction) -> Rows:
    """Prune each layer to this sparsity, up to half a weight: see `smallest`."""
    return {
        name: smallest(values, kept[name], pruned(values.shape[1], sparsity)) for name, values in magnitudes.items()
    }


def all_together(magnitudes: Mapping[str, Tensor], kept: Mapping[str, Tensor], sparsity: Fraction) -> Rows:
    """Prune all layers together to this sparsity, up to half a weight: see `smallest`; equal ones layer by layer."""
    sizes = [values.shape[1] for values in magnitudes.values()]
    whole = torch.cat(list(magnitudes.values()), 1)
    left = smallest(whole, torch.cat([kept[name] for name in magnitudes], 1), pruned(sum(sizes), sparsity))
    return dict(zip(magnitudes, left.split(sizes, 1), strict=True))


def below(magnitudes: Mapping[str, Tensor], kept: Mapping[str, Tensor], threshold: float) -> Rows:
    """Prune what is smaller than an absolute threshold."""
    return {name: kept[name] & (values >= threshold) for name, values in magnitudes.items()}


def pruned(weights: int, sparsity: Fraction) -> int:
    """How many of so many weights are pruned at this sparsity: the nearest number, of two the even one.

    >>> pruned(1000, Fraction("0.95"))
    950
    """
    return round(weights * sparsity)
