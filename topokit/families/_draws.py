"""What the random families share: their widths, their layers' densities, and uniform subsets to draw."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from topokit.allocation import ALLOCATIONS, allocate, require_shares, uniform
from topokit.csr import INDEX, UInt64Array, require_memory
from topokit.errors import InvalidSpecError
from topokit.spec import dotted, integers, numbers

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


def given_density(density: object, allocation: str, layers: int) -> tuple[Fraction, ...]:
    """The option `density`: one number for each edge layer, or one alone that `allocation` divides among them.

    Raises:
        InvalidSpecError: no numbers from 0 to 1, a wrong count of them, or no such allocation.
    """
    divided = ALLOCATIONS[str(allocation)] is not uniform
    listed = isinstance(density, Sequence | np.ndarray) and not isinstance(density, str)
    if divided and listed and len(density) != 1:  # type: ignore[arg-type]
        raise InvalidSpecError(f"allocation {allocation} divides one density among the layers; give one number")
    given = numbers(density, "density", 1 if divided else layers)
    require_shares(given)
    return given


def layer_densities(widths: Sequence[int], density: tuple[Fraction, ...], allocation: str) -> tuple[Fraction, ...]:
    """The density of each edge layer, from what `given_density` returned."""
    if allocation == "uniform":
        return density
    return allocate([(targets, sources) for sources, targets in pairwise(widths)], density[0], allocation)


def density_slug(density: tuple[Fraction, ...], allocation: str) -> str:
    """The part of a file name that says how dense a network is."""
    shares = numbers_slug(density)
    return f"density-{shares}" if allocation == "uniform" else f"{allocation}-{shares}"


def numbers_slug(values: Sequence[Fraction]) -> str:
    """The part of a file name for a number of each edge layer: one where all are equal, else each in its place."""
    shown = values[:1] if len(set(values)) == 1 else values
    return dotted([f"{float(value):.4g}" for value in shown])


def require_drawing(rows: int, edges: int) -> None:
    """Refuse a layer that could not be drawn with `subsets`, before anything is allocated.

    Raises:
        TooLargeError: not enough free memory.
    """
    require_memory(32 * (rows + edges), "a random layer")


def by_source(cells: UInt64Array, shape: tuple[int, int]) -> UInt64Array:
    """Cells numbered target * sources + source as source * targets + target, increasing. O(n log n)."""
    sources, targets = shape
    target, source = np.divmod(cells, sources)
    cells = source * targets + target
    cells.sort()
    return cells


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
        return _filled(rng, np.empty(0, INDEX), sizes, population)
    chosen = np.ones(cells, np.bool_)
    left_out = _filled(rng, np.empty(0, INDEX), population - sizes, population)
    chosen[left_out.view(np.intp)] = False
    return np.flatnonzero(chosen).view(INDEX)


def supersets(rng: np.random.Generator, kept: UInt64Array, rows: int, size: int, population: int) -> UInt64Array:
    """Rows of some elements of range(population), each filled up to `size` by a uniformly random set of the others.

    O(n log n) time for n elements of the result.

    Args:
        rng: where the randomness comes from.
        kept: the rows' elements, row by row: row * population + element.
        rows: number of rows; rows * population is below 2**63.
        size: how many elements each row gets, from as many as it has to all of them.
        population: how many elements there are to choose from.

    Returns:
        row * population + element of each element, row by row.
    """
    if 2 * size <= population:
        return _filled(rng, kept, np.full(rows, size, INDEX), population)
    lots = rng.random((rows, population))
    lots.ravel()[kept.view(np.intp)] = -1
    drawn = np.argpartition(lots, size - 1, axis=1)[:, :size]
    drawn += np.arange(0, rows * population, population)[:, None]
    return drawn.ravel().view(INDEX)


def _filled(rng: np.random.Generator, cells: UInt64Array, sizes: UInt64Array, population: int) -> UInt64Array:
    """The cells given, and others by drawing with replacement until each row has enough distinct elements.

    No round draws more than a row still lacks, so that what a row gets is the first new elements of an endless
    sequence of independent draws: no element is preferred, and all sets are equally likely.
    """
    row_starts = np.arange(sizes.size + 1, dtype=INDEX) * population
    lacking = sizes - np.diff(np.searchsorted(cells, row_starts)).view(INDEX)
    while lacking.any():
        drawn = np.repeat(row_starts[:-1], lacking.view(np.intp))
        drawn += rng.integers(population, size=drawn.size, dtype=INDEX)
        cells = np.concatenate([cells, drawn])
        cells.sort()
        cells = cells[np.append(True, cells[1:] != cells[:-1])]
        lacking = sizes - np.diff(np.searchsorted(cells, row_starts)).view(INDEX)
    return cells
