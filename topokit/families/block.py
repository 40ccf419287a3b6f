"""Block-sparse networks: square blocks of weights that are there or not as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np

from topokit.csr import INDEX, UInt64Array
from topokit.families._random import DENSITY, WIDTHS, DensityFamily, allocation_option, require_multiples, subsets
from topokit.layered import Promises
from topokit.spec import SEED, Bounds, dotted, option


@dataclass(frozen=True, kw_only=True)
class Block(DensityFamily):
    """A random network of square blocks: groups of nodes are joined completely, or not at all.

    Each node layer is cut into groups of `block` consecutive nodes. Of all pairs of neighbouring groups a
    fixed share is chosen, each choice as likely as any other, and their nodes are joined completely. Such
    patterns run as fast as dense products of the blocks. With blocks of 1 node this is a uniformly random
    network with a given number of edges.

    Args:
        widths: nodes in each node layer, multiples of `block`.
        block: nodes in a group.
        density: share of the blocks that are there, from 0 to 1, for all edge layers or for each; rounded to
            a whole number of blocks.
        allocation: how one density of the whole network is divided among the layers (see `topokit.allocation`).
        seed: of the random draws; edge layer i has a stream of its own.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: A chosen pair of groups has all its block^2 possible edges, another has none, and every possible edge
    belongs to one pair. So the share of the edges is the share of the pairs, whatever is drawn. A node's degree is
    `block` times the number of chosen pairs its group is in, which is drawn.

    Cost of a layer: O(edges log edges) time, 32 bytes an edge while it is drawn.
    Source: Gray, Radford & Kingma 2017, "GPU Kernels for Block-Sparse Weights".

    >>> net = Block(widths=(32, 16, 8), block=4, density=0.25, seed=0)
    >>> net.layer_edges, net.promises.density
    ((128, 32), Fraction(1, 4))
    """

    name = "block"

    widths: tuple[int, ...] = option("Nodes in each node layer.", kind="ints", bounds=WIDTHS)
    block: int = option("Number of consecutive nodes in a block.", kind="int", bounds=Bounds(1))
    _density: tuple[Fraction, ...] = option(DENSITY, kind="numbers", alias="density")
    allocation: str = allocation_option()
    seed: int = option("Seed of the random draws.", kind="int", bounds=SEED)

    def __post_init__(self) -> None:
        self._set_density()
        require_multiples(self.widths, self.block, "block")

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks in each edge layer."""
        pairs = pairwise(width // self.block for width in self.widths)
        return tuple(round(share * prod(pair)) for share, pair in zip(self.densities, pairs, strict=True))

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(blocks * self.block**2 for blocks in self.blocks)

    @property
    def promises(self) -> Promises:
        return Promises(density=self.exact_density)

    @property
    def slug(self) -> str:
        return f"{self.name}-{self.block}-{dotted(self.widths)}-{self.density_slug}-seed-{self.seed}"

    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int]) -> UInt64Array:
        sources, targets = shape
        across = targets // self.block
        chosen = subsets(rng, np.array([self.blocks[i]], INDEX), sources // self.block * across)
        corner = chosen // across * self.block * targets + chosen % across * self.block
        inside = np.arange(self.block, dtype=INDEX)
        cells = (corner[:, None, None] + inside[:, None] * targets + inside).ravel()
        cells.sort()
        return cells
