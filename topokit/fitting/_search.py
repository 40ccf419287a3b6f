"""The search for the N', radices and diagonals of RadiX-Nets near a wanted density.

A layer of radix r whose copies are joined in steps of s has density r / (N' s). For one N' the search goes from layer
to layer, groups partial networks by state, and keeps a few of each state: the most even ones (every layer as near the
wanted density as possible) whose density so far is nearest. With few layers, that keeps all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from heapq import nsmallest
from itertools import pairwise
from math import gcd, inf, log
from operator import itemgetter
from typing import Any

from topokit.csr import MAX_WIDTH
from topokit.fitting._plans import Plan
from topokit.layered import possible_edges

BEAM = 20_000
"""Partial networks that are continued in all layers together, about."""

KEPT = 24
"""Plans of one N', at most: of those that promise path symmetry, and of the others."""

SMALL = 1000
"""Steps are products of primes below it (and of the number that remains)."""

EVERY = 2048
"""Every N' up to here is considered; above, those without a prime factor above 7, which have many radices."""


OTHERS = 512
"""How many N' are tried, at most, that crop interior layers."""


class Search:
    """The search for one list of widths and one density.

    A partial network's state is (product of the radices of the system it is in, whether a system is complete,
    whether a layer joins all copies). A system is complete if its product is N'. A network is whole once one is: what
    follows is a last system, whose product divides N' in any case. One layer that joins all copies makes it
    path-symmetric; those without one can be sparser, and are kept apart.

    Args:
        widths: the wanted widths.
        density: the wanted density, above 0.

    Attributes:
        spent: partial networks looked at so far.
    """

    def __init__(self, widths: Sequence[int], density: float):
        self._widths = tuple(widths)
        self._density = density
        cells = possible_edges(widths)
        self._shares = [a * b / cells for a, b in pairwise(widths)]
        self.spent = 0

    def plans(self, nodes: int) -> list[Plan]:
        """Return up to 2 KEPT networks of N' = `nodes`, the most even and nearest ones."""
        below = {product: divisors(product) for product in divisors(nodes)}
        width = max(4, min(64, BEAM // (len(self._shares) * sum(map(len, below.values())))))
        beam: dict[tuple[int, bool, bool], list[Any]] = {(1, False, False): [(0.0, 0.0, 0.0, None)]}
        done = 0.0
        for steps, share in zip(self._steps(nodes), self._shares, strict=True):
            done += share
            found: dict[tuple[int, bool, bool], list[Any]] = {}
            for (product, closed, full), partials in beam.items():
                for radix in below[nodes // product][1:]:
                    closing = product * radix == nodes
                    for step in _near(steps, radix / (nodes * self._density)):
                        state = (1 if closing else product * radix, closed or closing, full or step == 1)
                        layer = share * radix / (nodes * step), share * log(radix / (nodes * step * self._density)) ** 2
                        found.setdefault(state, []).extend(self._extended(partials, layer, done, (radix, step)))
            beam = {state: nsmallest(width, partials, key=itemgetter(0)) for state, partials in found.items()}
        whole: dict[bool, list[Any]] = {True: [], False: []}
        for (_, closed, full), partials in beam.items():
            if closed:
                whole[full] += partials
        best = (partial for partials in whole.values() for partial in nsmallest(KEPT, partials, key=itemgetter(0)))
        plans = (Plan(self._widths, nodes, *_unlinked(partial)) for partial in best)
        return [plan for plan in plans if plan.possible]

    def _extended(
        self, partials: list[Any], layer: tuple[float, float], done: float, choice: tuple[int, int]
    ) -> Iterator[Any]:
        """Yield (key, density, unevenness, choices), all so far, of each partial network with one more layer."""
        self.spent += len(partials)
        for _, density, uneven, link in partials:
            so_far, cost = density + layer[0], uneven + layer[1]
            yield cost + (so_far / (done * self._density) - 1) ** 2, so_far, cost, (link, choice)

    def _steps(self, nodes: int) -> Iterator[Sequence[int]]:
        """Yield the steps that each edge layer can have: at an end, no more than there are copies to join."""
        copies = [-(-width // nodes) for width in self._widths]
        if len(copies) == 2:
            yield range(1, min(copies) + 1)
            return
        last = len(copies) - 2
        for i, (a, b) in enumerate(pairwise(copies)):
            inner, outer = (b, a) if i == 0 else (a, b) if i == last else (gcd(a, b), gcd(a, b))
            yield tuple(step for step in divisors(inner, below=SMALL) if step <= outer)


@lru_cache(maxsize=2**14)
def divisors(number: int, below: int = 2**16) -> tuple[int, ...]:
    """Return the divisors of a number up to 2^32, sorted; what remains without primes under `below` counts as prime."""
    found, rest = [1], number
    for prime in range(2, below):
        if prime * prime > rest:
            break
        powers = [1]
        while rest % prime == 0:
            rest //= prime
            powers.append(powers[-1] * prime)
        if len(powers) > 1:
            found = [one * power for one in found for power in powers]
    if rest > 1:
        found += [one * rest for one in found]
    return tuple(sorted(found))


def _near(sorted_numbers: Sequence[int], wanted: float) -> set[int]:
    """Return 1, and the numbers on either side of `wanted`."""
    at = bisect_left(sorted_numbers, wanted)
    return {1, *sorted_numbers[max(at - 1, 0) : at + 1]}


def _unlinked(partial: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    choices, link = [], partial[3]
    while link:
        link, choice = link
        choices.append(choice)
    radices, steps = zip(*reversed(choices), strict=True)
    return radices, steps


def node_counts(widths: Sequence[int], density: float) -> tuple[list[int], list[int]]:
    """Return the N' that may fit, the most promising ones first.

    An N' is promising if radices of about the same size give about the density, and, if it crops interior layers,
    if the last copy is a small share of them.

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
    """Return how uneven a crop of an interior layer makes path counts: 0 for whole copies, above 1 for part of one."""
    if width < nodes:
        return 1 + log(nodes / width)
    return log(-(-width // nodes) / (width // nodes))


def _smooth(most: int) -> set[int]:
    """Return the numbers from 2 to `most` without a prime factor above 7."""
    found = [1]
    for prime in (2, 3, 5, 7):
        for number in found:  # grows while it is read: each number's multiples are multiplied again
            if number * prime <= most:
                found.append(number * prime)  # noqa: PERF401
    return {*found[1:]}
