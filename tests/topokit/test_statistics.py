"""Intervals and Holm's correction, against numbers by hand and printed tables."""

import math

import numpy as np
import pytest

from topokit.statistics import half_width, holm, mean_and_ci95

T_4 = 2.7764451  # the 97.5 % quantile of Student's t with 4 degrees of freedom, from a printed table


def test_an_interval_by_hand():
    mean, half = mean_and_ci95([0.91, 0.93, 0.92, 0.95, 0.94])
    deviation = math.sqrt((0.02**2 + 0 + 0.01**2 + 0.02**2 + 0.01**2) / 4)
    assert (mean, half) == (pytest.approx(0.93), pytest.approx(T_4 * deviation / math.sqrt(5), rel=1e-6))
    assert mean_and_ci95([0.5]) == (0.5, None)
    found = half_width(np.array([deviation, math.nan]), np.array([5, 1]))
    assert found == pytest.approx([half, math.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [  # sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1, each at least as large as the one before
        ([0.04, math.nan, 0.01, 0.03, 0.02], [0.06, math.nan, 0.04, 0.06, 0.06]),
        ([0.9, 0.8], [1, 1]),
        ([0.3, 0.0, 0.3], [0.6, 0, 0.6]),
        ([math.nan], [math.nan]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, corrected):
    assert holm(p_values) == pytest.approx(np.array(corrected), nan_ok=True)
