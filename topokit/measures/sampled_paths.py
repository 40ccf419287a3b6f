"""Sampled paths: what a random sample of pairs shows about the number of paths of all of them.

Keys:
    pairs, confidence, min, max: size of the sample of random pairs, 1,000; its smallest and largest number of paths
    disconnected_share, median of estimate, low, high: estimates for all pairs, with confidence intervals that hold for
        any distribution
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from math import inf

import numpy as np

from topokit.errors import InvalidSpecError
from topokit.layered import Layered
from topokit.measures._limbs import to_integers
from topokit.measures._measure import Measure
from topokit.measures._sweep import STEP, finished_sweep


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval, ends included.

    Args:
        estimate: the sample's own value.
        low: lower end.
        high: upper end.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SampledPaths:
    """Estimates for all pairs of an input and an output, from a sample of them.

    Args:
        pairs: size of the sample.
        confidence: probability with which an interval holds the true value, at least.
        disconnected_share: share of all pairs that no path joins.
        median: number of paths of a pair; the ends are numbers of the sample.
        min: smallest number of paths in the sample.
        max: largest number of paths in the sample.
    """

    pairs: int
    confidence: float
    disconnected_share: Interval
    median: Interval
    min: int
    max: int


def sampled_paths(
    net: Layered, *, pairs: int = 1000, seed: int = 0, confidence: float = 0.95, budget: float = inf
) -> SampledPaths:
    """Estimate how many pairs have no path and the median number of paths from pairs drawn at random.

    Pairs are drawn independently and uniformly, each is counted exactly, and both intervals hold whatever the
    distribution is: Clopper and Pearson's for the share, order statistics for the median. The mean need not be
    estimated: `topokit.measures.node_paths.node_paths` gives it exactly.

    Args:
        net: any network.
        pairs: size of the sample, at least 10, and so many that all of them lie on one side of the median more
            rarely than the intervals may be wrong: 2^(1 - pairs) is below 1 - confidence.
        seed: of the draw.
        confidence: of the intervals, above 0 and below 1.
        budget: give up before more than this many limb products, of about two nanoseconds each.

    Raises:
        InvalidSpecError: too few pairs, or no such confidence.
        TooLargeError: not enough free memory, or too small a budget.

    Cost: O(edges * different inputs drawn * limbs) at worst.
    Source: Clopper & Pearson 1934, Biometrika 26:404; Conover 1999, Practical Nonparametric Statistics, 3.2.

    >>> from topokit.families.radix_net import RadixNet
    >>> sampled_paths(RadixNet(radices=[(2, 2, 2)], kron=(10, 10))).median
    Interval(estimate=100, low=100, high=100)
    """
    if not 0 < confidence < 1:
        raise InvalidSpecError(f"confidence must be above 0 and below 1, not {confidence}")
    fewest = next(pairs for pairs in count(10) if 2.0 ** (1 - pairs) < 1 - confidence)
    if pairs < fewest:
        raise InvalidSpecError(f"pairs must be at least {fewest} for a confidence of {confidence}, not {pairs}")
    from scipy.stats import binom, binomtest

    rng = np.random.Generator(np.random.PCG64(seed))
    inputs, outputs = (rng.integers(width, size=pairs) for width in (net.widths[0], net.widths[-1]))
    starts, start = np.unique(inputs, return_inverse=True)
    sweep = finished_sweep(net, starts.tolist(), budget)
    found = sweep.counts[sweep.node_class[outputs], :, sweep.start_class[start]]
    paths = sorted(sweep.factor * to_integers(found[..., None])[:, 0])
    missing = sum(number == 0 for number in paths)
    share = binomtest(missing, pairs).proportion_ci(confidence, method="exact")
    low = int(binom.ppf((1 - confidence) / 2, pairs, 0.5)) - 1  # fewer lie below the median too rarely to matter
    return SampledPaths(
        pairs=pairs,
        confidence=confidence,
        disconnected_share=Interval(missing / pairs, float(share.low), float(share.high)),
        median=Interval(paths[(pairs - 1) // 2], paths[low], paths[pairs - 1 - low]),
        min=paths[0],
        max=paths[-1],
    )


MEASURE = Measure(sampled_paths, counts=("median", "min", "max"), cost=40, step=STEP, on_request=True)
