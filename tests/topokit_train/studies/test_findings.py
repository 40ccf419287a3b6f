"""Tests of differences, spreads and signs, against numbers by hand and other code of scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from topokit_train.studies.claims import _spread
from topokit_train.studies.findings import difference, largest, sign_test, smallest, t_tests, verdict

NAN = float("nan")


@pytest.mark.parametrize("seed", range(3))
def test_every_p_value_is_scipys(seed):
    sample = np.random.default_rng(seed).normal(0.004, 0.003, 6)

    def p(value, alternative):
        return stats.ttest_1samp(sample, value, alternative=alternative).pvalue

    assert t_tests(sample) == pytest.approx(
        {
            "different": p(0, "two-sided"),
            "positive": p(0, "greater"),
            "negative": p(0, "less"),
            "below": p(-0.005, "less"),
            "not below": p(-0.005, "greater"),
            "within": max(p(-0.005, "greater"), p(0.005, "less")),
            "beyond": min(1, 2 * min(p(0.005, "greater"), p(-0.005, "less"))),
        }
    )


@pytest.mark.parametrize(("sample", "half"), [([0.01], NAN), ([0.1 + 0.2, 0.3, 0.3], 0)])  # equal but for rounding
def test_without_a_spread_there_is_no_test(sample, half):
    found = difference("", "", sample, "within", "beyond")
    assert (found.seeds, found.effect) == (len(sample), pytest.approx(sample[0]))
    values = (found.half_width, found.p_no_difference, found.p_holds, found.p_fails)
    assert values == pytest.approx((half, NAN, NAN, NAN), nan_ok=True)


def test_at_least_one_and_all():
    assert smallest([0.5, 0.01, NAN]) == pytest.approx(0.02)
    assert largest([0.5, 0.01]) == 0.5
    assert np.isnan([smallest([NAN]), smallest([]), largest([0.1, NAN]), largest([])]).all()


@pytest.mark.parametrize(
    ("p", "expected"),
    [((0.01, 1), "holds"), ((1, 0.01), "fails"), ((0.01, 0.01), "undecided"), ((NAN, 0.05), "undecided")],
)
def test_verdicts(p, expected):
    assert verdict(*p) == expected


def test_a_seed_has_one_vote():
    signs = pd.Series([1, 1, -1, -1, 1, 1, 0], pd.Index([0, 0, 0, 1, 2, 3, 4], name="seed"))
    assert sign_test(signs) == pytest.approx({"p_holds": 5 / 16, "p_fails": 15 / 16})  # 3 of 4 coins
    assert np.isnan(list(sign_test(signs[-1:]).values())).all()


def test_spreads():
    rng = np.random.default_rng(0)
    wide, narrow = pd.Series(rng.normal(0, 1, 30)), pd.Series(rng.normal(0, 0.1, 30))
    # Brown and Forsythe's test is an analysis of variance of the distances from the medians
    p = stats.f_oneway(*[(values - values.median()).abs() for values in (wide, narrow)]).pvalue
    more, less = _spread(wide, narrow, ""), _spread(narrow, wide, "")
    assert (more.p_holds, more.p_fails, less.p_holds, less.p_fails) == pytest.approx((p, 1, 1, p))
    assert more.effect == -less.effect == pytest.approx(np.std(wide, ddof=1) - np.std(narrow, ddof=1))
    for few in (wide[:2], pd.Series([0.5] * 3)):
        assert np.isnan(_spread(few, few, "").p_holds)


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_spreads_are_seldom_told_apart(seeds):
    draws = np.random.default_rng(0).normal(0, 1, (2, 300, seeds))
    p = [_spread(pd.Series(one), pd.Series(other), "") for one, other in zip(*draws, strict=True)]
    assert np.mean([min(one.p_holds, one.p_fails) < 0.05 for one in p]) < 0.08
