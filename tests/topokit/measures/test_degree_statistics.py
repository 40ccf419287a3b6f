"""Hubs, assortativity and clustering against slow second implementations, networkx and scipy."""

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from scipy.stats import pearsonr

import topokit as tk
from topokit.errors import TooLargeError
from topokit.measures import clustering as module
from topokit.measures.assortativity import assortativity
from topokit.measures.clustering import clustering
from topokit.measures.hubs import hubs

STAR = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])


def edges_of(layer):
    return list(zip(layer.sources.tolist(), layer.indices.tolist(), strict=True))


def graph_of(layer):
    graph = nx.Graph()
    graph.add_nodes_from([("s", u) for u in range(layer.shape[0])] + [("t", v) for v in range(layer.shape[1])])
    graph.add_edges_from((("s", u), ("t", v)) for u, v in edges_of(layer))
    return graph


def slow_inequality(degrees):
    """Gini as the mean difference of all pairs, and shares by adding up the busiest nodes one after another."""
    nodes, edges = len(degrees), sum(degrees)
    if edges == 0:
        return (None,) * 4
    gini = sum(abs(a - b) for a in degrees for b in degrees) / (2 * nodes * edges)
    busiest = sorted(degrees, reverse=True)
    shares = []
    for every in (100, 10):
        taken = 0
        while taken * every < nodes:
            taken += 1
        shares.append(sum(busiest[:taken]) / edges)
    return gini, *shares, max(degrees) / (edges / nodes)


def test_hubs_are_those_of_a_slow_count(random_nets):
    for seed, net in random_nets[::3]:
        for layer, (out, into) in zip(net.stream(), hubs(net), strict=True):
            dense = layer.to_dense()
            for degrees, side in ((dense.sum(axis=1), out), (dense.sum(axis=0), into)):
                values = (side.gini, side.top_1, side.top_10, side.max_over_mean)
                assert values == pytest.approx(slow_inequality(degrees.tolist())), seed


def test_the_busiest_of_many_nodes_are_rounded_up():
    mask = np.zeros((250, 40), bool)
    mask[:, 0] = True
    mask[7:10] = True  # three nodes have 40 edges, the other 247 one
    [(out, into)] = hubs(tk.Topology.from_dense([mask]))
    assert out.top_1 == pytest.approx(3 * 40 / 367)
    assert out.top_10 == pytest.approx((3 * 40 + 22) / 367)
    assert into.top_1 == pytest.approx(250 / 367)


def test_assortativity_is_pearsons_correlation_over_the_edges(random_nets):
    defined = 0
    for seed, net in random_nets[::3]:
        found = assortativity(net)
        for layer, value in zip(net.stream(), found.layers, strict=True):
            dense = layer.to_dense()
            ends = [(int(dense[u].sum()), int(dense[:, v].sum())) for u, v in edges_of(layer)]
            out, into = zip(*ends, strict=True) if ends else ((), ())
            if len(set(out)) < 2 or len(set(into)) < 2:
                assert value is None, seed
                continue
            assert value == pytest.approx(pearsonr(out, into).statistic, abs=1e-9), seed
            defined += 1
    assert defined > 50


def test_hidden_units_correlate_what_they_read_and_what_reads_them():
    one, two = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]]), np.array([[1, 0], [1, 1], [0, 0]])
    found = assortativity(tk.Topology.from_dense([one, two]))
    assert found.hidden == (pytest.approx(pearsonr([3, 2, 0], [1, 2, 0]).statistic),)
    assert assortativity(tk.Topology.from_dense([np.ones((2, 3)), two])).hidden == (None,)
    single = assortativity(tk.Topology.from_dense([np.ones((2, 3))]))
    assert (single.layers, single.hidden, single.mean) == ((None,), (), None)


def test_clustering_is_that_of_networkx(random_nets):
    closed = 0
    for seed, net in random_nets[::3]:
        for layer, found in zip(net.stream(), clustering(net), strict=True):
            if layer.edges > 400:
                continue
            graph = graph_of(layer)
            pairs = combinations([("s", u) for u in range(layer.shape[0])], 2)
            common = [len({*graph[one]} & {*graph[other]}) for one, other in pairs]
            assert found.cycles == sum(number * (number - 1) // 2 for number in common), seed
            middle = sum((graph.degree(u) - 1) * (graph.degree(v) - 1) for u, v in graph.edges)
            assert found.three_paths == middle, seed
            expected = nx.bipartite.robins_alexander_clustering(graph)
            assert (found.coefficient or 0) == pytest.approx(expected), seed
            closed += found.cycles > 0
    assert closed > 30


@pytest.mark.parametrize("shape", [(40, 3), (3, 40)])
def test_blocks_count_what_one_block_counts(monkeypatch, shape):
    net = tk.Bernoulli(widths=shape, density=".5", seed=1).build()
    whole = list(clustering(net))
    monkeypatch.setattr(module, "BLOCK", 50)
    assert list(clustering(net)) == whole
    monkeypatch.setattr(module, "BLOCK", 1)
    assert list(clustering(net)) == whole


def test_a_complete_layer_is_closed_altogether():
    [found] = clustering(tk.Topology.from_dense([np.ones((60, 50))]))
    assert found.cycles == 60 * 59 // 2 * (50 * 49 // 2)
    assert found.coefficient == 1
    [forest] = clustering(tk.Topology.from_dense([np.eye(3)]))
    assert (forest.cycles, forest.three_paths, forest.coefficient) == (0, 0, None)


def test_counting_four_cycles_has_a_budget():
    net = tk.Topology.from_dense([np.ones((10, 4)), np.ones((4, 10))])
    assert len(list(clustering(net, budget=2 * 10 * 4 * 4))) == 2
    with pytest.raises(TooLargeError, match="more than 319 steps"):
        list(clustering(net, budget=319))
