"""Which weights go: the smallest ones. Pure functions on the weights of several networks, each a row."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

Rows = dict[str, Tensor]
"""Parameter name -> shape (networks, weights): magnitudes, or bool, True where a weight is kept."""


SAMPLE = 4096


def smallest(magnitudes: Tensor, kept: Tensor, count: int) -> Tensor:
    """Prune the smallest weights of each row until `count` are pruned; of equal ones those that come first.

    Args:
        magnitudes: shape (networks, weights); of weights that are pruned already, none larger than one that is kept.
        kept: bool of that shape: False where a weight is pruned already.
        count: how many are to be pruned of each row; where there are more already, nothing changes.

    Returns:
        What is kept now. O(weights).
    """
    if count == 0:
        return kept
    edge = torch.stack([nth_smallest(row, count) for row in magnitudes])[:, None]
    above = kept & (magnitudes > edge)
    equal = kept.shape[1] - count - above.sum(1, keepdim=True)  # weights as large as the last one pruned, and kept
    if equal.any():
        tied = kept & (magnitudes == edge)
        above |= tied & (tied.cumsum(1) > tied.sum(1, keepdim=True) - equal)
    return above


def nth_smallest(values: Tensor, n: int) -> Tensor:
    """The n-th smallest of a row of magnitudes: `values.kthvalue(n)`, five times as fast where they are many.

    A sample says between which two it is, so that only a few of them are sorted out; where the sample is wrong,
    which is seen by counting, all are.

    Args:
        values: shape (weights,), none below 0.
        n: from 1 on.
    """
    if len(values) > 4 * SAMPLE:
        sample = values[:: len(values) // SAMPLE].sort().values
        place, margin = n / len(values) * len(sample), 2 * len(sample) ** 0.5  # at least four standard deviations
        low = sample[int(place - margin)] if place > margin else -sample.new_ones(())
        below = values <= low
        rest = n - int(below.sum())
        between = values[~below & (values <= sample[min(int(place + margin), len(sample) - 1)])]
        if 0 < rest <= len(between):
            return between.kthvalue(rest).values
    return values.kthvalue(n).values


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
    return dict(zip(magnitudes, torch.split(left, sizes, 1), strict=True))


def below(magnitudes: Mapping[str, Tensor], kept: Mapping[str, Tensor], threshold: float) -> Rows:
    """Prune what is smaller than an absolute threshold."""
    return {name: kept[name] & (values >= threshold) for name, values in magnitudes.items()}


def threshold(
    magnitudes: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> list[float]:
    """The largest magnitude that a pruning set to zero, of each network; 0 where it set nothing to zero.

    Args:
        magnitudes: of the weights that were pruned.
        before: what was kept before it.
        after: what is kept after it.
    """
    gone = [(values * (before[name] & ~after[name])).amax(1) for name, values in magnitudes.items()]
    return [float(value) for value in torch.stack(gone).amax(0)]


def pruned(weights: int, sparsity: Fraction) -> int:
    """How many of so many weights are pruned at this sparsity: the nearest number, of two the even one.

    >>> pruned(1000, Fraction("0.95"))
    950
    """
    return round(weights * sparsity)
