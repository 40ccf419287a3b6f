"""Networks with a fixed fan-in: every node draws the same number of sources at random."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from topokit.csr import INDEX, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.families._random import DENSITY, WIDTHS, DensityFamily, allocation_option, by_source, numbers_slug, subsets
from topokit.fields import numbers
from topokit.layered import Layered, Promises
from topokit.spec import SEED, dotted, option


@dataclass(frozen=True, kw_only=True)
class FixedFanIn(DensityFamily):
    """A random network in which every target draws its sources without replacement, all choices equally likely.

    If the fan-in of a layer is not an integer, it is a mean: targets chosen at random have one source more
    than the others, so many that the layer's edges are the nearest integer to fan-in times targets.

    Args:
        widths: nodes in each node layer.
        fan_in: sources of each target, from 0 to all of them: a number for all edge layers, or one for each.
        density: in place of fan_in, the share of its sources that a target has, from 0 to 1.
        allocation: how one density of the whole network is divided among the layers (see `topokit.allocation`).
        seed: of the random draws; edge layer i has a stream of its own.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: A layer of E edges and t targets gives E div t sources to each target, and one more to E mod t of them.
    So it has E edges whatever is drawn, and if t divides E, every target has the same in-degree. Out-degrees are
    drawn: a source that no target draws is dead.

    Cost of a layer: O(edges log edges) time, 32 bytes an edge while it is drawn.
    Source: Prabhu, Varma & Namboodiri 2018, "Deep Expander Networks", arXiv:1711.08757, whose X-Linear layers
    draw this way if there are fewer targets than sources.

    >>> net = FixedFanIn(widths=(100, 50, 10), fan_in=(8, "5/2"), seed=0)
    >>> net.layer_edges
    (400, 25)
    """

    name = "fixed-fan-in"

    widths: tuple[int, ...] = option("Nodes in each node layer.", kind="ints", bounds=WIDTHS)
    fan_in: tuple[Fraction, ...] | None = option(
        "Number of sources of each node: one number, or one per edge layer.", kind="numbers", default=None
    )
    _density: tuple[Fraction, ...] | None = option(DENSITY, kind="numbers", default=None, alias="density")
    allocation: str = allocation_option()
    seed: int = option("Seed of the random draws.", kind="int", bounds=SEED)

    def __post_init__(self) -> None:
        if (self.fan_in is None) == (self._density is None):
            raise InvalidSpecError("fixed-fan-in needs either `fan_in` or `density`, and not both")
        if self.fan_in is None:
            self._set_density()
            return
        if self.allocation != "uniform":
            raise InvalidSpecError(f"`allocation` {self.allocation} divides a density: give `density`, not `fan_in`")
        self._set("fan_in", numbers(self.fan_in, "`fan_in`", len(self)))
        for i, (fan_in, sources) in enumerate(zip(self.means, self.widths, strict=False)):
            if not 0 <= fan_in <= sources:
                raise InvalidSpecError(
                    f"layer {i}: `fan_in` must be from 0 to {sources}, the number of sources, not {fan_in}"
                )

    @classmethod
    def equivalent_to(cls, net: Layered, seed: int) -> FixedFanIn:
        """Return the network with the widths of `net` and, in each layer, its mean fan-in: it has as many edges.

        Cost: that of `net.layer_edges`.
        """
        fan_in = tuple(map(Fraction, net.layer_edges, net.widths[1:]))
        return cls(widths=net.widths, fan_in=fan_in, seed=seed)

    twin_of = equivalent_to  # its name in 0.1.0

    @cached_property
    def means(self) -> tuple[Fraction, ...]:
        """Mean fan-in of each edge layer."""
        if self.fan_in is not None:
            return self.fan_in
        return tuple(share * sources for share, sources in zip(self.densities, self.widths, strict=False))

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(round(mean * targets) for mean, targets in zip(self.means, self.widths[1:], strict=True))

    @property
    def promises(self) -> Promises:
        shares = map(divmod, self.layer_edges, self.widths[1:])
        degrees = tuple((None, None if larger else least) for least, larger in shares)
        known = any(in_degree is not None for _, in_degree in degrees)
        return Promises(degrees=degrees if known else None, density=self.exact_density)

    @property
    def slug(self) -> str:
        share = self.density_slug if self.fan_in is None else f"of-{numbers_slug(self.fan_in)}"
        return f"{self.name}-{dotted(self.widths)}-{share}-seed-{self.seed}"

    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int]) -> UInt64Array:
        sources, targets = shape
        least, larger = divmod(self.layer_edges[i], targets)
        sizes = np.full(targets, least, INDEX)
        sizes[rng.permutation(targets)[:larger]] += 1
        return by_source(subsets(rng, sizes, sources), shape)
