"""Intervals, paired tests and corrections, against numbers by hand and against other code."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from topokit_train.studies.statistics import (
    difference,
    holm,
    largest,
    mean_of,
    mostly,
    paired,
    smallest,
    spreads_differ,
)

T_4, T_2 = 2.7764451, 4.3026527  # the 97.5 % quantiles of Student's t, from a printed table


def test_an_interval_by_hand():
    found = mean_of([0.91, 0.93, 0.92, 0.95, 0.94])
    assert (found.n, found.least, found.most) == (5, 0.91, 0.95)
    assert found.mean == pytest.approx(0.93)
    deviation = math.sqrt((0.02**2 + 0 + 0.01**2 + 0.02**2 + 0.01**2) / 4)
    assert found.deviation == pytest.approx(deviation)
    assert found.half == pytest.approx(T_4 * deviation / math.sqrt(5), rel=1e-6)
    assert mean_of([0.1, 0.2, 0.3]).half == pytest.approx(T_2 * 0.1 / math.sqrt(3), rel=1e-6)


def test_one_value_has_no_interval_and_no_test():
    assert (mean_of([0.5]).half, mean_of([0.5]).deviation) == (None, None)
    found = difference([0.01])
    assert (found.n, found.mean, found.half, found.within, found.beyond) == (1, 0.01, None, None, None)


@pytest.mark.parametrize("seed", range(5))
def test_every_p_value_is_scipys(seed):
    rng = np.random.default_rng(seed)
    sample, margin = rng.normal(0.004, 0.003, 6), 0.005

    def p(value, alternative):
        return stats.ttest_1samp(sample, value, alternative=alternative).pvalue

    found = difference([*sample], margin)
    assert found.zero == pytest.approx(p(0, "two-sided"))
    assert found.positive == pytest.approx(p(0, "greater"))
    assert found.negative == pytest.approx(p(0, "less"))
    assert found.above == pytest.approx(p(margin, "greater"))
    assert found.below == pytest.approx(p(-margin, "less"))
    assert found.not_below == pytest.approx(p(-margin, "greater"))
    assert found.within == pytest.approx(max(p(-margin, "greater"), p(margin, "less")))
    assert found.beyond == pytest.approx(min(1, 2 * min(p(margin, "greater"), p(-margin, "less"))))


def test_equal_differences_have_no_spread_to_test_by():
    found = difference([0.1 + 0.2, 0.3, 0.3])  # equal but for rounding
    assert (found.n, found.half, found.zero, found.within, found.not_below) == (3, 0, None, None, None)


def test_pairs_are_made_by_seed():
    found = paired({1: 0.9, 2: 0.8, 7: 0.1}, {2: 0.7, 1: 0.85, 9: 0.3})
    assert found == difference([0.9 - 0.85, 0.8 - 0.7])
    assert paired({1: 0.9}, {2: 0.9}) is None


def test_pairing_takes_out_what_seeds_share():
    shared = [0.90, 0.95, 0.85, 0.80, 0.99]
    one = {seed: value + 0.001 * (seed % 2) for seed, value in enumerate(shared)}
    assert paired(one, dict(enumerate(shared))).within < 0.001


def test_holm_by_hand():
    # sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1, each at least as large as the one before
    assert holm([0.04, None, 0.01, 0.03, 0.02]) == [pytest.approx(0.06), None, *map(pytest.approx, (0.04, 0.06, 0.06))]
    assert holm([0.9, 0.8]) == [1, 1]
    assert (holm([]), holm([None]), holm([0.2])) == ([], [None], [0.2])


@pytest.mark.parametrize("seed", [0, 3])
def test_holm_is_statsmodels(seed):
    rng = np.random.default_rng(seed)
    p_values = [*rng.uniform(0, 1, 9) ** 4, *[0.25] * seed, 0.0, 1.0]
    rng.shuffle(p_values)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_at_least_one_and_all():
    assert smallest([0.5, 0.01, None]) == pytest.approx(0.02)
    assert largest([0.5, 0.01]) == 0.5
    assert smallest([None]) is smallest([]) is largest([0.1, None]) is largest([]) is None


def test_the_binomial_test_counts_coins():
    assert mostly(5, 5) == pytest.approx(1 / 32)
    assert mostly(1, 4, "less") == pytest.approx(5 / 16)
    assert mostly(0, 0) is None


def test_spreads():
    rng = np.random.default_rng(0)
    wide, narrow = [*rng.normal(0, 1, 30)], [*rng.normal(0, 0.1, 30)]
    assert spreads_differ(wide, narrow) < 1e-6
    # Brown and Forsythe's test is an analysis of variance of the distances from the medians
    distances = [np.abs(np.subtract(values, np.median(values))) for values in (wide, narrow)]
    assert spreads_differ(wide, narrow) == pytest.approx(stats.f_oneway(*distances).pvalue)
    assert spreads_differ([0.5], narrow) is spreads_differ([1, 1, 1], [2, 2, 2]) is None
    assert spreads_differ([0.97, 0.9712], [0.96, 0.9613, 0.9605]) is None
    assert spreads_differ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5]) > 0.05


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_spreads_are_seldom_told_apart(seeds):
    rng = np.random.default_rng(0)
    false = [spreads_differ([*rng.normal(0, 1, seeds)], [*rng.normal(0, 1, seeds)]) < 0.05 for _ in range(500)]
    assert np.mean(false) < 0.08
