"""Explicit expanders: against networkx and a slow matrix group, and the bounds that are promised of them."""

from itertools import product

import networkx as nx
import numpy as np
import pytest

import topokit as tk
from topokit.families.margulis import gap_connects


@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 8, 12])
def test_margulis_layers_are_the_graph_of_networkx(side):
    graph = nx.margulis_gabber_galil_graph(side)
    counted = nx.to_numpy_array(graph, nodelist=[*product(range(side), repeat=2)])
    net = tk.Margulis(side=side, layers=2)
    for i, layer in enumerate(net.stream()):
        assert np.array_equal(layer.to_dense(), counted > 0)
        assert net.layer_edges[i] == layer.edges == np.count_nonzero(counted)
    counted += np.diag(counted.diagonal())  # networkx counts a loop once, where it leaves and enters
    assert set(counted.sum(axis=0)) == {8}
    assert np.linalg.svd(counted, compute_uv=False)[1] < 50**0.5


def lps_by_hand(p, q, node, odd):
    """A node's matrix modulo q and the targets' matrices, in Python's integers: each up to a factor, as a set."""
    root = min(i for i in range(q) if i * i % q == q - 1)
    x, e, y = node // q // (q // 2), node // q % (q // 2), node % q
    squares = {k * k % q for k in range(1, q)}
    determinant = [k for k in range(1, q) if (k in squares) != odd][e]
    matrix = (0, 1, -determinant, y) if x == q else (1, x, y, determinant + x * y)
    parts = range(-p, p + 1)
    for w, i, j, k in product(range(1, p + 1, 2), *[[part for part in parts if part % 2 == 0]] * 3):
        if w * w + i * i + j * j + k * k == p:
            a, b, c, d = w + root * i, j + root * k, -j + root * k, w - root * i
            m = matrix
            yield (m[0] * a + m[1] * c, m[0] * b + m[1] * d, m[2] * a + m[3] * c, m[2] * b + m[3] * d)


def same_up_to_a_factor(one, two, q):
    return all((one[i] * two[j] - one[j] * two[i]) % q == 0 for i, j in product(range(4), repeat=2))


@pytest.mark.parametrize(("p", "q", "turns"), [(5, 13, True), (17, 13, False), (5, 17, True), (13, 17, False)])
def test_lps_layers_are_products_in_the_matrix_group(p, q, turns):
    net = tk.LPS(p=p, q=q, layers=2)
    assert net.bipartite == turns == (p % q not in {k * k % q for k in range(q)})
    rng = np.random.default_rng(0)
    for i, layer in enumerate(net.stream()):
        into = turns and i == 0
        squares = {k * k % q for k in range(1, q)}
        halves = [[k for k in range(1, q) if (k in squares) != odd] for odd in (False, True)]
        for node in rng.integers(net.nodes, size=5).tolist():
            found = layer.indices[int(layer.indptr[node]) : int(layer.indptr[node + 1])].tolist()
            wanted = [*lps_by_hand(p, q, node, odd=turns and i == 1)]
            assert len(found) == len(wanted) == p + 1
            for target in found:
                x, e, y = target // q // (q // 2), target // q % (q // 2), target % q
                determinant = halves[into][e]
                matrix = (0, 1, -determinant, y) if x == q else (1, x, y, determinant + x * y)
                assert sum(same_up_to_a_factor(matrix, other, q) for other in wanted) == 1


@pytest.mark.parametrize(("p", "q"), [(5, 13), (17, 13)])
def test_lps_layers_are_ramanujan(p, q):
    net = tk.LPS(p=p, q=q, layers=2)
    there, back = (layer.to_dense().astype(float) for layer in net.stream())
    assert np.array_equal(back, there.T)
    assert set(there.sum(axis=0)) == set(there.sum(axis=1)) == {p + 1}
    others = there @ there.T - (p + 1) ** 2 / net.nodes  # without the largest singular value
    room = (4 * p + 1e-6) * np.eye(net.nodes) - others
    np.linalg.cholesky(room)  # an error where any eigenvalue is not positive: a singular value is above 2 sqrt(p)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(room - p * np.eye(net.nodes))


def test_equal_layers_are_known():
    assert [tk.LPS(p=5, q=13, layers=4).same_layer(i) for i in range(4)] == [0, 1, 0, 1]
    assert [tk.LPS(p=17, q=13, layers=3).same_layer(i) for i in range(3)] == [0, 0, 0]


def test_what_the_gap_proves():
    # 4 others, 3 against 2: (3/2)^L passes 4 between 3 and 4 layers
    assert [gap_connects(5, 3, 4, layers) for layers in (3, 4)] == [False, True]
    assert not gap_connects(2, 2, 4, 99)  # no gap


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (lambda layers: tk.LPS(p=5, q=13, layers=layers), 24),
        (lambda layers: tk.Margulis(side=4, layers=layers), 22),
    ],
    ids=["lps", "margulis"],
)
def test_connectivity_is_promised_from_the_first_layer_that_proves_it(make, first):
    assert [make(layers).promises.connected for layers in (first - 1, first)] == [False, True]
    assert tk.verify(make(first).build()).verdict.value == "holds"


def test_the_gap_is_judged_alike_however_many_layers_there_are():
    cases = [(4, 8, 50), (2**32 - 1, 8, 50), (1092, 6, 20), (2**32 - 1, 6, 20), (12180, 18, 68)]
    for nodes, degree, squared in cases:
        for layers in range(1, 400):
            proved = degree ** (2 * layers) > (nodes - 1) ** 2 * squared**layers
            assert gap_connects(nodes, degree, squared, layers) == proved
    assert gap_connects(2**32 - 1, 8, 50, 10**30)
