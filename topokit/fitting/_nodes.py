"""Which N' a search tries, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, inf, log

from topokit.csr import MAX_WIDTH
from topokit.fitting._search import divisors

EVERY = 2048
"""Every N' up to here is thought of; above, those without a prime factor above 7, which have many radices."""


OTHERS = 512
"""How many N' are tried, at most, that crop interior layers."""


def node_counts(widths: Sequence[int], density: float) -> tuple[list[int], list[int]]:
    """The N' that may fit, the most promising ones first.

    An N' is promising where radices of about the same size give about the density, and, if it crops interior
    layers, where the last copy is a small share of them.

    Args:
        widths: the wanted widths.
        density: the wanted density, above 0.

    Returns:
        Those that divide every interior width (with one edge layer: that need not be large), and those that do not.

    Cost: O(7,000 * different widths) at most.
    """
    inside = sorted(set(widths[1:-1]))
    fitting = {*divisors(gcd(*inside or widths))[1:]}
    if not inside:
        fitting |= {*range(2, 65)}
    others: set[int] = set()
    if inside:
        most = min(2 * inside[-1], MAX_WIDTH - 1)
        others = {*range(2, min(EVERY, most) + 1), *_smooth(most)} - fitting
    distinct = sorted(set(widths))

    def promise(nodes: int) -> tuple[float, int]:
        if any(nodes * -(-width // nodes) >= MAX_WIDTH for width in distinct):
            return inf, nodes
        waste = max((_spread(width, nodes) for width in inside), default=0)
        longest = min(len(widths) - 1, nodes.bit_length() - 1)
        off = min(abs(log(nodes ** (1 / system - 1) / density)) for system in range(1, longest + 1))
        return off + waste, nodes

    tame, wild = ([nodes for off, nodes in sorted(map(promise, counts)) if off < inf] for counts in (fitting, others))
    return tame, wild[:OTHERS]


def _spread(width: int, nodes: int) -> float:
    """How uneven a crop of an interior layer makes path counts: 0 for whole copies, above 1 for less than one."""
    if width < nodes:
        return 1 + log(nodes / width)
    return log(-(-width // nodes) / (width // nodes))


def _smooth(most: int) -> set[int]:
    """The numbers from 2 to `most` without a prime factor above 7."""
    found = [1]
    for prime in (2, 3, 5, 7):
        for number in found:  # grows while it is read: each number's multiples are multiplied again
            if number * prime <= most:
                found.append(number * prime)  # noqa: PERF401
    return {*found[1:]}
