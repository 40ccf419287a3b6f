"""Effective density, by hand; tests/topokit/measures/test_random_nets.py compares with networkx."""

from fractions import Fraction

import numpy as np

from topokit import Bernoulli, Topology
from topokit.measures.effective import effective, useful


def test_edges_into_dead_ends_and_out_of_nowhere_do_not_count():
    """3-4-2: hidden unit 2 is not reached, hidden unit 3 reaches nothing."""
    one = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    two = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    found = effective(Topology.from_dense([one, two]))
    assert (found.layer_edges, found.edges) == ((5, 2), 7)
    assert found.density.layers == (Fraction(5, 12), Fraction(2, 8))
    assert found.density.whole == Fraction(7, 20)
    assert [nodes.tolist() for nodes in found.dead] == [[], [2, 3], []]
    assert [nodes.tolist() for nodes in found.no_input] == [[], [2], []]
    assert [nodes.tolist() for nodes in found.no_output] == [[], [3], []]


def test_death_travels_both_ways():
    """An input whose only path ends two layers later is dead, and so is an output that nothing reaches."""
    layers = [np.eye(3), np.diag([1, 1, 0]), np.diag([1, 0, 1])]
    found = effective(Topology.from_dense(layers))
    assert found.layer_edges == (1, 1, 1)
    assert [nodes.tolist() for nodes in found.dead] == [[1, 2]] * 4
    assert [nodes.tolist() for nodes in found.no_input] == [[], [], [2], [1, 2]]
    assert [nodes.tolist() for nodes in found.no_output] == [[1, 2], [1, 2], [1], []]


def test_a_streamed_network_gives_what_it_gives_in_memory():
    net = Bernoulli(widths=(40, 50, 60, 30), density=".03", seed=1)
    streamed, held = effective(net), effective(net.build())
    assert streamed.layer_edges == held.layer_edges != net.layer_edges
    assert [flags.sum() for flags in useful(net)] == [flags.sum() for flags in useful(net.build())]
