"""Every measure on 300 random networks of all families, against networkx, dense NumPy and Python integers."""

from collections import Counter
from fractions import Fraction
from functools import reduce
from statistics import mean, median, pvariance

import networkx as nx
import numpy as np
import pytest

from topokit.families import FAMILIES
from topokit.measures.degrees import degrees
from topokit.measures.effective import effective
from topokit.measures.end_to_end import end_to_end
from topokit.measures.node_paths import node_paths
from topokit.measures.path_statistics import path_statistics
from topokit.measures.paths import path_counts, path_range
from topokit.measures.reach import reach
from topokit.measures.spectra import spectra
from topokit.measures.twins import quotients


@pytest.fixture(scope="module")
def cases(random_nets):
    """(seed, network, its layers as dense arrays of Python integers)."""
    return [
        (seed, net, [layer.to_dense().astype(int).astype(object) for layer in net.stream()])
        for seed, net in random_nets
    ]


def graph_of(matrices):
    graph = nx.DiGraph()
    for i, matrix in enumerate(matrices):
        graph.add_nodes_from((i, u) for u in range(matrix.shape[0]))
        graph.add_nodes_from((i + 1, v) for v in range(matrix.shape[1]))
        graph.add_edges_from(((i, u), (i + 1, v)) for u, v in np.argwhere(matrix).tolist())
    return graph


def closure(start, edges):
    """What is reached from `start`, itself included."""
    graph = edges.copy()
    graph.add_edges_from(("root", node) for node in start)
    return nx.descendants(graph, "root")


def test_all_kinds_of_networks_are_among_them(cases, makers):
    assert {*makers} - {"pruned"} == {*FAMILIES}
    assert max(len(net) for _, net, _ in cases) > 40
    assert {len(net) for _, net, _ in cases} > {1, 2, 3}
    for axis in (0, 1):
        empty = sum(any((matrix.sum(axis) == 0).any() for matrix in matrices) for _, _, matrices in cases)
        assert 50 < empty < 250
    assert any(not matrix.any() for _, _, matrices in cases for matrix in matrices)


def test_what_is_connected_dead_and_effective(cases):
    for seed, net, matrices in cases:
        graph, last = graph_of(matrices), len(net)
        outputs = [(last, v) for v in range(net.widths[-1])]
        reached = closure([(0, u) for u in range(net.widths[0])], graph)
        useful = closure(outputs, graph.reverse())
        alive_nodes = reached & useful
        dead = [[node for node in range(width) if (i, node) not in alive_nodes] for i, width in enumerate(net.widths)]
        alive = Counter(tail[0] for tail, head in graph.edges if tail in reached and head in useful)
        found, connected = effective(net), reach(net)
        assert [nodes.tolist() for nodes in found.dead] == dead, seed
        assert found.layer_edges == tuple(alive[i] for i in range(last)), seed
        assert found.density.whole == Fraction(found.edges, sum(matrix.size for matrix in matrices)), seed
        missing = [
            (u, v)
            for u in range(net.widths[0])
            for v in sorted({v for _, v in outputs} - {v for i, v in nx.descendants(graph, (0, u)) if i == last})
        ]
        assert connected.disconnected_pairs == len(missing), seed
        assert connected.disconnected_pair == next(iter(missing), None), seed


def test_path_counts_and_their_distribution(cases):
    for seed, net, matrices in cases:
        counts = reduce(np.dot, matrices)
        assert np.array_equal(path_counts(net), counts), seed
        ends, found = path_range(net), path_statistics(net)
        assert (ends.min, ends.max) == (counts.min(), counts.max()), seed
        assert (counts[ends.min_pair], counts[ends.max_pair]) == (ends.min, ends.max), seed
        assert dict(zip(found.counts, found.pairs, strict=True)) == Counter(counts.flat), seed
        assert list(found.counts) == sorted(found.counts), seed
        exact = [Fraction(count) for count in counts.flat]
        assert (found.mean, found.median, found.disconnected) == (mean(exact), median(exact), exact.count(0)), seed
        if any(exact):
            assert found.variation == pytest.approx(float(pvariance(exact) / mean(exact) ** 2) ** 0.5), seed
        else:
            assert found.variation is None, seed


def test_paths_of_each_node(cases):
    for seed, net, matrices in cases:
        found = node_paths(net)
        into, out_of = [np.array([1] * net.widths[0], object)], [np.array([1] * net.widths[-1], object)]
        for matrix, back in zip(matrices, reversed(matrices), strict=True):
            into.append(into[-1] @ matrix)
            out_of.append(back @ out_of[-1])
        assert found.total == into[-1].sum(), seed
        for i, (one, two) in enumerate(zip(into, reversed(out_of), strict=True)):
            assert found.through(i).tolist() == (one * two).tolist(), (seed, i)
            assert found.shares(i).sum() == pytest.approx(1 if found.total else 0), (seed, i)


def test_layer_spectra(cases):
    for seed, net, matrices in cases:
        for i, (found, matrix) in enumerate(zip(spectra(net, count=9), matrices, strict=True)):
            values = np.linalg.svd(matrix.astype(float), compute_uv=False)[:9]
            assert found.singular_values == pytest.approx(values.tolist(), abs=1e-9), (seed, i)
            parts = nx.connected_components(graph_of([matrix]).to_undirected())
            assert found.components == sum(len(part) > 1 for part in parts), (seed, i)


def test_end_to_end_spectra(cases):
    for seed, net, matrices in cases:
        found, product = end_to_end(net, count=9), reduce(np.dot, matrices)
        greatest = product.max()
        if greatest == 0:
            assert (found.log2_largest, found.ratios) == (None, ()), seed
            continue
        values = np.linalg.svd((product / greatest).astype(float), compute_uv=False)[:9]
        assert found.ratios == pytest.approx((values / values[0]).tolist(), abs=1e-9), seed
        scale = greatest.bit_length()
        assert found.log2_largest - scale == pytest.approx(np.log2(values[0] * float(Fraction(greatest, 2**scale)))), (
            seed
        )


def test_twins_and_degrees(cases):
    for seed, net, matrices in cases:
        for matrix, quotient, layer in zip(matrices, quotients(net), degrees(net), strict=True):
            sides = matrix.tolist(), matrix.T.tolist()
            labels_of = quotient.source_class, quotient.target_class
            for side, labels, size in zip(sides, labels_of, quotient.shape, strict=True):
                classes = list(dict.fromkeys(tuple(row) for row in side if any(row)))
                assert labels.tolist() == [classes.index(tuple(row)) if any(row) else -1 for row in side], seed
                assert size == len(classes), seed
            rows = {tuple(row) for row in matrix.tolist()}
            assert quotient.edges == sum(map(sum, set(zip(*rows, strict=True)))), seed
            for side, found in zip(sides, layer.distribution, strict=True):
                assert found == Counter(map(sum, side)), seed
                assert list(found) == sorted(found), seed
