"""What the random families draw from: uniform subsets."""

from __future__ import annotations

import numpy as np

from topokit.csr import INDEX, UInt64Array, require_memory
from topokit.errors import InvalidSpecError
from topokit.spec import integers

WIDEST = 2**31 - 1  # so that a layer's possible edges can be counted in 63 bits


def random_widths(widths: object) -> tuple[int, ...]:
    """The node layers' widths of a random network.

    Raises:
        InvalidSpecError: fewer than two, below 1, or 2**31 and more.
    """
    checked = integers(widths, "widths", 1)
    if len(checked) < 2:
        raise InvalidSpecError(f"widths has {len(checked)} node layers; a network needs at least 2")
    if max(checked) > WIDEST:
        raise InvalidSpecError("widths must be below 2^31 in a random network: use smaller numbers")
    return checked


def require_drawing(rows: int, edges: int) -> None:
    """Refuse a layer that could not be drawn with `subsets`, before anything is allocated.

    Raises:
        TooLargeError: not enough free memory.
    """
    require_memory(32 * (rows + edges), "a random layer")


def subsets(rng: np.random.Generator, sizes: UInt64Array, population: int) -> UInt64Array:
    """A uniformly random subset of range(population) for each of some rows, each of a given size.

    Where more than half is wanted, what is left out is drawn instead. O(n log n) time for n elements.

    Args:
        rng: where the randomness comes from.
        sizes: shape (rows,), each at most `population`; rows * population is below 2**63.
        population: how many elements there are to choose from.

    Returns:
        row * population + element of each chosen element, increasing.
    """
    cells = sizes.size * population
    if 2 * int(sizes.sum()) <= cells:
        return _distinct(rng, sizes, population)
    chosen = np.ones(cells, np.bool_)
    chosen[_distinct(rng, population - sizes, population).view(np.intp)] = False
    return np.flatnonzero(chosen).view(INDEX)


def _distinct(rng: np.random.Generator, sizes: UInt64Array, population: int) -> UInt64Array:
    """`subsets` by drawing with replacement until each row has enough distinct elements.

    No round draws more than a row still lacks, so that a row's set is what the first distinct elements of an
    endless sequence of independent draws are: no element is preferred, and all sets are equally likely.
    """
    row_starts = np.arange(sizes.size + 1, dtype=INDEX) * population
    cells = np.empty(0, INDEX)
    lacking = sizes
    while lacking.any():
        drawn = np.repeat(row_starts[:-1], lacking.view(np.intp))
        drawn += rng.integers(population, size=drawn.size, dtype=INDEX)
        cells = np.concatenate([cells, drawn])
        cells.sort()
        cells = cells[np.append(True, cells[1:] != cells[:-1])]
        lacking = sizes - np.diff(np.searchsorted(cells, row_starts)).view(INDEX)
    return cells
