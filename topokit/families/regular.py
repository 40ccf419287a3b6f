"""Regular random networks: every node keeps the degrees that it has in another network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from topokit.csr import INDEX, Buffers, UInt64Array
from topokit.families._curveball import is_only_graph, mix
from topokit.layered import Layered, Promises
from topokit.spec import SEED, Spec, from_cells, generator, option, slug_of


@dataclass(frozen=True, kw_only=True)
class Regular(Spec):
    """A random network in which every node has exactly the in-degree and the out-degree that it has in `like`.

    Each layer is near uniform over all simple bipartite graphs with these degrees: the layer of `like`, mixed
    by curveball trades (see `topokit.families._curveball`). All degrees are possible. If no other graph has
    them, as in a complete layer, the layer stays as it is and `notes` says so. Connectivity and path
    symmetry are not kept.

    Args:
        like: the network whose degrees are kept.
        seed: of the random draws; edge layer i has a stream of its own.

    Raises:
        InvalidSpecError: `like` is not a topology, or the seed not an integer of at least 0.

    Proof: In a trade two nodes lay down the neighbours that only one of them has, and each takes back as many as
    it laid down, so both keep their degrees. Each of these neighbours is then joined to exactly one of the two, as
    before, and keeps its degree as well. So every node has the degrees it has in `like`, whatever was drawn, and the
    layers have as many edges. A trade leads back with the same probability, so it keeps the uniform law; no bound
    is proved on how soon that law is near.

    Cost of a layer: O(edges log edges) time, some 4 s for 10**6 edges on one core; about 60 bytes an edge
    while it is drawn.
    Source: Strona, Nappo, Boccacci, Fattorini & San-Miguel-Ayanz 2014, "A fast and unbiased procedure to randomize
    ecological binary matrices with fixed row and column totals", Nature Communications 5:4114, the trades; Carstens
    2015, "Proof of uniform sampling of binary matrices with fixed row sums and column sums for the fast Curveball
    algorithm", Physical Review E 91:042812, the law.

    >>> from topokit.families.radix_net import RadixNet
    >>> net = RadixNet(radices=(2, 2, 2))
    >>> random = Regular(like=net, seed=0)
    >>> random.layer_edges == net.layer_edges, random.promises.names == {"soundness", "regularity", "density"}
    (True, True)
    """

    name = "regular"

    like: Layered = option("The topology whose degrees are kept.", kind="net")
    seed: int = option("Seed of the random draws.", kind="int", bounds=SEED)

    @classmethod
    def equivalent_to(cls, net: Layered, seed: int) -> Regular:
        """Return the network with the degrees of `net`. O(1)."""
        return cls(like=net, seed=seed)

    twin_of = equivalent_to  # its name in 0.1.0

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return self.like.widths

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return self.like.layer_edges

    @property
    def promises(self) -> Promises:
        return Promises(degrees=self.like.promises.degrees, density=self.like.promises.density)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """A sentence on each layer that has no other graph to be mixed into; reads `like` once. O(edges)."""
        return tuple(
            f"layer {i} is the only graph with these degrees, so its random equivalent is the layer itself"
            for i, layer in enumerate(self.like.stream())
            if is_only_graph(layer)
        )

    @property
    def slug(self) -> str:
        return f"{self.name}-like-{slug_of(self.like)}-seed-{self.seed}"

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        layer = self.like.layer(i)
        if is_only_graph(layer):
            sources, targets = layer.sources.view(INDEX), layer.indices
        else:
            sources, targets = mix(layer, generator(self.seed, i))
        cells = sources * layer.shape[1] + targets
        cells.sort()
        return from_cells(cells, layer.shape, buffers)
