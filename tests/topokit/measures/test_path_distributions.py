"""Path statistics, paths of each node and samples, beyond what the random networks show."""

from dataclasses import astuple
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import quantile_test

from topokit import Bernoulli, GraphChallenge, RadixNet, Topology
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.measures.node_paths import node_paths
from topokit.measures.path_statistics import PathStatistics, path_statistics
from topokit.measures.sampled_paths import Interval, sampled_paths

RANDOM = Bernoulli(widths=(40, 30, 50), density=".06", seed=4)


def counts_of(net):
    return reduce(np.dot, [layer.to_dense().astype(int).astype(object) for layer in net.stream()])


def test_the_official_network_has_one_number_of_paths():
    found = path_statistics(GraphChallenge(neurons=1024, layers=120))
    assert found == PathStatistics((2**590,), (2**20,))
    assert (found.mean, found.median, found.variation, found.disconnected) == (2**590, 2**590, 0, 0)


def test_numbers_of_several_limbs_are_sorted():
    random = np.random.default_rng(5)
    net = Topology.from_dense([*(random.random((6, 6)) < 0.7 for _ in range(60))])
    counts = counts_of(net)
    assert counts.max() > 2**96
    found = path_statistics(net)
    assert found.counts == tuple(sorted(set(counts.flat)))
    assert found.mean * 36 == counts.sum()


def test_classes_weigh_as_much_as_they_have_members():
    """Hubs: a million inputs and outputs are one class each, whose pairs are more than any table holds."""
    hub = csr_array(np.ones((10**6, 1)))
    found = path_statistics(Topology.from_scipy([hub, hub.T]))
    assert (found.counts, found.pairs, found.median) == ((1,), (10**12,), 1)


def test_a_budget_and_memory_are_asked_for(free_memory):
    net = RANDOM.build()
    with pytest.raises(TooLargeError, match="use a probe"):
        path_statistics(net, budget=10)
    free_memory(60_000)
    with pytest.raises(TooLargeError, match="sorting"):
        path_statistics(net)
    free_memory(400)
    with pytest.raises(TooLargeError, match="every node"):
        node_paths(net)


def test_deep_networks_have_exact_totals_of_any_size():
    net = GraphChallenge(neurons=1024, layers=120)
    found = node_paths(net)
    assert found.total == 2**610
    assert set(found.through(60)) == {2**600}
    assert [totals.counts.size for totals in found.into] == [1] * 121


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_is_counted_exactly(seed):
    counts = counts_of(RANDOM)
    found = sampled_paths(RANDOM, pairs=500, seed=seed)
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = sorted(counts[random.integers(40, size=500), random.integers(50, size=500)])
    assert (found.min, found.max, found.pairs) == (drawn[0], drawn[-1], 500)
    assert found.disconnected_share.estimate == drawn.count(0) / 500
    assert found.median.estimate == drawn[249]
    assert {*astuple(found.median)} <= {*drawn}
    assert sampled_paths(RANDOM, pairs=500, seed=seed) == found


def test_a_sample_is_of_1000_pairs_at_95_percent_by_default():
    assert sampled_paths(RANDOM) == sampled_paths(RANDOM, pairs=1000, seed=0, confidence=0.95)


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    """Of 200 samples at 80 % no fewer than 140 may miss neither; both intervals are conservative."""
    counts = counts_of(RANDOM)
    share, median = (counts == 0).mean(), sorted(counts.flat)[counts.size // 2]
    held = np.zeros(2)
    for seed in range(200):
        found = sampled_paths(RANDOM, pairs=100, seed=seed, confidence=0.8)
        held += [
            found.disconnected_share.low <= share <= found.disconnected_share.high,
            found.median.low <= median <= found.median.high,
        ]
    assert (held >= 150).all()
    assert held[0] < 200, "the interval of the share is no interval"


def test_intervals_where_nothing_is_disconnected():
    found = sampled_paths(RadixNet(radices=[(2, 2, 2)]), pairs=10)
    assert found.disconnected_share.low == found.disconnected_share.estimate == 0
    assert found.disconnected_share.high == pytest.approx(1 - 0.025 ** (1 / 10))


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.999, 1 - 2**-9, 1 - 2**-20, 1 - 2**-53])
def test_the_least_sample_of_any_confidence_has_intervals(confidence):
    net = RadixNet(radices=[(2, 2, 2)])
    fewest = next(pairs for pairs in range(10, 60) if 2 * Fraction(1, 2**pairs) < 1 - Fraction(confidence))
    found = sampled_paths(net, pairs=fewest, confidence=confidence)
    assert found.median == Interval(1, 1, 1)
    assert found.disconnected_share.low == 0 < found.disconnected_share.high <= 1
    with pytest.raises(InvalidSpecError, match=f"pairs must be at least {fewest} for a confidence of"):
        sampled_paths(net, pairs=fewest - 1, confidence=confidence)


@pytest.mark.parametrize("pairs", [10, 11, 40, 101, 500])
@pytest.mark.parametrize("confidence", [0.6, 0.8, 0.95, 0.99])
def test_the_interval_of_the_median_is_that_of_scipy(pairs, confidence):
    net = Topology.from_dense(np.random.default_rng(0).random((8, 30, 30)) < 0.5)
    counts, random = counts_of(net), np.random.Generator(np.random.PCG64(3))
    drawn = sorted(counts[random.integers(30, size=pairs), random.integers(30, size=pairs)])
    places = quantile_test(np.arange(pairs)).confidence_interval(confidence)
    found = sampled_paths(net, pairs=pairs, seed=3, confidence=confidence)
    assert (found.median.low, found.median.high) == (
        drawn[int(places.low)],
        drawn[int(places.high)],
    )  # some releases give floats


@pytest.mark.parametrize(("options", "said"), [({"pairs": 9}, "at least 10"), ({"confidence": 1}, "below 1, not 1")])
def test_samples_that_say_nothing_are_refused(options, said):
    with pytest.raises(InvalidSpecError, match=said):
        sampled_paths(RANDOM, **options)
