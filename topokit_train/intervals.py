"""Means over seeds, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def mean_and_ci95(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of one value for each seed, and half the width of its 95 % confidence interval.

    The interval is Student's t; None for a single seed.
    """
    from scipy.stats import sem, t

    if len(values) < 2:
        return fmean(values), None
    return fmean(values), float(t.ppf(0.975, len(values) - 1) * sem(values))
