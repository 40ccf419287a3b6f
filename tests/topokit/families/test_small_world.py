"""Small worlds: the band against a sort of all distances, the law of the rewiring, what is promised."""

from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import topokit as tk


def nearest(sources, targets, fan_in, target):
    """The nearest sources by sorting all of them; of two at the same distance, the one before the target first."""

    def rank(source):
        ahead = (Fraction(source, sources) - Fraction(target, targets)) % 1
        return min(ahead, 1 - ahead), ahead < Fraction(1, 2)

    return set(sorted(range(sources), key=rank)[:fan_in])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.data())
def test_without_rewiring_a_target_has_its_nearest_sources(sources, targets, data):
    fan_in = data.draw(st.integers(0, sources))
    dense = tk.SmallWorld(widths=(sources, targets), fan_in=fan_in, rewire=0, seed=0).layer(0).to_dense()
    for target in range(targets):
        assert set(np.flatnonzero(dense[:, target])) == nearest(sources, targets, fan_in, target)


def test_the_ring_by_hand():
    dense = tk.SmallWorld(widths=(6, 3), fan_in=3, rewire=0, seed=0).layer(0).to_dense()
    assert [np.flatnonzero(column).tolist() for column in dense.T] == [[0, 1, 5], [1, 2, 3], [3, 4, 5]]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.fractions(0, 1), st.integers(0, 2**64), st.data())
def test_a_target_keeps_its_fan_in(sources, targets, rewire, seed, data):
    fan_in = data.draw(st.integers(0, sources))
    net = tk.SmallWorld(widths=(sources, targets), fan_in=fan_in, rewire=rewire, seed=seed)
    assert set(net.layer(0).to_dense().sum(axis=0)) == {fan_in}
    assert net.promises.degrees == ((None, fan_in),)
    assert net.promises.density == Fraction(fan_in, sources)


@pytest.mark.parametrize(("sources", "fan_in"), [(5, 2), (4, 3)])  # few sources of many, and many of few
@pytest.mark.parametrize("rewire", ["1/3", "1"])
def test_every_set_of_sources_has_its_exact_probability(sources, fan_in, rewire):
    p, band = Fraction(rewire), nearest(sources, 1, fan_in, 0)
    probability = Counter()
    for size in range(fan_in + 1):
        for kept in combinations(sorted(band), size):
            others = set(range(sources)) - set(kept)
            filled = list(combinations(sorted(others), fan_in - size))
            for drawn in filled:
                probability[frozenset({*kept, *drawn})] += (1 - p) ** size * p ** (fan_in - size) / len(filled)
    assert sum(probability.values()) == 1
    nets = [tk.SmallWorld(widths=(sources, 1), fan_in=fan_in, rewire=rewire, seed=seed) for seed in range(2000)]
    seen = Counter(frozenset(np.flatnonzero(net.layer(0).to_dense())) for net in nets)
    assert set(seen) <= set(probability)
    expected = [2000 * float(share) for share in probability.values()]
    assert chisquare([seen[chosen] for chosen in probability], expected).pvalue > 1e-3


def test_targets_are_rewired_independently():
    dense = tk.SmallWorld(widths=(400, 400), fan_in=3, rewire=".5", seed=0).layer(0).to_dense()
    band = tk.SmallWorld(widths=(400, 400), fan_in=3, rewire=0, seed=0).layer(0).to_dense()
    kept = (dense & band).sum(axis=0)  # of three, nearly binomial with 1/2
    assert np.abs(np.bincount(kept, minlength=4) / 400 - np.array([1, 3, 3, 1]) / 8).max() < 0.08


def test_each_layer_has_its_own_numbers():
    net = tk.SmallWorld(widths=(20, 20, 20), fan_in=(2, 4), rewire=(0, 1), seed=0)
    band = tk.SmallWorld(widths=(20, 20, 20), fan_in=(2, 4), rewire=0, seed=0)
    assert net.layer_edges == (40, 80)
    assert np.array_equal(net.layer(0).to_dense(), band.layer(0).to_dense())
    assert not np.array_equal(net.layer(1).to_dense(), band.layer(1).to_dense())
