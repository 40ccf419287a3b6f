"""Comparison with chance: is what a network measures its structure, or would random twins measure the same?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any
from warnings import warn

import numpy as np

from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.layered import Layered, Source, network
from topokit.profiles import SCALARS, Profile, profile
from topokit.reprs import short_repr

LEVEL = 0.05
"""Adjusted p-value up to which a difference is called structure."""

SECONDS = 2.0
"""What a measure may take on the network itself; each twin takes as long again."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of a network beside the same number of its random twins.

    Args:
        value: the network's; None where it is undefined.
        mean: of the twins; None where it is undefined for one of them.
        sd: standard deviation of the twins, with one degree of freedom taken off.
        z: (value - mean) / sd; None where the twins are all equal.
        rank_p: two-sided p-value of the network's rank among its twins: assumes nothing, is at least 2 / (twins + 1).
        p: two-sided p-value of one more draw from a normal law, by Student's t; `rank_p` where there is no z.
        adjusted_p: `p` after Holm's correction for the number of measures.
        verdict: "structure" if `adjusted_p` is at most .05; else "chance", but "undecided" where the network
            differs from twins that are all equal, and so few of them cannot prove it. None where nothing was
            compared: undefined, or the same in the network and all twins.
    """

    value: float | None
    mean: float | None = None
    sd: float | None = None
    z: float | None = None
    rank_p: float | None = None
    p: float | None = None
    adjusted_p: float | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class AgainstTwins:
    """A network beside its random twins.

    Args:
        kind: family of the twins.
        seeds: the seed of each twin.
        comparisons: what is compared -> the comparison.
        skipped: measure -> why it was left out.
    """

    kind: str
    seeds: Sequence[int]
    comparisons: Mapping[str, Comparison]
    skipped: Mapping[str, str]

    __repr__ = short_repr


def compare(
    net: Source,
    *,
    twins: int = 20,
    kind: str = "regular",
    seed: int = 0,
    seconds: float = SECONDS,
    each: Callable[[], None] = lambda: None,
) -> AgainstTwins:
    """Compare a network with random networks that share its widths and, depending on the kind, its degrees.

    Every number of `topokit.profiles.SCALARS` is compared. A twin's value is taken to be drawn from a normal law, of
    which the twins are a sample; the network's would then be one more draw, and sqrt(n / (n + 1)) z has Student's t
    distribution with n - 1 degrees of freedom. Holm's correction keeps the probability of calling anything structure
    in a network that is random itself at 5 %. Twin number j is `twin_of(net, seed + j)`, so anybody can make it again.

    Args:
        net: any network that fits into memory.
        twins: number of twins, at least 2.
        kind: "regular" keeps every node's degrees, "fixed-fan-in" each layer's edges, "bernoulli" its density.
        seed: of the first twin.
        seconds: leave out a measure that may take longer on one network.
        each: called when a twin is measured.

    Raises:
        InvalidSpecError: fewer than 2 twins, or no such kind.
        TooLargeError: a twin does not fit into memory.

    Cost: twins + 1 times that of the measures, and of drawing a twin.
    Source: Milo et al. 2002, Science 298:824 (z-scores against degree-preserving randomisation); Holm 1979,
    Scandinavian Journal of Statistics 6:65.
    """
    net = network(net)
    if twins < 2:
        raise InvalidSpecError(f"twins must be at least 2, not {twins}: one alone has no spread")
    if kind not in RANDOM_EQUIVALENTS:
        raise InvalidSpecError(f"no kind of twin named {kind!r}: known: {', '.join(RANDOM_EQUIVALENTS)}")
    seeds = range(seed, seed + twins)
    profiles = [measured(net, seconds=seconds)]
    for twin_seed in seeds:
        twin = FAMILIES[kind].twin_of(net, twin_seed).build()
        profiles.append(profile(twin, profiles[-1].measures, seconds=seconds))
        each()
    scalars = [found.scalars() for found in profiles]
    values = {label: [found[label] for found in scalars] for label in scalars[-1]}
    skipped = {name: why for found in profiles for name, why in found.skipped.items()}
    return AgainstTwins(kind, seeds, compared(values), skipped)


def against_twins(net: Source, **options: Any) -> AgainstTwins:
    """Call `compare`, under its name in 0.1.0."""
    warn("against_twins is now called compare", DeprecationWarning, stacklevel=2)
    return compare(net, **options)


def measured(net: Layered, *, seconds: float = SECONDS) -> Profile:
    """The measures that networks are compared by.

    Args:
        net: any network.
        seconds: leave out a measure that may take longer.
    """
    return profile(net, {name for name, _ in SCALARS.values()}, seconds=seconds)


def compared(values: Mapping[str, Sequence[float | None]]) -> dict[str, Comparison]:
    """Compare the first of some numbers with all others, for each of some measures.

    Numbers are rounded to nine digits first, so that what differs by rounding alone is equal.

    Args:
        values: what is compared -> the network's number and those of its twins.
    """
    found = {label: _compared([_rounded(value) for value in row]) for label, row in values.items()}
    tested = sorted((label for label in found if found[label].p is not None), key=lambda label: found[label].p or 0)
    adjusted = 0.0
    for place, label in enumerate(tested):
        one = found[label]
        adjusted = min(1.0, max(adjusted, (one.p or 0) * (len(tested) - place)))
        chance = "undecided" if one.z is None else "chance"
        verdict = "structure" if adjusted <= LEVEL else chance
        found[label] = replace(one, adjusted_p=adjusted, verdict=verdict)
    return found


def _compared(row: Sequence[float | None]) -> Comparison:
    value, *others = row
    twins = np.array([other for other in others if other is not None])
    if value is None or twins.size < len(others):
        return Comparison(value)
    mean, sd = float(twins.mean()), float(twins.std(ddof=1))
    if twins.min() == twins.max():
        mean, sd = float(twins[0]), 0.0
    if sd == 0 and value == mean:
        return Comparison(value, mean, sd)
    from scipy.stats import t

    extreme = min((twins <= value).sum(), (twins >= value).sum())
    rank_p = min(1.0, 2 * (1 + int(extreme)) / (1 + twins.size))
    if sd == 0:
        return Comparison(value, mean, sd, None, rank_p, rank_p)
    z = (value - mean) / sd
    p = 2 * float(t.sf(abs(z) / sqrt(1 + 1 / twins.size), twins.size - 1))
    return Comparison(value, mean, sd, z, rank_p, p)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")
