"""Means over seeds and their confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev


def mean_and_ci95(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of one value for each seed, and half the width of its 95 % confidence interval.

    The interval is Student's t; None for a single seed.
    """
    if len(values) < 2:
        return fmean(values), None
    return fmean(values), half_of_ci95(stdev(values), len(values))


def half_of_ci95(deviation: float, n: int) -> float:
    """Return half the width of Student's 95 % confidence interval of a mean.

    Args:
        deviation: the sample's standard deviation.
        n: number of values, at least 2.
    """
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1) * deviation / sqrt(n))
