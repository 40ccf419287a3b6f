"""Exact non-negative integers of any size in NumPy arrays: limbs in base 2^32, the least significant first.

An array of numbers has shape (columns, limbs, rows) and dtype uint64, each limb below 2^32. Adding up to
2^32 - 1 of them limb by limb cannot pass 2^64, so a sparse product of 0/1 weights and these needs one
clean-up, `carried`, and no larger type.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from topokit.csr import UInt64Array

BITS = np.uint64(32)
MASK = np.uint64(2**32 - 1)


def carried(sums: UInt64Array) -> UInt64Array:
    """Numbers with limbs of up to (2^32 - 1)^2, given back with limbs below 2^32; may be the same array.

    One pass moves every limb's high half up by one place; two or three passes do, save for long runs of
    full limbs.
    """
    if sums.max() <= MASK:
        return sums
    numbers = np.concatenate([sums, np.zeros_like(sums[:, :1])], axis=1)
    while numbers.max() > MASK:
        carry = numbers[:, :-1] >> BITS
        numbers &= MASK
        numbers[:, 1:] += carry
    return numbers if numbers[:, -1].any() else numbers[:, :-1]


def to_integers(numbers: UInt64Array) -> NDArray[np.object_]:
    """Return the Python integers, shape (columns, rows), that limbs of shape (columns, limbs, rows) represent."""
    limbs = numbers.swapaxes(0, 1).astype(np.object_)
    found: NDArray[np.object_] = reduce(lambda high, low: (high << 32) + low, limbs[::-1])
    return found


def position(numbers: UInt64Array, *, largest: bool) -> tuple[int, int]:
    """(column, row) of the largest number, or of the smallest one."""
    left = np.ones((numbers.shape[0], numbers.shape[2]), np.bool_)
    for limb in reversed(range(numbers.shape[1])):
        digits = numbers[:, limb]
        left &= digits == (digits[left].max() if largest else digits[left].min())
    column, row = np.unravel_index(np.argmax(left), left.shape)
    return int(column), int(row)
