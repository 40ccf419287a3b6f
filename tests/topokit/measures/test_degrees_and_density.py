"""Degrees and densities, against dense sums."""

from fractions import Fraction

import numpy as np

from topokit.families.radix_net import RadixNet
from topokit.measures.degrees import degrees
from topokit.measures.density import density
from topokit.topologies import Topology


def test_constant_degrees_are_those_a_radix_net_promises():
    net = RadixNet(radices=[(3, 4), (6,)], kron=(2, 1, 3, 1))
    assert tuple(layer.constant for layer in degrees(net)) == net.promises.degrees
    uneven = Topology.from_dense([np.array([[1, 1, 0], [0, 1, 1]])])
    assert [layer.constant for layer in degrees(uneven)] == [(2, None)]
    assert [layer.constant for layer in degrees(Topology.from_dense([np.array([[1, 0], [1, 0]])]))] == [(1, None)]
    assert [layer.constant for layer in degrees(Topology.from_dense([np.array([[1, 1], [0, 0]])]))] == [(None, 1)]


def test_densities_are_exact_fractions():
    found = density(Topology.from_dense([np.eye(3), np.ones((3, 1))]))
    assert found.layers == (Fraction(1, 3), Fraction(1))
    assert found.whole == Fraction(6, 12)
    net = RadixNet(radices=[(10, 10)], kron=(8, 3, 1))
    assert density(net).whole == net.promises.density == Fraction(1, 10)
