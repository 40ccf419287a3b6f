"""Curveball trades: random bipartite graphs in which every node keeps its degree.

Nodes are children, and their neighbours are cards in their hands. In a trade two children put the cards that only one
of them has on the table, shuffle them, and take back as many as each put down: all degrees stay, and no
child gets a card twice. In a global trade all children of one side trade at once, in random couples.
Sources trade and then targets, again and again.

A global trade leads from one graph to another with the same probability as back, so it keeps the uniform law
over all simple bipartite graphs with these degrees; every such graph can be reached, so that law is the limit
from any start. Sources: Strona et al. 2014, Nature Communications 5:4114 (trades); Carstens 2015, Physical
Review E 91:042812 (the proof); Carstens, Berger & Strona 2018, arXiv:1609.05137 (global trades).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from topokit.csr import INDEX, UInt64Array
from topokit.layered import Layer

if TYPE_CHECKING:
    pass

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


def mix(layer: Layer, rng: np.random.Generator) -> tuple[UInt64Array, UInt64Array]:
    """Return a near uniform random graph with the degrees of `layer`: each edge's source and target, in any order.

    O(edges log edges) time, about 60 bytes an edge.

    Args:
        layer: the start of the trades; both widths are below 2**32.
        rng: the source of randomness.
    """
    sources, targets = layer.sources.view(INDEX), layer.indices
    for _ in range(ROUNDS):
        sources, targets = _trade(sources, targets, layer.shape, rng)
        targets, sources = _trade(targets, sources, layer.shape[::-1], rng)
    return sources, targets


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
