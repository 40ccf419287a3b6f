"""Regular random networks: every node keeps the degrees that it has in another network.

Each layer is drawn by curveball trades. Nodes are children, and their neighbours are cards in their hands. In a trade
two children put the cards that only one of them has on the table, shuffle them, and take back as many as each put down:
all degrees stay, and no child gets a card twice. In a global trade all children of one side trade at once, in random
couples. Sources trade and then targets, again and again.

A global trade leads from one graph to another with the same probability as back, so it keeps the uniform law
over all simple bipartite graphs with these degrees; every such graph can be reached, so that law is the limit
from any start. Sources: Strona et al. 2014, Nature Communications 5:4114 (trades); Carstens 2015, Physical
Review E 91:042812 (the proof); Carstens, Berger & Strona 2018, arXiv:1609.05137 (global trades).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from topokit.csr import INDEX, Buffers, UInt64Array
from topokit.layered import Layer, Layered, Promises
from topokit.spec import SEED, Spec, from_cells, generator, option, slug_of

ROUNDS = 32
"""How often sources and then targets trade.

A trade between nodes of equal degrees makes the chance of an edge the mean of what it was for the two partners,
whatever the density, so n global trades reduce the influence of the start to 2^-n. If one side's
degrees differ much, its trades move less, but those of the other side still have this effect. So 64 trades leave
nothing that could be measured. Only if the degrees nearly determine the graph (long staircases) do two given nodes have
to meet before anything changes, which 64 trades make likely up to some 20 nodes a side.

No bound on the mixing time is proved for these trades; the tests compare them with the exact law on small layers.
"""

ONE = np.uint64(1)


@dataclass(frozen=True, kw_only=True)
class Regular(Spec):
    """A random network in which every node has exactly the in-degree and the out-degree that it has in `like`.

    Each layer is near uniform over all simple bipartite graphs with these degrees: the layer of `like`, mixed
    by curveball trades (see `topokit.families.regular`). All degrees are possible. If no other graph has
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
        sources, targets = layer.sources.view(INDEX), layer.indices
        if not is_only_graph(layer):
            rng = generator(self.seed, i)
            for _ in range(ROUNDS):
                sources, targets = _trade(sources, targets, layer.shape, rng)
                targets, sources = _trade(targets, sources, layer.shape[::-1], rng)
        cells = sources * layer.shape[1] + targets
        cells.sort()
        return from_cells(cells, layer.shape, buffers)


def is_only_graph(layer: Layer) -> bool:
    """Return whether no other simple bipartite graph has the degrees of this one. O(edges), to count the degrees.

    There is no other exactly if the neighbourhoods are nested: if the target of j-th largest degree is fed by all
    sources of a degree of at least j, so that Gale and Ryser's inequalities hold with equality.
    """
    sources, targets = layer.shape
    out_degrees = np.diff(layer.indptr).view(np.intp)
    in_degrees = np.bincount(layer.indices.view(np.intp), minlength=targets)
    below = np.cumsum(np.bincount(out_degrees, minlength=targets))
    return np.array_equal(np.sort(in_degrees)[::-1], sources - below[:targets])


def _trade(
    children: UInt64Array, cards: UInt64Array, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[UInt64Array, UInt64Array]:
    """One global trade; an odd child out keeps its cards. Returns the children and cards of the edges anew.

    A card in a child's hand is one number: its couple, then the card, then the side of the couple. Sorted,
    a card that both have is in two neighbouring numbers.
    """
    child_in_seat = rng.permutation(shape[0]).view(INDEX)  # seats 2 k and 2 k + 1 are the sides of couple k
    seat_of_child = np.empty_like(child_in_seat)
    seat_of_child[child_in_seat.view(np.intp)] = np.arange(shape[0], dtype=INDEX)

    card_bits = np.uint64(shape[1].bit_length())
    hands = seat_of_child[children.view(np.intp)]
    hands = (((hands >> ONE) << card_bits | cards) << ONE) | (hands & ONE)
    hands.sort()
    cards = hands >> ONE
    twice = np.flatnonzero(cards[1:] == cards[:-1])
    on_table = np.ones(cards.size, np.bool_)
    on_table[twice] = on_table[twice + 1] = False
    hands[on_table] = _shuffled(hands[on_table], card_bits + ONE, (shape[0] + 1) // 2, rng)

    seats = (hands >> (card_bits + ONE) << ONE) | (hands & ONE)
    return child_in_seat[seats.view(np.intp)], (hands >> ONE) & ((ONE << card_bits) - ONE)


def _shuffled(hands: UInt64Array, below_couple: np.uint64, couples: int, rng: np.random.Generator) -> UInt64Array:
    """The same cards, with the sides of each couple in random order.

    Sorting (couple, random bits, side) shuffles the sides. The order is exactly uniform unless two cards get the same
    random bits, which happens less than once in 2^30.
    """
    couple_bits = np.uint64(couples.bit_length())
    order: UInt64Array = rng.bit_generator.random_raw(hands.size)
    order >>= couple_bits + ONE
    order <<= ONE
    order |= hands & ONE
    order |= (hands >> below_couple) << (np.uint64(64) - couple_bits)
    order.sort()
    return hands ^ ((hands ^ order) & ONE)
