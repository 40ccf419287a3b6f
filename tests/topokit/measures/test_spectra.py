"""Layer spectra: known graphs, large layers that are iterated, Ramanujan margins."""

from math import sqrt

import networkx as nx
import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array, random_array
from scipy.sparse.linalg import ArpackNoConvergence

from topokit import LPS, FixedFanIn, GraphChallenge, RadixNet, Topology
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.measures.spectra import spectra


def spectrum(matrix, count=6):
    (found,) = spectra(Topology.from_scipy([csr_array(matrix)]), count=count)
    return found


def values_of(matrix, count):
    return np.linalg.svd(csr_array(matrix).toarray().astype(float), compute_uv=False)[:count].tolist()


HEAWOOD = nx.bipartite.biadjacency_matrix(nx.heawood_graph(), range(0, 14, 2), range(1, 14, 2))


@pytest.mark.parametrize(
    ("matrix", "values", "components", "margin"),
    [
        (HEAWOOD, [3, *[sqrt(2)] * 6], 1, sqrt(2)),  # points and lines of the Fano plane: a Ramanujan graph
        (np.ones((3, 12)), [6, 0, 0], 1, sqrt(11) + sqrt(2)),
        (np.kron(np.eye(4), np.ones((2, 8))), [4, 4, 4, 4, 0, 0, 0], 4, sqrt(7) + 1 - 4),  # once for each part
        (np.array([[1, 1, 0], [0, 1, 1]]), [sqrt(3), 1], 1, None),  # degrees vary
    ],
    ids=["Heawood", "complete", "blocks", "irregular"],
)
def test_known_layers(matrix, values, components, margin):
    found = spectrum(matrix, count=7)
    assert found.singular_values == pytest.approx(values)
    assert (found.components, found.ratio) == (components, pytest.approx(values[1] / values[0]))
    assert found.ramanujan_margin == (None if margin is None else pytest.approx(margin))


def test_the_ramanujan_graphs_of_lubotzky_phillips_and_sarnak_have_a_margin():
    found = next(spectra(LPS(p=5, q=13)))
    assert (found.singular_values[0], found.components) == (pytest.approx(6), 1)
    assert 0 < found.ramanujan_margin < 1


def test_a_margin_of_zero_is_zero():
    assert str(spectrum(np.kron(np.eye(3), np.ones((2, 2)))).ramanujan_margin) == "0.0"


def test_a_layer_without_edges_has_no_ratio():
    empty = spectrum(np.zeros((3, 2)))
    assert (empty.singular_values, empty.components, empty.ratio, empty.ramanujan_margin) == ((0, 0), 0, None, None)


def test_one_node_on_a_side_leaves_no_second_value():
    found = spectrum(np.ones((1, 4)))
    assert (found.singular_values, found.ratio) == ((2,), 0)


BLOCKS = [csr_array((np.random.default_rng(3).random((7, 8)) < 0.5) * 1)] * 60


@pytest.mark.parametrize(
    "matrix",
    [
        random_array((500, 700), density=0.02, rng=np.random.default_rng(1)) != 0,
        random_array((900, 400), density=0.003, rng=np.random.default_rng(2)) != 0,
        RadixNet(radices=[(5, 100)]).layer(0).to_scipy(),  # nearly all values occur twice
        block_diag(BLOCKS),  # each value occurs 60 times
        np.eye(300),
    ],
    ids=["tall", "sparse", "circulant", "equal blocks", "identity"],
)
def test_large_layers_are_iterated_and_repeated_values_come_as_often_as_they_occur(matrix):
    assert spectrum(matrix, count=8).singular_values == pytest.approx(values_of(matrix, 8))


def test_twins_are_taken_together():
    """What is left of an official layer are 64 classes on both sides, so that it is decomposed and not iterated."""
    matrix = GraphChallenge(neurons=1024, layers=1).layer(0).to_dense()
    assert spectrum(matrix, count=70).singular_values == pytest.approx(values_of(matrix, 70), abs=1e-9)


def test_the_same_values_at_every_call():
    net = FixedFanIn(widths=(400, 400), fan_in=5, seed=0)
    assert list(spectra(net)) == list(spectra(net))


def test_equal_layers_are_read_once(monkeypatch):
    calls = []
    monkeypatch.setattr("topokit.measures.spectra.largest_values", lambda *args: calls.append(args) or np.ones(2))
    net = RadixNet(radices=[(2, 2)] * 3)
    assert len(list(spectra(net))) == 6
    assert len(calls) == 2


def test_errors_say_what_to_do(monkeypatch):
    with pytest.raises(InvalidSpecError, match="at least 2, not 1"):
        spectra(RadixNet(radices=[(2, 2)]), count=1)

    def never(*_, **__):
        raise ArpackNoConvergence("no", np.zeros(0), np.zeros(0))

    monkeypatch.setattr("scipy.sparse.linalg.svds", never)
    with pytest.raises(TooLargeError, match="no convergence to 6"):
        spectrum(np.eye(300))
