"""Which radices and diagonals bring one N' near a wanted density: a search along the edge layers.

A layer of radix r whose copies are joined in steps of s has density r / (N' s). The search goes from layer
to layer, holds partial networks that share a state, and keeps a few of each: those most even (every layer as
near the wanted density as can be) whose density so far is nearest. With few layers, that keeps all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from heapq import nsmallest
from itertools import pairwise
from math import gcd, log
from typing import Any

from topokit.fitting._plans import Plan
from topokit.layered import possible_edges

BEAM = 20_000
"""Partial networks that are gone on with in all layers together, about."""

KEPT = 24
"""Plans that one N' gives, at most: of those that promise path symmetry, and of the others."""

SMALL = 1000
"""Steps are looked for among the products of primes below it (and of what remains)."""


class Search:
    """The search for one list of widths and one density.

    A partial network's state is (product of the radices of the system it is in, whether a system has come to
    N', whether a layer joins all copies). A network is whole once a system has come to N': what follows is
    a last system, whose product divides N' whatever it is. One layer that joins all copies makes it
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
        """Up to 2 KEPT networks of N' = `nodes`, the most even and nearest ones."""
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
                        self._extend(found.setdefault(state, []), partials, layer, done, (radix, step))
            beam = {state: nsmallest(width, partials, key=_key) for state, partials in found.items()}
        whole: dict[bool, list[Any]] = {True: [], False: []}
        for (_, closed, full), partials in beam.items():
            if closed:
                whole[full] += partials
        best = (partial for partials in whole.values() for partial in nsmallest(KEPT, partials, key=_key))
        plans = (Plan(self._widths, nodes, *_unlinked(partial)) for partial in best)
        return [plan for plan in plans if plan.possible]

    def _extend(
        self,
        found: list[Any],
        partials: list[Any],
        layer: tuple[float, float],
        done: float,
        choice: tuple[int, int],
    ) -> None:
        self.spent += len(partials)
        for _, density, uneven, link in partials:
            so_far, cost = density + layer[0], uneven + layer[1]
            found.append((cost + (so_far / (done * self._density) - 1) ** 2, so_far, cost, (link, choice)))

    def _steps(self, nodes: int) -> Iterator[Sequence[int]]:
        """The steps each edge layer can have: at an end, no more than there are copies to join."""
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
    """The divisors of a number up to 2^32, sorted; what is left of it without primes under `below` counts as prime."""
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
    """1, and the numbers on either side of `wanted`."""
    at = bisect_left(sorted_numbers, wanted)
    return {1, *sorted_numbers[max(at - 1, 0) : at + 1]}


def _key(partial: Any) -> float:
    key: float = partial[0]
    return key


def _unlinked(partial: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    choices, link = [], partial[3]
    while link:
        link, choice = link
        choices.append(choice)
    radices, steps = zip(*reversed(choices), strict=True)
    return radices, steps
