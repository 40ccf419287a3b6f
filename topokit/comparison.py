"""Comparison with chance: do a network's numbers follow from its structure, or has every random equivalent the same?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from typing import Any, TypeAlias, overload
from warnings import warn

import numpy as np

from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.fields import one_of
from topokit.layered import Layered, Source, network
from topokit.measures import MEASURES
from topokit.profiles import Profile, profile
from topokit.reprs import Tabular, short_repr
from topokit.spec import slug_of
from topokit.statistics import LEVEL, holm

Tick: TypeAlias = Callable[[], None]

SECONDS = 2.0
"""Most seconds of a measure on the network itself; each random equivalent takes as long again."""


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a network beside the same number of its random equivalents.

    Args:
        value: the network's; None if it is undefined.
        mean: of the random equivalents; None if it is undefined for one of them.
        sd: their standard deviation, with one degree of freedom taken off.
        z: (value - mean) / sd; None if they are all equal.
        rank_p: two-sided p-value of the network's rank among them: assumes nothing, is at least 2 / (their number + 1).
        p: two-sided p-value of one more draw from a normal law, by Student's t; `rank_p` if there is no z.
        adjusted_p: `p` after Holm's correction for the number of measures.
        verdict: "structure" if `adjusted_p` is at most .05, else "chance"; "undecided" if the network differs from
            random equivalents that are all equal, but too few to prove a difference. None if nothing was compared:
            undefined, or the same in the network and all of them.
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
class Comparison(Tabular):
    """A network beside its random equivalents. A table in a notebook and as a frame.

    Args:
        kind: family of the random equivalents.
        seeds: the seed of each.
        comparisons: label of a number -> its score.
        skipped: measure -> why it was skipped.
    """

    kind: str
    seeds: Sequence[int]
    comparisons: Mapping[str, Score]
    skipped: Mapping[str, str]

    columns = ("measure", *(field.name for field in fields(Score)))
    __repr__ = short_repr

    @property
    def title(self) -> str:
        """How many random equivalents of which kind."""
        return f"{len(self.seeds)} {self.kind} random equivalents, seeds {self.seeds[0]} to {self.seeds[-1]}"

    @property
    def note(self) -> str:
        """Why nothing is compared; "" if something is."""
        if any(score.verdict for score in self.comparisons.values()):
            return ""
        return (
            "there is nothing to compare: each measure is undefined, or the random networks have the same value as the "
            "network"
        )

    def __str__(self) -> str:
        return "\n".join(filter(None, [super().__str__(), self.note]))

    def records(self) -> list[dict[str, Any]]:
        """Return the score of each number."""
        return [{"measure": label, **asdict(score)} for label, score in self.comparisons.items()]


@dataclass(frozen=True)
class SideBySide(Tabular):
    """The measures of several networks beside each other, a column each. A table in a notebook and as a frame.

    Args:
        profiles: label of a network -> its measures.
    """

    profiles: Mapping[str, Profile]

    __repr__ = short_repr

    def records(self) -> list[dict[str, Any]]:
        """Return the edges and each number of every network; None if it is undefined, or its measure was skipped."""
        values = {label: {"edges": sum(one.layer_edges), **one.scalars()} for label, one in self.profiles.items()}
        measures = dict.fromkeys(chain(*values.values()))
        return [
            {"measure": measure} | {label: found.get(measure) for label, found in values.items()}
            for measure in measures
        ]


@overload
def compare(
    net: Source, *, twins: int | None = ..., kind: str = ..., seed: int = ..., seconds: float = ..., each: Tick = ...
) -> Comparison: ...
@overload
def compare(net: Source, *others: Source, seconds: float = SECONDS) -> SideBySide: ...
@overload
def compare(net: list[Source] | tuple[Source, ...], *, seconds: float = SECONDS) -> SideBySide: ...
def compare(
    net: Source | list[Source] | tuple[Source, ...],
    *others: Source,
    twins: int | None = None,
    kind: str = "regular",
    seed: int = 0,
    seconds: float = SECONDS,
    each: Tick = lambda: None,
) -> Comparison | SideBySide:
    """Compare a network with random networks of its widths and perhaps its degrees; or several networks.

    Several networks, one after another or in a list, are put beside each other; there are no random networks then.

    Every number in the `scalars` of a measure is compared. A random equivalent's value is taken to be drawn from a
    normal law; the network's would then be one more draw, and sqrt(n / (n + 1)) z has Student's t distribution with
    n - 1 degrees of freedom. Holm's correction keeps the probability of calling anything structure in a network that is
    random itself at 5 %. Random equivalent number j is `twin_of(net, seed + j)`, so that anybody can rebuild it.

    Args:
        net: any network that fits into memory; or a list of several.
        others: further networks.
        twins: number of random equivalents, at least 2; 20 if omitted.
        kind: "regular" keeps every node's degrees, "fixed-fan-in" each layer's edges, "bernoulli" its density.
        seed: of the first random equivalent.
        seconds: skip a measure that may take longer on one network.
        each: called after each random equivalent.

    Raises:
        InvalidSpecError: fewer than 2 random equivalents, an unknown kind, or a seed of several networks.
        TooLargeError: a random equivalent does not fit into memory.

    Cost: twins + 1 times that of the measures, and of drawing a random equivalent.
    Source: Milo et al. 2002, Science 298:824 (z-scores against degree-preserving randomisation); Holm 1979,
    Scandinavian Journal of Statistics 6:65.
    """
    given: tuple[Source, ...] = (*net, *others) if isinstance(net, list | tuple) else (net, *others)
    if len(given) != 1:
        if not given:
            raise InvalidSpecError("compare needs a topology, or several")
        if twins is not None or kind != "regular" or seed:
            raise InvalidSpecError("`twins`, `kind` and `seed` are for one topology: compare each of several alone")
        return _side_by_side(given, seconds)
    net, twins = network(given[0]), 20 if twins is None else twins
    if twins < 2:
        raise InvalidSpecError(f"`twins` must be at least 2, not {twins}: a single random equivalent has no spread")
    if kind not in RANDOM_EQUIVALENTS:
        raise InvalidSpecError(f"`kind` must be one of {one_of(kind, RANDOM_EQUIVALENTS)}")
    seeds = tuple(range(seed, seed + twins))
    profiles = [measured(net, seconds=seconds)]
    for twin_seed in seeds:
        twin = FAMILIES[kind].equivalent_to(net, twin_seed).build()
        profiles.append(profile(twin, profiles[-1].measures, seconds=seconds))
        each()
    scalars = [found.scalars() for found in profiles]
    values = {label: [found[label] for found in scalars] for label in scalars[-1]}
    skipped = {name: why for found in profiles for name, why in found.skipped.items()}
    return Comparison(kind, seeds, compared(values), skipped)


def _side_by_side(given: Sequence[Source], seconds: float) -> SideBySide:
    """Measure each network; a label is its description or its slug, with its number if others have that label too."""
    nets = [network(one) for one in given]
    labels = [one if isinstance(one, str) else slug_of(net) for one, net in zip(given, nets, strict=True)]
    names = [f"{label} ({i})" if labels.count(label) > 1 else label for i, label in enumerate(labels, start=1)]
    return SideBySide({name: measured(net, seconds=seconds) for name, net in zip(names, nets, strict=True)})


def against_twins(net: Source, **options: Any) -> Comparison:
    """Call `compare`, under its name in 0.1.0."""
    warn("against_twins is now called compare", DeprecationWarning, stacklevel=2)
    found: Comparison = compare(net, **options)
    return found


def measured(net: Layered, *, seconds: float = SECONDS) -> Profile:
    """Return the measures that networks are compared by, without those that may take longer than `seconds`."""
    return profile(net, [name for name in MEASURES if MEASURES[name].scalars], seconds=seconds)


def compared(values: Mapping[str, Sequence[float | None]]) -> dict[str, Score]:
    """Compare the first of some numbers with all others, for each label.

    Numbers are rounded to nine digits first, so that what differs by rounding alone is equal.

    Args:
        values: label -> the network's number and those of its random equivalents.
    """
    found = {label: _scored(row) for label, row in values.items()}
    tested = {label: score.p for label, score in found.items() if score.p is not None}
    for label, adjusted in zip(tested, holm([*tested.values()]).tolist(), strict=True):
        chance = "undecided" if found[label].z is None else "chance"
        found[label] = replace(found[label], adjusted_p=adjusted, verdict="structure" if adjusted <= LEVEL else chance)
    return found


def _scored(row: Sequence[float | None]) -> Score:
    from scipy.stats import ttest_ind_from_stats

    value, *others = (None if one is None else float(f"{one:.9g}") for one in row)
    twins = np.array([other for other in others if other is not None])
    if value is None or twins.size < len(others):
        return Score(value)
    equal = twins.min() == twins.max()
    mean, sd = (float(twins[0]), 0.0) if equal else (float(twins.mean()), float(twins.std(ddof=1)))
    if equal and value == mean:
        return Score(value, mean, sd)
    extreme = min((twins <= value).sum(), (twins >= value).sum())
    rank_p = min(1.0, 2 * (1 + int(extreme)) / (1 + twins.size))
    if equal:
        return Score(value, mean, sd, None, rank_p, rank_p)
    p = float(ttest_ind_from_stats(value, 0, 1, mean, sd, twins.size).pvalue)
    return Score(value, mean, sd, (value - mean) / sd, rank_p, p)
