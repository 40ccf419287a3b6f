"""Small-world networks: bands of nearest neighbours, some of whose edges lead anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from topokit.allocation import require_shares
from topokit.csr import INDEX, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.families._random import WIDTHS, RandomFamily, by_source, numbers_slug, supersets
from topokit.fields import numbers
from topokit.layered import Promises
from topokit.spec import SEED, dotted, option, written


@dataclass(frozen=True, kw_only=True)
class SmallWorld(RandomFamily):
    """A bipartite Watts-Strogatz network: every node is joined to its nearest sources, and a few edges go elsewhere.

    The nodes of both layers lie on one ring, node u of n at u/n of the way round, and every target has the
    `fan_in` sources nearest to it; of two at the same distance, the one before it. Each edge then lets go of
    its source with probability `rewire`, and the target draws as many others, each one uniformly from the
    sources that it does not have.

    So `rewire` leads from a band at 0 to fixed fan-in at 1. Watts & Strogatz rewire the edges of one ring of
    nodes one by one, with their own old neighbour excluded; here the edges join two layers, a target keeps its
    fan-in, and all its rewired edges let go before the first one draws.

    Args:
        widths: nodes in each node layer.
        fan_in: sources of each target, a whole number for all edge layers, or one for each.
        rewire: probability that an edge is rewired, for all edge layers or for each.
        seed: of the random draws; edge layer i has a stream of its own.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: The band's sources are consecutive on the ring, so a target has fan_in different ones. It draws as many as
    let go, and none that it has. So its in-degree stays fan_in, whatever is drawn, and of all possible edges of a
    layer a share of fan_in / sources is there. With rewire 1 nothing is kept, and what a target draws is a
    uniformly random set. Out-degrees are drawn.

    Cost of a layer: O(edges log edges) time, some 40 bytes an edge while it is drawn.
    Source: Watts & Strogatz 1998, "Collective dynamics of 'small-world' networks", Nature 393; for the layers of
    neural networks, the bipartite small-world model as in Zhang et al. 2025, "Brain network science modelling of
    sparse neural networks enables Transformers and LLMs to perform as fully connected", arXiv:2501.19107.

    >>> net = SmallWorld(widths=(100, 50, 10), fan_in=(8, 5), rewire=0.1, seed=0)
    >>> net.layer_edges, net.promises.degrees
    ((400, 50), ((None, 8), (None, 5)))
    """

    name = "small-world"

    widths: tuple[int, ...] = option("Nodes in each node layer.", kind="ints", bounds=WIDTHS)
    fan_in: tuple[Fraction, ...] = option(
        "Number of sources of each node: one number, or one per edge layer.", kind="numbers"
    )
    rewire: tuple[Fraction, ...] = option("Probability that an edge is rewired.", kind="numbers")
    seed: int = option("Seed of the random draws.", kind="int", bounds=SEED)

    def __post_init__(self) -> None:
        self._set("fan_in", numbers(self.fan_in, "`fan_in`", len(self)))
        self._set("rewire", numbers(self.rewire, "`rewire`", len(self)))
        for i, (fan_in, sources) in enumerate(zip(self.fan_in, self.widths, strict=False)):
            if not 0 <= fan_in <= sources or fan_in.denominator != 1:
                whole = f"a whole number from 0 to {sources}"
                raise InvalidSpecError(f"layer {i}: `fan_in` must be {whole}, not {written(fan_in)}")
        require_shares(self.rewire, "`rewire`")

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(int(fan_in) * targets for fan_in, targets in zip(self.fan_in, self.widths[1:], strict=True))

    @property
    def promises(self) -> Promises:
        degrees = tuple((None, int(fan_in)) for fan_in in self.fan_in)
        return Promises(degrees=degrees, density=self.exact_density)

    @property
    def slug(self) -> str:
        fan_in, rewire = map(numbers_slug, (self.fan_in, self.rewire))
        return f"{self.name}-{dotted(self.widths)}-of-{fan_in}-rewire-{rewire}-seed-{self.seed}"

    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int]) -> UInt64Array:
        (sources, targets), fan_in = shape, int(self.fan_in[i])
        cells = _band(sources, targets, fan_in)
        cells = cells[rng.random(cells.size) >= float(self.rewire[i])]
        return by_source(supersets(rng, cells, targets, fan_in, sources), shape)


def _band(sources: int, targets: int, fan_in: int) -> UInt64Array:
    """Each target's nearest sources on the ring, as target * sources + source, target by target.

    Target t lies at t * sources / targets, counted in sources; its nearest ones are those less than fan_in / 2
    away, and the first one that is just as far.
    """
    target = np.arange(targets, dtype=np.int64)
    first = -((fan_in * targets // 2 - target * sources) // targets)
    nearest = (first[:, None] + np.arange(fan_in)) % sources
    nearest += (target * sources)[:, None]
    return nearest.ravel().view(INDEX)
