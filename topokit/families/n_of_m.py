"""N:M sparsity: n of every m consecutive weights of a neuron, such as 2:4."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np

from topokit.csr import INDEX, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.families._random import WIDTHS, RandomFamily, by_source, require_multiples, subsets
from topokit.layered import Promises
from topokit.spec import SEED, Bounds, dotted, option


@dataclass(frozen=True, kw_only=True)
class NOfM(RandomFamily):
    """A random network in which every node has n edges from each m consecutive nodes of the layer before.

    Each choice of n of the m is as likely as any other, and independent of the others. With n = 2 and m = 4
    this is the pattern that GPUs with sparse tensor cores multiply at twice the dense rate. Only in-degrees
    are promised: out-degrees vary.

    Args:
        widths: nodes in each node layer; all but the last are multiples of m.
        n: edges from each group, 1 to m.
        m: consecutive nodes in a group.
        seed: of the random draws; edge layer i has a stream of its own.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: The groups of a layer of w nodes are disjoint, w/m of them, and each gives n edges to each node behind
    it. So every node has an in-degree of n w/m, whatever is drawn, and of all possible edges a share of n/m is
    there. How often a node is chosen, its out-degree, is drawn.

    Cost of a layer: O(edges log edges) time, 32 bytes an edge while it is drawn.
    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378.

    >>> net = NOfM(widths=(16, 8, 3), n=2, m=4, seed=0)
    >>> net.layer_edges, net.promises.density
    ((64, 12), Fraction(1, 2))
    """

    name = "n-of-m"

    widths: tuple[int, ...] = option("Nodes in each node layer.", kind="ints", bounds=WIDTHS)
    n: int = option("Number of edges to each node from each group of m nodes.", kind="int", bounds=Bounds(1))
    m: int = option("Number of consecutive nodes in a group.", kind="int", bounds=Bounds(1))
    seed: int = option("Seed of the random draws.", kind="int", bounds=SEED)

    def __post_init__(self) -> None:
        if self.n > self.m:
            raise InvalidSpecError(f"`n` must be from 1 to m = {self.m}, not {self.n}")
        require_multiples(self.widths[:-1], self.m, "m")

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(prod(pair) // self.m * self.n for pair in pairwise(self.widths))

    @property
    def promises(self) -> Promises:
        degrees = tuple((None, width // self.m * self.n) for width in self.widths[:-1])
        return Promises(degrees=degrees, density=Fraction(self.n, self.m))

    @property
    def slug(self) -> str:
        return f"{self.n}-of-{self.m}-{dotted(self.widths)}-seed-{self.seed}"

    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int]) -> UInt64Array:  # noqa: ARG002
        sources, targets = shape
        sizes = np.full(targets * (sources // self.m), self.n, INDEX)
        return by_source(subsets(rng, sizes, self.m), shape)  # a target's groups are numbered one after another
