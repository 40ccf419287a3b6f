"""Curveball trades against the exact law, found by enumerating all graphs and all trades."""

from collections import Counter
from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
from scipy.stats import chisquare

from topokit.families.regular import ROUNDS, Regular, _trade, is_only_graph
from topokit.topologies import Topology


def graphs(out_degrees, in_degrees):
    """All simple bipartite graphs with these degrees: a frozenset of targets for each source."""
    if not out_degrees:
        return [()] if not any(in_degrees) else []
    found = []
    for row in combinations(range(len(in_degrees)), out_degrees[0]):
        left = [degree - (target in row) for target, degree in enumerate(in_degrees)]
        if min(left) >= 0:
            found += [(frozenset(row), *rest) for rest in graphs(out_degrees[1:], left)]
    return found


def couplings(nodes):
    """All ways of pairing the nodes off, one staying alone where they are odd."""
    if len(nodes) % 2:
        return [pairs for k in range(len(nodes)) for pairs in couplings(nodes[:k] + nodes[k + 1 :])]
    if not nodes:
        return [()]
    rests = ((partner, [node for node in nodes[1:] if node != partner]) for partner in nodes[1:])
    return [((nodes[0], partner), *pairs) for partner, rest in rests for pairs in couplings(rest)]


def after_trade(law, one, two):
    """The law of the graph once two sources have traded."""
    new = Counter()
    for graph, chance in law.items():
        table = graph[one] ^ graph[two]
        hands = [graph[one] - table | set(hand) for hand in combinations(table, len(graph[one] & table))]
        for hand in hands:
            other = (graph[one] | graph[two]) - hand | (graph[one] & graph[two])
            rows = {one: frozenset(hand), two: frozenset(other)}
            new[tuple(rows.get(u, row) for u, row in enumerate(graph))] += chance / len(hands)
    return new


def after_global_trade(graph):
    """The law of the graph once all sources have traded in random couples."""
    total, ways = Counter(), couplings(list(range(len(graph))))
    for pairs in ways:
        law = Counter({graph: 1 / len(ways)})
        for one, two in pairs:
            law = after_trade(law, one, two)
        total += law
    return total


def turned(graph, targets):
    return tuple(frozenset(u for u, row in enumerate(graph) if v in row) for v in range(targets))


def transition_matrix(states):
    number = {graph: k for k, graph in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))
    for graph, k in number.items():
        for reached, chance in after_global_trade(graph).items():
            matrix[k, number[reached]] = chance
    return matrix


def topology(graph, targets):
    return Topology.from_dense([np.array([[v in row for v in range(targets)] for row in graph])])


def as_graph(sources, targets, width):
    rows = [set() for _ in range(width)]
    for u, v in zip(sources.tolist(), targets.tolist(), strict=True):
        rows[u].add(v)
    return tuple(map(frozenset, rows))


SMALL = [
    ((1, 2, 1), (1, 1, 2)),
    ((2, 2, 2, 2), (2, 2, 2, 2)),
    ((1, 1, 3, 3), (1, 1, 3, 3)),
    ((3, 1, 2), (2, 1, 0, 2, 1)),
    ((0, 1, 1), (0, 1, 1, 0, 0)),
    ((5, 1, 1, 1, 1), (1, 2, 2, 2, 2)),
    ((1, 2, 3, 3, 5), (4, 4, 3, 2, 1)),
]


@pytest.mark.parametrize(("out_degrees", "in_degrees"), SMALL)
def test_the_rounds_are_enough_for_every_start_to_be_forgotten(out_degrees, in_degrees):
    states = graphs(out_degrees, in_degrees)
    width = len(in_degrees)
    sources_trade = transition_matrix(states)
    targets_trade = transition_matrix([turned(graph, width) for graph in states])
    law = np.linalg.matrix_power(sources_trade @ targets_trade, ROUNDS)
    assert len(states) > 1
    assert np.abs(law - 1 / len(states)).sum(axis=1).max() / 2 < 1e-3


@pytest.mark.parametrize(("out_degrees", "in_degrees"), SMALL)
def test_a_global_trade_has_the_exact_law(out_degrees, in_degrees):
    width = len(in_degrees)
    start = graphs(out_degrees, in_degrees)[0]
    exact = after_global_trade(start)
    rng = np.random.default_rng(1)
    layer = topology(start, width).layer(0)
    draws = 3000
    seen = Counter(as_graph(*_trade(layer.sources, layer.indices, layer.shape, rng), len(start)) for _ in range(draws))
    assert set(seen) <= set(exact)
    expected = np.array([draws * chance for chance in exact.values()])
    assert len(exact) == 1 or chisquare([seen[graph] for graph in exact], expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("out_degrees", "in_degrees", "draws"),
    [
        ((1, 2, 1), (1, 1, 2), 300),
        ((3, 1, 2), (2, 1, 0, 2, 1), 500),
        ((2, 2, 2, 2), (2, 2, 2, 2), 900),
        pytest.param((1, 2, 1), (1, 1, 2), 3000, marks=pytest.mark.long),
        pytest.param((3, 1, 2), (2, 1, 0, 2, 1), 5000, marks=pytest.mark.long),
        pytest.param((2, 2, 2, 2), (2, 2, 2, 2), 9000, marks=pytest.mark.long),
    ],
)
def test_all_graphs_with_the_degrees_come_out_equally_often(out_degrees, in_degrees, draws):
    states = graphs(out_degrees, in_degrees)
    net = topology(states[-1], len(in_degrees))
    seen = Counter()
    for seed in range(draws):
        layer = Regular(like=net, seed=seed).layer(0)
        seen[as_graph(layer.sources, layer.indices, len(out_degrees))] += 1
    assert chisquare([seen.pop(graph) for graph in states]).pvalue > 1e-3
    assert not seen


def test_the_only_graph_is_known_by_its_degrees():
    """Up to the order of the nodes, all degrees of up to 3 sources and 4 targets."""
    counts = Counter()
    for sources, targets in [(1, 1), (1, 4), (2, 2), (3, 3), (3, 4), (4, 2)]:
        for out_degrees in combinations_with_replacement(range(targets + 1), sources):
            for in_degrees in combinations_with_replacement(range(sources + 1), targets):
                states = graphs(out_degrees, in_degrees)
                if states:
                    layer = topology(states[0], targets).layer(0)
                    assert is_only_graph(layer) == (len(states) == 1), (out_degrees, in_degrees)
                    counts[len(states) == 1] += 1
    assert counts[True] > 50 < counts[False]
