"""Exact non-negative integers of any size in NumPy arrays: limbs in base 2^32, the least significant first.

An array of numbers has shape (columns, limbs, rows), each limb below 2^32, in the smallest unsigned type that holds all
limbs. Adding up to 2^32 - 1 of them limb by limb cannot pass 2^64, so a sparse product of 0/1 weights and these needs
one clean-up, `carried`, and no larger type than uint64.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.unsignedinteger[Any]]

BITS = np.uint64(32)
MASK = np.uint64(2**32 - 1)

COLUMNS = 2**20
"""Numbers that `product` computes at a time, which bounds its memory."""


def smallest_type(numbers: Numbers) -> np.dtype[Any]:
    """Return the smallest unsigned type that holds all these numbers."""
    return np.min_scalar_type(int(numbers.max(initial=0)))


def product(step: Any, table: Numbers) -> Numbers:
    """Return a sparse matrix of uint64 times a table, in the smallest type that is known to hold the sums.

    Args:
        step: a scipy.sparse.csr_array; no sum is 2^64 or more.
        table: shape (columns of `step`, any), any unsigned type.

    Cost: O(entries * columns of the table) time; the result and about 16 MiB of memory.
    """
    most = int(step.sum(axis=1).max(initial=0)) * int(table.max(initial=0))
    found = np.empty((step.shape[0], table.shape[1]), np.min_scalar_type(min(most, 2**64 - 1)))
    block = max(1, COLUMNS // max(1, *step.shape))
    for low in range(0, table.shape[1], block):
        found[:, low : low + block] = step @ table[:, low : low + block].astype(np.uint64)
    return found


def carried(sums: Numbers) -> Numbers:
    """Numbers with limbs of up to (2^32 - 1)^2, given back with limbs below 2^32; may be the same array.

    One pass moves every limb's high half up by one place; two or three passes do, save for long runs of
    full limbs.
    """
    if sums.max() <= MASK:
        return sums.astype(smallest_type(sums), copy=False)
    numbers = np.concatenate([sums, np.zeros_like(sums[:, :1])], axis=1)
    while numbers.max() > MASK:
        carry = numbers[:, :-1] >> BITS
        numbers &= MASK
        numbers[:, 1:] += carry
    return (numbers if numbers[:, -1].any() else numbers[:, :-1]).astype(np.uint32)


def to_integers(numbers: Numbers) -> NDArray[np.object_]:
    """Return the Python integers, shape (columns, rows), that limbs of shape (columns, limbs, rows) represent."""
    limbs = numbers.swapaxes(0, 1).astype(np.object_)
    found: NDArray[np.object_] = reduce(lambda high, low: (high << 32) + low, limbs[::-1])
    return found


def position(numbers: Numbers, *, largest: bool) -> tuple[int, int]:
    """(column, row) of the largest number, or of the smallest one."""
    left = np.ones((numbers.shape[0], numbers.shape[2]), np.bool_)
    for limb in reversed(range(numbers.shape[1])):
        digits = numbers[:, limb]
        left &= digits == (digits[left].max() if largest else digits[left].min())
    column, row = np.unravel_index(np.argmax(left), left.shape)
    return int(column), int(row)
