"""Butterflies against their definition, and against the RadiX-Net that they are often taken for."""

import networkx as nx
import numpy as np
import pytest

import topokit as tk


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_layers_flip_one_bit(k):
    n = 2**k
    net = tk.Butterfly(nodes=n)
    assert len(net) == k
    total = np.eye(n, dtype=int)
    for i, layer in enumerate(net.stream()):
        wanted = [[u == v or u ^ v == 2**i for v in range(n)] for u in range(n)]
        assert np.array_equal(layer.to_dense(), wanted)
        total = total @ layer.to_dense()
    assert (total == 1).all()


@pytest.mark.parametrize(("k", "same"), [(1, True), (2, False), (3, False)])
def test_a_butterfly_is_no_radix_net_of_radix_2(k, same):
    one, two = (tk.to_networkx(net.build()) for net in (tk.Butterfly(nodes=2**k), tk.RadixNet(radices=[(2,) * k])))
    assert nx.is_isomorphic(one, two) == same
