"""Profiles: what is worth knowing of a network at a glance, gathered from the measures as plain numbers.

A measure that is to be seen in `topokit info` has a function here and a line in PARTS; one that networks are
compared by has a line in SCALARS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import log2
from typing import Any

import numpy as np

from topokit.checks.result import decimal
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.layered import Layered
from topokit.measures import MEASURES
from topokit.spec import Spec

SECONDS = 5.0
"""What a measure may take before a profile that was not asked for it by name leaves it out."""

PRODUCT = 5e-9
"""Seconds that a limb product of path counting takes, sorting included (measured)."""

HELD = 2**24
"""Edges of a spec up to which it is built, so that what takes time to draw is not drawn by every measure again."""

EXACT = 2**53
"""Integers up to here are numbers in JSON, those above decimal strings."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """What was measured of one network.

    Args:
        measures: name of a measure -> its values, ready for `json.dumps`; docs/measures.md says which.
        skipped: name of a measure -> why it was left out.
    """

    measures: Mapping[str, Values]
    skipped: Mapping[str, str]

    def scalars(self) -> dict[str, float | None]:
        """The numbers that networks are compared by, of the measures that are there; None where undefined."""
        return {label: read(self.measures[name]) for label, (name, read) in SCALARS.items() if name in self.measures}

    @property
    def layers(self) -> list[Values]:
        """For each edge layer, measure -> what it says of that layer."""
        parts = {name: values["layers"] for name, values in self.measures.items() if "layers" in values}
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def profile(net: Layered, names: Iterable[str] | None = None, *, seconds: float = SECONDS) -> Profile:
    """Measure a network.

    Args:
        net: any network.
        names: the measures to take, of PARTS; where left out all but `paths` and `sampled-paths`.
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
    wanted = [name for name in PARTS if name not in ON_REQUEST] if names is None else list(names)
    for name in wanted:
        if name not in PARTS:
            raise InvalidSpecError(f"no measure named {name!r}: known: {', '.join(PARTS)}")
    if isinstance(net, Spec) and net.edges <= HELD:
        net = net.build()
    measures: dict[str, Values] = {}
    skipped: dict[str, str] = {}
    for name in (name for name in PARTS if name in wanted):
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


def _density(net: Layered, _: float) -> Values:
    found = MEASURES["density"](net)
    return {"whole": float(found.whole), "layers": list(map(float, found.layers))}


def _cost(net: Layered, _: float) -> Values:
    return asdict(MEASURES["cost"](net))


def _degrees(net: Layered, _: float) -> Values:
    both = (layer.distribution for layer in MEASURES["degrees"](net))
    return {"layers": [{"out": out, "in": into} for out, into in both]}


def _effective(net: Layered, _: float) -> Values:
    found = MEASURES["effective"](net)
    return {
        "edges": found.edges,
        "density": float(found.density.whole),
        "dead_units": [nodes.size for nodes in found.dead],
        "layers": list(found.layer_edges),
    }


def _reach(net: Layered, _: float) -> Values:
    found = MEASURES["reach"](net)
    return {
        "disconnected_pairs": found.disconnected,
        "disconnected_pair": found.disconnected_pair and list(found.disconnected_pair),
    }


def _paths(net: Layered, seconds: float) -> Values:
    found = MEASURES["paths"](net, budget=seconds / PRODUCT)
    return {
        "min": decimal(found.least),
        "max": decimal(found.greatest),
        "min_pair": list(found.least_pair),
        "max_pair": list(found.greatest_pair),
    }


def _path_statistics(net: Layered, seconds: float) -> Values:
    found = MEASURES["path-statistics"](net, budget=seconds / PRODUCT)
    return {
        "min": decimal(found.counts[0]),
        "max": decimal(found.counts[-1]),
        "mean": _number(found.mean),
        "median": _number(found.median),
        "variation": found.variation,
        "disconnected_share": found.disconnected / found.total_pairs,
    }


def _sampled_paths(net: Layered, seconds: float) -> Values:
    found = MEASURES["sampled-paths"](net, budget=seconds / PRODUCT)
    median = map(decimal, found.median)
    return {
        "pairs": found.pairs,
        "confidence": found.confidence,
        "disconnected_share": asdict(found.disconnected),
        "median": dict(zip(("estimate", "low", "high"), median, strict=True)),
        "min": decimal(found.least),
        "max": decimal(found.greatest),
    }


def _node_paths(net: Layered, _: float) -> Values:
    found = MEASURES["node-paths"](net)
    pairs = net.widths[0] * net.widths[-1]
    return {
        "total": decimal(found.total),
        "log2_mean": log2(found.total) - log2(pairs) if found.total else None,
        "busiest": [float(found.shares(i).max() * width) for i, width in enumerate(net.widths)],
    }


def _twins(net: Layered, _: float) -> Values:
    found = [(*quotient.shape, quotient.edges) for quotient in MEASURES["twins"](net)]
    return {
        "edges": sum(edges for _, _, edges in found),
        "layers": [{"sources": sources, "targets": targets, "edges": edges} for sources, targets, edges in found],
    }


def _structure(net: Layered, _: float) -> Values:
    return {"layers": list(map(str, MEASURES["structure"](net)))}


def _spectra(net: Layered, _: float) -> Values:
    layers = [
        {
            "singular_values": list(found.values),
            "components": found.components,
            "ratio": found.ratio,
            "ramanujan_margin": found.ramanujan_margin,
        }
        for found in MEASURES["spectra"](net)
    ]
    ratios = [layer["ratio"] for layer in layers if layer["ratio"] is not None]
    return {"mean_ratio": float(np.mean(ratios)) if ratios else None, "layers": layers}


def _end_to_end(net: Layered, _: float) -> Values:
    found = MEASURES["end-to-end"](net)
    return {"log2_largest": found.log2_largest, "ratios": list(found.ratios)}


def _number(value: Fraction) -> float | str:
    return float(value) if value < EXACT else decimal(round(value))


PARTS: Mapping[str, tuple[Callable[[Layered, float], Values], float, float]] = {
    "density": (_density, 0, 0),
    "cost": (_cost, 0, 0),
    "degrees": (_degrees, 8, 0),
    "effective": (_effective, 8, 0),
    "reach": (_reach, 30, 0.02),
    "paths": (_paths, 40, 0),
    "path-statistics": (_path_statistics, 40, 0),
    "sampled-paths": (_sampled_paths, 40, 0),
    "node-paths": (_node_paths, 150, 0),
    "twins": (_twins, 250, 0),
    "structure": (_structure, 300, 0),
    "spectra": (_spectra, 1000, 0),
    "end-to-end": (_end_to_end, 600, 0),
}
"""Measure -> its values, from a network and a limit of seconds; and what it may take, in nanoseconds an edge, and an
edge and input: measured on one core with random networks, which fold least."""

ON_REQUEST = ("paths", "sampled-paths")
"""Measures that say less than others do, or the same at random: taken only if they are named."""

SCALARS: Mapping[str, tuple[str, Callable[[Values], float | None]]] = {
    "density": ("density", lambda values: values["whole"]),
    "effective density": ("effective", lambda values: values["density"]),
    "dead units": ("effective", lambda values: sum(values["dead_units"])),
    "disconnected pairs": ("reach", lambda values: values["disconnected_pairs"]),
    "log2 of mean paths": ("node-paths", lambda values: values["log2_mean"]),
    "variation of paths": ("path-statistics", lambda values: values["variation"]),
    "busiest unit": ("node-paths", lambda values: max(values["busiest"][1:-1], default=None)),
    "quotient edges": ("twins", lambda values: values["edges"]),
    "mean sigma_2/sigma_1": ("spectra", lambda values: values["mean_ratio"]),
    "end-to-end sigma_2/sigma_1": ("end-to-end", lambda values: (*values["ratios"], None, None)[1]),
}
"""What networks are compared by -> its measure, and where it stands among that measure's values."""
