"""Which weights are pruned: the smallest ones. Pure functions of arrays that have a row for each network."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.extraction.rules import largest

NetworkRows = dict[str, NDArray[Any]]
"""Parameter name -> shape (networks, weights): magnitudes, or bool, True for a weight that is kept."""


def smallest(magnitudes: NDArray[Any], kept: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Prune the smallest weights of each row until `count` of them are pruned; of equal ones the first.

    Args:
        magnitudes: shape (networks, weights).
        kept: bool of that shape: False for a weight that is already pruned.
        count: number of pruned weights in each row; a row that has more stays as it is.

    Returns:
        The weights that are kept now. O(weights): only those that are left are partitioned, which takes several times
        as long if many values are equal.
    """
    now = kept.copy()
    for values, row in zip(magnitudes, now, strict=True):
        left = np.flatnonzero(row)[::-1]  # the last one first: of equal ones `largest` keeps the first
        wanted = row.size - count
        if wanted < left.size:
            row[left] = largest(values[left], wanted)
    return now


def per_layer(magnitudes: NetworkRows, kept: NetworkRows, sparsity: Fraction) -> NetworkRows:
    """Prune each layer to this sparsity, rounded to whole weights: see `smallest`."""
    return {
        name: smallest(values, kept[name], pruned(values.shape[1], sparsity)) for name, values in magnitudes.items()
    }


def all_together(magnitudes: NetworkRows, kept: NetworkRows, sparsity: Fraction) -> NetworkRows:
    """Prune all layers together to this sparsity, rounded to whole weights: see `smallest`."""
    whole = np.concatenate([*magnitudes.values()], 1)
    left = smallest(whole, np.concatenate([kept[name] for name in magnitudes], 1), pruned(whole.shape[1], sparsity))
    ends = np.cumsum([values.shape[1] for values in magnitudes.values()])
    return dict(zip(magnitudes, np.split(left, ends[:-1], 1), strict=True))


def below(magnitudes: NetworkRows, kept: NetworkRows, threshold: float) -> NetworkRows:
    """Prune the weights that are smaller than an absolute threshold."""
    return {name: kept[name] & (values >= threshold) for name, values in magnitudes.items()}


def threshold(magnitudes: NetworkRows, before: NetworkRows, after: NetworkRows) -> list[float]:
    """Return the largest magnitude that a pruning removed from each network; 0 if it removed nothing.

    Args:
        magnitudes: of the weights before the pruning.
        before: the weights that were kept before it.
        after: the weights that are kept after it.
    """
    gone = [(values * (before[name] & ~after[name])).max(1) for name, values in magnitudes.items()]
    return [float(value) for value in np.max(gone, 0)]


def pruned(weights: int, sparsity: Fraction) -> int:
    """Return how many of so many weights are pruned at this sparsity: the nearest number, of two the even one.

    >>> pruned(1000, Fraction("0.95"))
    950
    """
    return round(weights * sparsity)
