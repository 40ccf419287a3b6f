"""What the random families share: their draws, layer by layer, their densities, and uniform subsets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from topokit.allocation import ALLOCATIONS, allocate, require_shares
from topokit.csr import INDEX, Buffers, UInt64Array, require_memory
from topokit.errors import InvalidSpecError
from topokit.fields import Bounds, numbers
from topokit.reprs import counted
from topokit.spec import Spec, dotted, from_cells, generator, option

DENSITY = "Density: one number, or one per edge layer."
"""Help of the option `density`."""

WIDTHS = Bounds(1, 2**31 - 1)
"""Bounds of a random network's widths: a layer's possible edges can be counted in 63 bits."""


def allocation_option() -> Any:
    """Declare the option `allocation` of a DensityFamily."""
    text = "Rule that divides one density among the layers."
    return option(text, kind="choice", default="uniform", choices=ALLOCATIONS)


def require_multiples(widths: Sequence[int], size: int, what: str) -> None:
    """Refuse widths that cannot be divided into groups of `size` nodes, the option `what`.

    Raises:
        InvalidSpecError: names the first such width.
    """
    for i, width in enumerate(widths):
        if width % size:
            nodes = counted(width, "node")
            raise InvalidSpecError(f"node layer {i} has {nodes}: it must be a multiple of {what} = {size}")


class RandomFamily(Spec):
    """A family that draws each edge layer from a random stream of its own, which its option `seed` spawns."""

    seed: int

    @abstractmethod
    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int]) -> UInt64Array:
        """Return source * targets + target of each edge of layer i, increasing.

        Args:
            i: the edge layer.
            rng: its random stream.
            shape: (sources, targets).
        """

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        sources, targets = self.widths[i : i + 2]
        require_memory(32 * (max(sources, targets) + self.layer_edges[i]), "a random layer")
        cells = self.draw(i, generator(self.seed, i), (sources, targets))
        return from_cells(cells, (sources, targets), buffers)


class DensityFamily(RandomFamily):
    """A random family with the options `density` and `allocation`: a density for each edge layer, or one divided."""

    _density: Any
    allocation: str

    def _set_density(self) -> None:
        """Bring the option `density` to its form: one number for each edge layer, or the one that is divided."""
        divided = self.allocation != "uniform"
        if divided and np.size(self._density) != 1:
            raise InvalidSpecError(
                f"`allocation` {self.allocation} divides one density among the layers; give one number"
            )
        self._set("_density", numbers(self._density, "`density`", 1 if divided else len(self)))
        require_shares(self._density)

    @cached_property
    def densities(self) -> tuple[Fraction, ...]:
        """The density of each edge layer."""
        if self.allocation == "uniform":
            return tuple(self._density)
        shapes = [(targets, sources) for sources, targets in pairwise(self.widths)]
        return allocate(shapes, self._density[0], self.allocation)

    @property
    def density_slug(self) -> str:
        """The part of a file name that says how dense the network is."""
        return f"{'density' if self.allocation == 'uniform' else self.allocation}-{numbers_slug(self._density)}"


def numbers_slug(values: Sequence[Fraction]) -> str:
    """Return the part of a file name for the numbers of the edge layers: one if all are equal."""
    shown = values[:1] if len(set(values)) == 1 else values
    return dotted([f"{float(value):.4g}" for value in shown])


def by_source(cells: UInt64Array, shape: tuple[int, int]) -> UInt64Array:
    """Renumber cells from target * sources + source to source * targets + target, increasing. O(n log n)."""
    sources, targets = shape
    target, source = np.divmod(cells, sources)
    cells = source * targets + target
    cells.sort()
    return cells


def subsets(rng: np.random.Generator, sizes: UInt64Array, population: int) -> UInt64Array:
    """Draw a uniformly random subset of range(population) for each row, each of a given size.

    If more than half of the elements are wanted, the others are drawn instead. O(n log n) time for n elements.

    Args:
        rng: the source of randomness.
        sizes: shape (rows,), each at most `population`; rows * population is below 2**63.
        population: how many elements there are to choose from.

    Returns:
        row * population + element of each chosen element, increasing.
    """
    cells = sizes.size * population
    if 2 * int(sizes.sum()) <= cells:
        return _filled(rng, np.empty(0, INDEX), sizes, population)
    chosen = np.ones(cells, np.bool_)
    others = _filled(rng, np.empty(0, INDEX), population - sizes, population)
    chosen[others.view(np.intp)] = False
    return np.flatnonzero(chosen).view(INDEX)


def supersets(rng: np.random.Generator, kept: UInt64Array, rows: int, size: int, population: int) -> UInt64Array:
    """Fill each row of elements of range(population) up to `size` elements by a uniformly random set of the others.

    O(n log n) time for n elements of the result.

    Args:
        rng: the source of randomness.
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
    """Return the given cells and others, drawn with replacement until each row has enough distinct elements.

    No round draws more than a row still lacks, so a row gets the first new elements of an endless sequence of
    independent draws: no element is preferred, and all sets are equally likely.
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
