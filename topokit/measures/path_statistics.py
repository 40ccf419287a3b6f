"""Path statistics: how the number of paths is distributed over the pairs of inputs and outputs, exactly.

Keys:
    min, max, mean, median: number of paths of a pair of an input and an output, over all pairs, exactly
    variation, disconnected_share: coefficient of variation: 0 if path-symmetric; share of pairs without a path
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import inf, sqrt

import numpy as np

from topokit.csr import require_memory
from topokit.layered import Layered
from topokit.measures._limbs import to_integers
from topokit.measures._measure import Measure, Values, shown
from topokit.measures._sweep import STEP, finished_sweep


@dataclass(frozen=True)
class PathStatistics:
    """The distribution of the number of paths over all pairs of an input and an output.

    Args:
        counts: every number of paths that occurs, ascending.
        pairs: how many pairs have each.
    """

    counts: tuple[int, ...]
    pairs: tuple[int, ...]

    @cached_property
    def total_pairs(self) -> int:
        """Inputs times outputs."""
        return sum(self.pairs)

    @property
    def disconnected(self) -> int:
        """Pairs without a path."""
        return 0 if self.counts[0] else self.pairs[0]

    @cached_property
    def mean(self) -> Fraction:
        """Paths of a pair on average."""
        return Fraction(sum(map(int.__mul__, self.counts, self.pairs)), self.total_pairs)

    @cached_property
    def median(self) -> Fraction:
        """The middle number of paths; the mean of the two middle ones where the pairs are even in number."""
        up_to = list(accumulate(self.pairs))
        middle = (self.total_pairs - 1) // 2, self.total_pairs // 2
        return Fraction(sum(self.counts[bisect_right(up_to, place)] for place in middle), 2)

    @cached_property
    def variation(self) -> float | None:
        """Coefficient of variation: standard deviation over mean, 0 if path-symmetric; None without any path."""
        if self.mean == 0:
            return None
        squares = sum(pairs * count**2 for count, pairs in zip(self.counts, self.pairs, strict=True))
        return sqrt(Fraction(squares, self.total_pairs) / self.mean**2 - 1)


def path_statistics(net: Layered, *, budget: float = inf) -> PathStatistics:
    """The number of paths of every pair of an input and an output, as a distribution of exact integers.

    Args:
        net: any network.
        budget: give up before more than this many limb products, of about two nanoseconds each.

    Raises:
        TooLargeError: not enough free memory, or too small a budget.

    Cost: that of `topokit.measures.paths.path_range`, and sorting one number for each pair of a class of
    inputs and a class of outputs.

    >>> from topokit.topologies import Topology
    >>> found = path_statistics(Topology.from_dense([[[1, 1, 0]], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]]))
    >>> found.counts, found.pairs, found.mean, found.median
    ((0, 1, 2), (1, 1, 1), Fraction(1, 1), Fraction(1, 1))
    """
    sweep = finished_sweep(net, None, budget)
    columns, limbs, rows = sweep.counts.shape
    require_memory((16 * limbs + 32) * columns * rows, "sorting the path counts")
    digits = sweep.counts.transpose(1, 0, 2).reshape(limbs, -1)
    nodes, starts = (np.bincount(labels).astype(np.uint64) for labels in (sweep.node_class, sweep.start_class))
    order = np.lexsort(digits)
    digits, pairs = digits[:, order], np.outer(nodes, starts).ravel()[order]
    firsts = np.flatnonzero(np.append(True, (digits[:, 1:] != digits[:, :-1]).any(axis=0)))
    return PathStatistics(
        counts=tuple(sweep.factor * to_integers(digits[None, :, firsts])[0]),
        pairs=tuple(np.add.reduceat(pairs, firsts).tolist()),
    )


def _values(found: PathStatistics) -> Values:
    return {
        "min": found.counts[0],
        "max": found.counts[-1],
        "mean": found.mean,
        "median": found.median,
        "variation": found.variation,
        "disconnected_share": found.disconnected / found.total_pairs,
    }


def _line(values: Values) -> dict[str, str]:
    least, most, *others = (shown(values[key]) for key in ("min", "max", "mean", "median", "variation"))
    if least == most:
        return {"paths": f"{least} from every input to every output"}
    spread = "mean {}, median {}, coefficient of variation {}".format(*others)
    return {"paths": f"{least} to {most} per pair, {spread}"}


MEASURE = Measure(
    path_statistics,
    _values,
    counts=("min", "max"),
    cost=40,
    step=STEP,
    scalars={"variation of paths": "variation"},
    line=_line,
)
