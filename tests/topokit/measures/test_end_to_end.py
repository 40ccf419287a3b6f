"""End-to-end spectra: no depth overflows, no pattern loses its paths."""

from functools import reduce

import numpy as np
import pytest

from topokit import FixedFanIn, GraphChallenge, RadixNet, Topology
from topokit.measures.end_to_end import end_to_end


def dense(net, count):
    values = np.linalg.svd(reduce(np.dot, [layer.to_dense().astype(float) for layer in net.stream()]), compute_uv=False)
    return np.log2(values[0]), (values[:count] / values[0]).tolist()


def test_a_path_symmetric_network_has_rank_one():
    found = end_to_end(RadixNet(radices=[(3, 4), (2, 6)], kron=(2, 1, 3, 2, 1)), count=4)
    assert found.log2_largest == pytest.approx(np.log2(72 * np.sqrt(24 * 12)))
    assert found.ratios == (1, 0, 0, 0)


def test_the_official_network_has_2_to_the_590_paths_in_each_of_2_to_the_20_pairs():
    found = end_to_end(GraphChallenge(neurons=1024, layers=120))
    assert found.log2_largest == pytest.approx(590 + 10, abs=1e-9)
    assert found.ratios == (1, 0, 0, 0, 0, 0)


def test_few_paths_beside_very_many_are_not_lost():
    """Input 2 goes through a chain of single edges beside a block in which paths double; then all are swapped."""
    layer = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    chain = [layer] * 1200
    found = end_to_end(Topology.from_dense([np.diag([0, 0, 1]), *chain]))
    assert (found.log2_largest, found.ratios) == (pytest.approx(0), (1, 0, 0))
    found = end_to_end(Topology.from_dense([*chain, np.diag([0, 0, 1])]))
    assert (found.log2_largest, found.ratios) == (pytest.approx(0), (1, 0, 0))
    found = end_to_end(Topology.from_dense([*chain, *[layer[::-1, ::-1]] * 1200]))
    assert found.log2_largest == pytest.approx(2400, abs=1)


def test_no_path_at_all():
    found = end_to_end(Topology.from_dense([np.ones((3, 2)), np.zeros((2, 2)), np.ones((2, 4))]))
    assert (found.log2_largest, found.ratios) == (None, ())


@pytest.mark.parametrize("widths", [(300, 200, 250), (200, 150, 300), (180, 160, 140, 170)])
def test_large_networks_are_iterated(widths):
    net = FixedFanIn(widths=widths, fan_in=3, seed=1)
    log2_largest, ratios = dense(net, 5)
    found = end_to_end(net, count=5)
    assert found.log2_largest == pytest.approx(log2_largest)
    assert found.ratios == pytest.approx(ratios)
    assert end_to_end(net, count=5) == found


def test_all_values_of_a_network_with_many_outputs():
    net = FixedFanIn(widths=(150, 140, 160), fan_in=4, seed=2)
    assert end_to_end(net, count=150).ratios == pytest.approx(dense(net, 150)[1], abs=1e-9)
