"""Reachability, against networkx."""

from itertools import pairwise, product
from unittest.mock import Mock

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.families.radix_net import RadixNet
from topokit.measures.reach import reach
from topokit.topologies import Topology


def graph_of(net):
    graph = nx.DiGraph()
    for i, width in enumerate(net.widths):
        graph.add_nodes_from((i, node) for node in range(width))
    for i, layer in enumerate(net.stream()):
        ends = zip(layer.sources.tolist(), layer.indices.tolist(), strict=True)
        graph.add_edges_from(((i, u), (i + 1, v)) for u, v in ends)
    return graph


def confirm(found, net):
    """Compare with the descendants of every input and the ancestors of every output."""
    graph, last = graph_of(net), len(net.widths) - 1
    below = {u: nx.descendants(graph, (0, u)) for u in range(net.widths[0])}
    missing = [(u, v) for u, v in product(range(net.widths[0]), range(net.widths[-1])) if (last, v) not in below[u]]
    assert found.disconnected_pairs == len(missing)
    assert found.disconnected_pair == next(iter(missing), None)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.sampled_from([0.2, 0.5, 0.8, 1]), st.integers(0, 2**32))
@settings(deadline=None, max_examples=150)
def test_reach_is_that_of_networkx(widths, density, seed):
    random = np.random.default_rng(seed)
    net = Topology.from_dense([random.random(shape) < density for shape in pairwise(widths)])
    confirm(reach(net), net)


@pytest.mark.parametrize(("widths", "density"), [((150, 90, 130), 0.03), ((200, 210, 64, 65), 0.02), ((70, 1, 70), 1)])
def test_more_than_64_inputs(widths, density):
    random = np.random.default_rng(7)
    net = Topology.from_dense([random.random(shape) < density for shape in pairwise(widths)])
    confirm(reach(net), net)


def test_classes_count_as_often_as_they_have_members():
    """Twins on both sides: 2 x 3 disconnected pairs from one class each."""
    blocks = np.kron(np.eye(2, dtype=int), np.ones((2, 3), int))
    blocks[:, 3:] = 1
    found = reach(Topology.from_dense([blocks]))
    assert found.disconnected_pairs == 6
    assert found.disconnected_pair == (2, 0)


def test_a_radix_net_connects_everything():
    found = reach(RadixNet(radices=[(3, 4), (2, 6), (4,)], kron=(2, 1, 3, 2, 1, 2)))
    assert (found.disconnected_pairs, found.disconnected_pair) == (0, None)


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    """64 inputs and nodes: 512 bytes for the inputs' bits, three times as much for crossing a layer."""
    asked = Mock()
    monkeypatch.setattr("topokit.measures.reach.require_memory", asked)
    reach(Topology.from_dense(np.random.default_rng(0).random((2, 64, 64)) < 0.5))
    assert [call.args[0] for call in asked.call_args_list] == [512, 1536, 1536]
