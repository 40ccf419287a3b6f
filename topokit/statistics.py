"""Statistics that comparisons, sweeps and studies share: the interval of a mean and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.05
"""Level of significance: an effect is shown if its corrected p-value is below."""


def mean_and_ci95(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of some values and half the width of its 95 % interval, None for a single value."""
    return fmean(values), float(half_width(stdev(values), len(values))) if len(values) > 1 else None


def half_width(deviation: Any, n: Any) -> Any:
    """Return half the width of Student's 95 % confidence interval of a mean.

    Args:
        deviation: standard deviation of the sample; a number, an array or a pandas Series.
        n: number of values, of the same shape. The result is NaN for n = 1.
    """
    from scipy.stats import t

    return t.ppf(0.975, n - 1) * deviation / np.sqrt(n)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values after Holm's correction for their number; NaN stays NaN and does not count.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.

    >>> holm([0.04, float("nan"), 0.01]).tolist()
    [0.04, nan, 0.02]
    """
    p = np.asarray(p_values, dtype=float)
    order = p.argsort(kind="stable")  # NaN last
    remaining = np.count_nonzero(~np.isnan(p)) - np.arange(p.size)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * remaining), 1)
    return corrected
