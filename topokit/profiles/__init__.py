"""Profiles: what is worth knowing of a network at a glance, gathered from the measures as plain numbers.

A measure that is to be seen in `topokit info` has a function and a line in PARTS, in `_parts.py`; one that networks are
compared by has a line in SCALARS there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from topokit.errors import InvalidSpecError, TooLargeError
from topokit.fields import names_of
from topokit.layered import Source, network
from topokit.profiles._parts import ON_REQUEST, PARTS, SCALARS, Values
from topokit.reprs import short_repr
from topokit.spec import Spec

__all__ = ["ON_REQUEST", "PARTS", "SCALARS", "SECONDS", "Profile", "profile"]

SECONDS = 5.0
"""What a measure may take before a profile that was not asked for it by name leaves it out."""

HELD = 2**24
"""Edges of a spec up to which it is built, so that what takes time to draw is not drawn by every measure again."""


@dataclass(frozen=True)
class Profile:
    """What was measured of one network.

    Args:
        measures: name of a measure -> its values, ready for `json.dumps`; docs/measures.md says which.
        skipped: name of a measure -> why it was left out.
    """

    measures: Mapping[str, Values]
    skipped: Mapping[str, str]

    __repr__ = short_repr

    def scalars(self) -> dict[str, float | None]:
        """The numbers that networks are compared by, of the measures that are there; None where undefined."""
        return {label: read(self.measures[name]) for label, (name, read) in SCALARS.items() if name in self.measures}

    @property
    def layers(self) -> list[Values]:
        """For each edge layer, measure -> what it says of that layer."""
        parts = {name: values["layers"] for name, values in self.measures.items() if "layers" in values}
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def profile(net: Source, names: str | Iterable[str] | None = None, *, seconds: float = SECONDS) -> Profile:
    """Measure a network.

    Args:
        net: a topology, its description or its file.
        names: the measures to take, one or several of PARTS; where left out all but `paths` and `sampled-paths`,
            and without `cost` where an edge stands for a filter.
        seconds: leave out a measure that, as an estimate on the safe side says, may take longer.

    Raises:
        InvalidSpecError: no measure of such a name.
        TooLargeError: not enough free memory for a spec of at most 2^24 edges.

    Cost: at most about `seconds` for each measure; one that needs more memory than there is free is left out.

    >>> from topokit.families.radix_net import RadixNet
    >>> found = profile(RadixNet(radices=[(2, 2, 2)], kron=(10, 10)), ["reach", "path-statistics"])
    >>> found.measures["reach"]["disconnected_pairs"], found.measures["path-statistics"]["max"]
    (0, '100')
    """
    wanted = [name for name in PARTS if name not in ON_REQUEST] if names is None else list(names_of(names, "`names`"))
    net = network(net)
    for name in wanted:
        if name not in PARTS:
            raise InvalidSpecError(f"no measure named {name!r}: known: {', '.join(PARTS)}")
    if isinstance(net, Spec) and net.edges <= HELD:
        net = net.build()
    measures: dict[str, Values] = {}
    skipped: dict[str, str] = {}
    for name in (name for name in PARTS if name in wanted):
        if name == "cost" and net.by_channel and names is None:
            skipped[name] = "an edge stands for a whole filter, which is several weights"
            continue
        describe, edge, edge_and_input = PARTS[name]
        estimate = 1e-9 * net.edges * (edge + edge_and_input * net.widths[0])
        if estimate > seconds:
            skipped[name] = f"may take {estimate:,.0f} s"
            continue
        try:
            measures[name] = describe(net, seconds)
        except TooLargeError as error:
            skipped[name] = str(error)
    return Profile(measures, skipped)
