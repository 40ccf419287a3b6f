"""Profiles: the measures of a network, gathered as plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from topokit.errors import TooLargeError
from topokit.fields import names_of
from topokit.layered import Source, network
from topokit.measures import MEASURES
from topokit.measures._measure import Values, read
from topokit.reprs import Tabular, cell, short_repr
from topokit.spec import Spec

SECONDS = 5.0
"""Most seconds of a measure that is not asked for by name."""

BUILT = 2**24
"""Edges of a spec up to which it is built, so that the measures do not draw a random network again and again."""


@dataclass(frozen=True)
class Profile(Tabular):
    """The measures of one network. A table of its layers in a notebook and as a frame.

    Args:
        widths: number of nodes in each node layer.
        layer_edges: number of edges in each edge layer.
        measures: name of a measure -> its values, ready for `json.dumps`; docs/measures.md defines them.
        skipped: name of a measure -> why it was skipped.
    """

    widths: tuple[int, ...]
    layer_edges: tuple[int, ...]
    measures: Mapping[str, Values]
    skipped: Mapping[str, str]

    __repr__ = short_repr

    def scalars(self) -> dict[str, float | None]:
        """Return the numbers that networks are compared by; None if undefined."""
        found = [(MEASURES[name].scalars, values) for name, values in self.measures.items()]
        return {label: read(reader, values) for scalars, values in found for label, reader in scalars.items()}

    @property
    def title(self) -> str:
        """The numbers that networks are compared by, in a line."""
        return ", ".join(f"{label} {cell(value)}" for label, value in self.scalars().items())

    def records(self) -> list[dict[str, Any]]:
        """Return shape and measures of each edge layer, by the headings of `topokit info`."""
        columns = {
            heading: [read(reader, layer) for layer in values["layers"]]
            for name, values in self.measures.items()
            for heading, reader in MEASURES[name].columns.items()
        }
        return [
            {"layer": i, "sources": sources, "targets": targets, "edges": edges}
            | {heading: cells[i] for heading, cells in columns.items()}
            for i, ((sources, targets), edges) in enumerate(zip(pairwise(self.widths), self.layer_edges, strict=True))
        ]


def profile(net: Source, names: str | Iterable[str] | None = None, *, seconds: float = SECONDS) -> Profile:
    """Measure a network.

    Args:
        net: a topology, its description or its file.
        names: the measures to take, one or several of MEASURES. By default all but `paths` and `sampled-paths`, and
            without `cost` if an edge stands for a filter.
        seconds: skip a measure that may take longer by a safe estimate.

    Raises:
        InvalidSpecError: no measure of such a name.
        TooLargeError: not enough free memory for a spec of at most 2^24 edges.

    Cost: at most about `seconds` for each measure. A measure that needs more memory than is free is skipped.

    >>> from topokit.families.radix_net import RadixNet
    >>> found = profile(RadixNet(radices=[(2, 2, 2)], kron=(10, 10)), ["reach", "path-statistics"])
    >>> found.measures["reach"]["disconnected_pairs"], found.measures["path-statistics"]["max"]
    (0, '100')
    """
    default = (name for name in MEASURES if not MEASURES[name].on_request)
    wanted = {name: MEASURES[name] for name in (default if names is None else names_of(names, "`names`"))}
    net = network(net)
    if isinstance(net, Spec) and net.edges <= BUILT:
        net = net.build()
    measures: dict[str, Values] = {}
    skipped: dict[str, str] = {}
    for name in sorted(wanted, key=list(MEASURES).index):
        if names is None and net.by_channel and not wanted[name].by_channel:
            skipped[name] = "an edge stands for a whole filter, which is several weights"
            continue
        try:
            measures[name] = wanted[name].measured(net, seconds)
        except TooLargeError as error:
            skipped[name] = str(error)
    return Profile(net.widths, net.layer_edges, measures, skipped)
