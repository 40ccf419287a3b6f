"""The statistics of a report: intervals, paired differences, equivalence, and Holm's correction. By scipy, statsmodels.

Accuracies are fractions. Where all values are equal a t-test has no spread to go by, and there is no p-value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from topokit_train.intervals import half_of_ci95

LEVEL = 0.05
MARGIN = 0.005
"""Half a percentage point: what is closer is called the same."""


@dataclass(frozen=True)
class Mean:
    """The mean of one value per seed.

    Args:
        n: number of values.
        mean: theirs.
        half: half the width of Student's 95 % interval of the mean; None of a single value.
        deviation: the sample's standard deviation; None of a single value.
        least: of all values.
        most: of all values.
    """

    n: int
    mean: float
    half: float | None
    deviation: float | None
    least: float
    most: float


@dataclass(frozen=True)
class Difference:
    """Two arms compared seed by seed, with p-values of one-sample t-tests of the differences.

    Args:
        n: number of pairs.
        mean: of the differences.
        half: half the width of its 95 % interval; None of a single pair. All p-values are None of a single pair, and
            where all differences are equal.
        zero: against a true mean of 0, two-sided.
        within: for a true mean within the margin, by two one-sided tests.
        beyond: for a true mean outside of the margin, two-sided.
        above: for a true mean above +margin.
        below: for a true mean below -margin.
        not_below: for a true mean above -margin.
        positive: for a true mean above 0.
        negative: for a true mean below 0.
    """

    n: int
    mean: float
    half: float | None
    zero: float | None = None
    within: float | None = None
    beyond: float | None = None
    above: float | None = None
    below: float | None = None
    not_below: float | None = None
    positive: float | None = None
    negative: float | None = None


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of some values, and its Student interval from two values on.

    >>> found = mean_of([0.1, 0.2, 0.3])
    >>> round(found.mean, 6), round(found.half, 6)
    (0.2, 0.248414)
    """
    sample = np.asarray(values, dtype=float)
    n, mean = len(sample), float(sample.mean())
    spread = (0.0 if _equal(sample) else float(sample.std(ddof=1))) if n > 1 else None
    half = None if spread is None else half_of_ci95(spread, n)
    return Mean(n, mean, half, spread, float(sample.min()), float(sample.max()))


def paired(one: Mapping[int, float], other: Mapping[int, float], margin: float = MARGIN) -> Difference | None:
    """Compare two arms by the seeds that both have; None where they share no seed.

    Args:
        one: seed -> value.
        other: the same of the arm that is subtracted.
        margin: of equivalence.
    """
    seeds = sorted(one.keys() & other.keys())
    return difference([one[seed] - other[seed] for seed in seeds], margin) if seeds else None


def difference(differences: Sequence[float], margin: float = MARGIN) -> Difference:
    """What some paired differences come to: see Difference."""
    about = mean_of(differences)
    if about.n < 2 or not about.deviation:
        return Difference(about.n, about.mean, about.half)
    above, below = _one_sided(differences, margin, "larger"), _one_sided(differences, -margin, "smaller")
    lower, upper = _one_sided(differences, -margin, "larger"), _one_sided(differences, margin, "smaller")
    return Difference(
        about.n,
        about.mean,
        about.half,
        zero=_one_sided(differences, 0, "two-sided"),
        within=max(lower, upper),
        beyond=min(1.0, 2 * min(above, below)),
        above=above,
        below=below,
        not_below=lower,
        positive=_one_sided(differences, 0, "larger"),
        negative=_one_sided(differences, 0, "smaller"),
    )


def _one_sided(sample: Sequence[float], value: float, alternative: str) -> float:
    return float(DescrStatsW(np.asarray(sample, dtype=float)).ttest_mean(value, alternative)[1])


def _equal(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) < 1e-12)  # fractions of some thousand images: less is rounding


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of all p-values together; None stays None and counts for nothing.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    given = np.array([p for p in p_values if p is not None], dtype=float)
    order = given.argsort(kind="stable")
    corrected = np.empty_like(given)  # the smallest of n times n, the next n - 1, ...; none below the one before
    corrected[order] = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)).clip(max=1)
    left = iter(corrected.tolist())
    return [None if p is None else next(left) for p in p_values]


def smallest(p_values: Sequence[float | None]) -> float | None:
    """A p-value for "at least one of them is true": the smallest after Holm's correction."""
    return min((p for p in holm(p_values) if p is not None), default=None)


def largest(p_values: Sequence[float | None]) -> float | None:
    """A p-value for "all of them are true", an intersection-union test; None where one of them has none."""
    known = [p for p in p_values if p is not None]
    return max(known) if known and len(known) == len(p_values) else None


def mostly(hits: int, of: int, alternative: str = "greater") -> float | None:
    """The p-value for a share above one half (`greater`) or below (`less`), by the exact binomial test; None of none.

    Of all that differ and of those that are above, it is the sign test.
    """
    return float(stats.binomtest(hits, of, 0.5, alternative=alternative).pvalue) if of else None


def spreads_differ(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The p-value for two different spreads, by Brown and Forsythe's test around medians; None below three values.

    Two values are equally far from their median, so that their spread seems to be known without error.
    """
    if min(len(one), len(other)) < 3 or np.ptp([*one]) + np.ptp([*other]) == 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # all distances from the medians may be equal
        p = float(stats.levene(one, other, center="median").pvalue)
    return None if np.isnan(p) else p
