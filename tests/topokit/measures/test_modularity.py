"""Modularity: the definition, node by node; communities that were planted; and that a run can be repeated."""

from itertools import accumulate, pairwise

import numpy as np
import pytest

import topokit as tk
from topokit.measures.modularity import modularity


def slow_modularity(net, labels):
    """Edges inside less those expected, pair of nodes by pair of nodes, as Newman and Girvan define it."""
    first = [0, *accumulate(net.widths)]
    joined = np.zeros((first[-1], first[-1]))
    for i, layer in enumerate(net.stream()):
        dense = layer.to_dense()
        joined[first[i] : first[i + 1], first[i + 1] : first[i + 2]] = dense
        joined[first[i + 1] : first[i + 2], first[i] : first[i + 1]] = dense.T
    degrees, community = joined.sum(axis=1), np.concatenate(labels)
    total = joined.sum()
    pairs = ((u, v) for u in range(first[-1]) for v in range(first[-1]) if community[u] == community[v])
    return sum(joined[u, v] - degrees[u] * degrees[v] / total for u, v in pairs) / total


def test_the_value_is_that_of_the_communities(random_nets):
    tried = 0
    for seed, net in random_nets[::5]:
        if sum(net.widths) > 80 or net.edges == 0:
            continue
        found = modularity(net)
        assert [labels.size for labels in found.communities] == list(net.widths), seed
        assert found.value == pytest.approx(slow_modularity(net, found.communities), abs=1e-9), seed
        tried += 1
    assert tried > 20


def test_nodes_without_edges_have_no_community_and_the_largest_comes_first():
    one = np.zeros((5, 6))
    one[:2, :3] = one[3, 4:] = 1
    found = modularity(tk.Topology.from_dense([one]))
    assert [labels.tolist() for labels in found.communities] == [[0, 0, -1, 1, -1], [0, 0, 0, -1, 1, 1]]
    assert found.count == 2


def test_planted_communities_are_found():
    random = np.random.default_rng(0)
    layers, groups = [], [random.permutation(np.arange(width) % 4) for width in (60, 40, 20)]
    for before, after in pairwise(groups):
        layers.append(random.random((before.size, after.size)) < np.where(before[:, None] == after, 0.8, 0.03))
    net = tk.Topology.from_dense(layers)
    found = modularity(net)
    assert found.count == 4
    pairs = {*zip(np.concatenate(groups).tolist(), np.concatenate(found.communities).tolist(), strict=True)}
    assert len(pairs) == 4
    assert found.value > 2 * modularity(tk.Regular.equivalent_to(net, 0)).value


def test_it_is_the_same_again_and_when_streamed():
    net = tk.Bernoulli(widths=(50, 40, 30), density=".1", seed=1)
    one, two = modularity(net), modularity(net.build())
    assert one.value == two.value
    assert all(np.array_equal(a, b) for a, b in zip(one.communities, two.communities, strict=True))


def test_without_edges_there_is_no_value():
    found = modularity(tk.Topology.from_dense([np.zeros((2, 3))]))
    assert (found.value, found.count) == (None, 0)
