"""Bernoulli networks: every possible edge is there with the same probability."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np

from topokit.csr import INDEX, UInt64Array
from topokit.families._random import DENSITY, WIDTHS, DensityFamily, allocation_option, subsets
from topokit.layered import Layered
from topokit.spec import SEED, dotted, generator, option


@dataclass(frozen=True, kw_only=True)
class Bernoulli(DensityFamily):
    """A random network in which every possible edge is there with probability p, independently of all others.

    This is what "random equivalent" means in Alford, Robinett, Milechin & Kepner 2018, "Training Behavior of
    Sparse Neural Network Topologies", arXiv:1810.00299. Nothing else is promised: a node may have no edge at
    all, and the number of edges is random too.

    A layer's number of edges is drawn first, from the binomial distribution, and then that many of the
    possible edges, each choice as likely as any other. That is the same law, and takes no time for the edges
    that are not there.

    Args:
        widths: nodes in each node layer.
        density: p, a number from 0 to 1 for all edge layers, or one for each.
        allocation: how one density of the whole network is divided among the layers (see `topokit.allocation`).
        seed: of the random draws; edge layer i has a stream of its own.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: If each of c possible edges is there with probability p on its own, a set of e edges has the probability
    p^e (1 - p)^(c - e), the same for all sets of e edges; and their number e is binomial. So drawing e from that law
    and then one of the sets of e edges, all equally likely, is the same law.

    Cost of a layer: O(edges log edges) time, 32 bytes an edge while it is drawn. The number of edges alone
    costs O(1).
    Source: Gilbert 1959, "Random Graphs", The Annals of Mathematical Statistics 30(4):1141-1144.

    >>> net = Bernoulli(widths=(100, 50, 10), density=0.1, seed=0)
    >>> net.densities
    (Fraction(1, 10), Fraction(1, 10))
    """

    name = "bernoulli"

    widths: tuple[int, ...] = option("Nodes in each node layer.", kind="ints", bounds=WIDTHS)
    _density: tuple[Fraction, ...] = option(DENSITY, kind="numbers", alias="density")
    allocation: str = allocation_option()
    seed: int = option("Seed of the random draws.", kind="int", bounds=SEED)

    def __post_init__(self) -> None:
        self._set_density()

    @classmethod
    def equivalent_to(cls, net: Layered, seed: int) -> Bernoulli:
        """Return the network with the widths of `net` and, as each layer's probability, its exact density.

        Cost: that of `net.layer_edges`.
        """
        cells = map(prod, pairwise(net.widths))
        density = tuple(map(Fraction, net.layer_edges, cells))
        return cls(widths=net.widths, density=density, seed=seed)

    twin_of = equivalent_to  # its name in 0.1.0

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(self._draw_edges(i, generator(self.seed, i)) for i in range(len(self)))

    @property
    def slug(self) -> str:
        return f"{self.name}-{dotted(self.widths)}-{self.density_slug}-seed-{self.seed}"

    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int]) -> UInt64Array:
        return subsets(rng, np.array([self._draw_edges(i, rng)], INDEX), prod(shape))

    def _draw_edges(self, i: int, rng: np.random.Generator) -> int:
        """Return the number of edges of layer i, the first thing that is drawn from its stream."""
        return int(rng.binomial(prod(self.widths[i : i + 2]), float(self.densities[i])))
