import networkx as nx
import numpy as np
import pytest

from topokit.components import connected_components


@pytest.mark.parametrize("seed", range(30))
def test_components_are_those_of_networkx_in_the_order_of_their_first_nodes(seed):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(1, 200))
    ends, others = rng.integers(nodes, size=(2, int(rng.integers(0, 2 * nodes))))
    graph = nx.Graph(zip(ends.tolist(), others.tolist(), strict=True))
    graph.add_nodes_from(range(nodes))
    expected = np.empty(nodes, int)
    for number, part in enumerate(sorted(nx.connected_components(graph), key=min)):
        expected[list(part)] = number
    assert connected_components(ends, others, nodes).tolist() == expected.tolist()


def test_a_long_path_is_one_component():
    order = np.random.default_rng(0).permutation(10_000)
    assert not connected_components(order[:-1], order[1:], 10_000).any()
    assert connected_components(order[:0], order[:0], 0).size == 0
