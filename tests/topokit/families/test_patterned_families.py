"""n-of-m and block: the pattern holds everywhere, and all patterns come out equally often."""

from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

import topokit as tk
from topokit.errors import InvalidSpecError


def test_every_node_has_n_of_each_m_sources():
    net = tk.NOfM(widths=(12, 8, 5), n=3, m=4, seed=3)
    for layer in net.stream():
        dense = layer.to_dense()
        groups = dense.T.reshape(dense.shape[1], -1, 4)
        assert (groups.sum(axis=2) == 3).all()
    assert net.layer_edges == (72, 30)
    assert net.promises.degrees == ((None, 9), (None, 6))
    assert net.promises.density == Fraction(3, 4)


def test_each_choice_of_n_of_m_is_equally_likely():
    layer = tk.NOfM(widths=(4, 6000), n=2, m=4, seed=0).layer(0)
    found = Counter(map(tuple, layer.to_dense().T.tolist()))
    assert len(found) == comb(4, 2)
    assert chisquare(list(found.values())).pvalue > 1e-4


def test_blocks_are_there_or_not_as_a_whole():
    net = tk.Block(widths=(12, 20, 8), block=4, density=("1/3", "1/2"), seed=2)
    for layer, blocks in zip(net.stream(), (5, 5), strict=True):
        sources, targets = layer.shape
        sums = layer.to_dense().reshape(sources // 4, 4, targets // 4, 4).sum(axis=(1, 3))
        assert set(sums.ravel()) == {0, 16}
        assert (sums == 16).sum() == blocks
    assert net.promises.density == Fraction(160, 12 * 20 + 20 * 8)


def test_each_choice_of_blocks_is_equally_likely():
    nets = (tk.Block(widths=(4, 4), block=2, density=".5", seed=seed) for seed in range(1200))
    found = Counter(net.layer(0).to_dense()[::2, ::2].tobytes() for net in nets)
    assert len(found) == comb(4, 2)
    assert chisquare(list(found.values())).pvalue > 1e-4


@pytest.mark.parametrize("family", [tk.NOfM, tk.Block])
def test_layers_and_seeds_have_streams_of_their_own(family):
    options = {"n": 2, "m": 4} if family is tk.NOfM else {"block": 4, "density": ".5"}
    net, other = (family(widths=(32, 32, 32), seed=seed, **options) for seed in (0, 1))
    layers = [net.layer(0), net.layer(1), other.layer(0)]
    assert len({layer.indices.tobytes() for layer in layers}) == 3
    assert np.array_equal(net.build().layer(1).indices, net.layer(1).indices)


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        (tk.NOfM, {"widths": (8, 4), "n": 5, "m": 4}, "n must be from 1 to m = 4, not 5"),
        (tk.NOfM, {"widths": (8, 4), "n": 0, "m": 4}, "n must be at least 1"),
        (tk.NOfM, {"widths": (8, 6, 4), "n": 2, "m": 4}, "node layer 1 has 6 nodes: it must be a multiple of m = 4"),
        (tk.Block, {"widths": (8, 6), "block": 4, "density": ".5"}, "node layer 1 has 6 nodes"),
        (tk.Block, {"widths": (8, 8), "block": 0, "density": ".5"}, "block must be at least 1"),
        (tk.Block, {"widths": (8, 8), "block": 4, "density": "1.5"}, "density must be from 0 to 1"),
    ],
)
def test_bad_numbers_are_refused(family, options, said):
    with pytest.raises(InvalidSpecError, match=said):
        family(seed=0, **options)
