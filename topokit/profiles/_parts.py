"""The parts of a profile: what each measure says, in values that JSON holds; and what networks are compared by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from fractions import Fraction
from math import log2
from typing import Any

import numpy as np

from topokit.checks.result import decimal
from topokit.errors import TooLargeError
from topokit.layered import Layered
from topokit.measures import MEASURES
from topokit.measures.modularity import seconds_for

PRODUCT = 5e-9
"""Seconds that a limb product of path counting takes, sorting included (measured)."""

STEP = 8e-9
"""Seconds that a step of counting 4-cycles takes (measured)."""

EXACT = 2**53
"""Integers up to here are numbers in JSON, those above decimal strings."""

Values = dict[str, Any]


def _density(net: Layered, _: float) -> Values:
    found = MEASURES["density"](net)
    return {"whole": float(found.whole), "layers": list(map(float, found.layers))}


def _cost(net: Layered, _: float) -> Values:
    return asdict(MEASURES["cost"](net))


def _degrees(net: Layered, _: float) -> Values:
    found = list(MEASURES["degrees"](net))
    both = (layer.distribution for layer in found)
    return {"inputs": found[0].outgoing.tolist(), "layers": [{"out": out, "in": into} for out, into in both]}


def _hubs(net: Layered, _: float) -> Values:
    layers = [{"out": asdict(found.outgoing), "in": asdict(found.incoming)} for found in MEASURES["hubs"](net)]
    means = {side: _mean([layer[side]["gini"] for layer in layers]) for side in ("out", "in")}
    return {"mean_gini": means, "layers": layers}


def _assortativity(net: Layered, _: float) -> Values:
    found = MEASURES["assortativity"](net)
    return {"mean": found.mean, "hidden": list(found.hidden), "layers": list(found.layers)}


def _clustering(net: Layered, seconds: float) -> Values:
    found = list(MEASURES["clustering"](net, budget=seconds / STEP))
    cycles, three_paths = (sum(getattr(layer, key) for layer in found) for key in ("cycles", "three_paths"))
    layers = [{"cycles": decimal(layer.cycles), "coefficient": layer.coefficient} for layer in found]
    return {
        "cycles": decimal(cycles),
        "coefficient": 4 * cycles / three_paths if three_paths else None,
        "layers": layers,
    }


def _modularity(net: Layered, seconds: float) -> Values:
    estimate = seconds_for(net)
    if estimate > seconds:
        raise TooLargeError(f"may take {estimate:,.0f} s")
    found = MEASURES["modularity"](net)
    return {"value": found.value, "communities": found.count}


def _effective(net: Layered, _: float) -> Values:
    found = MEASURES["effective"](net)
    return {
        "edges": found.edges,
        "density": float(found.density.whole),
        "dead_units": [nodes.size for nodes in found.dead],
        "no_input": [nodes.size for nodes in found.no_input],
        "no_output": [nodes.size for nodes in found.no_output],
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
    return {"mean_ratio": _mean([layer["ratio"] for layer in layers]), "layers": layers}


def _end_to_end(net: Layered, _: float) -> Values:
    found = MEASURES["end-to-end"](net)
    return {"log2_largest": found.log2_largest, "ratios": list(found.ratios)}


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _number(value: Fraction) -> float | str:
    return float(value) if value < EXACT else decimal(round(value))


PARTS: Mapping[str, tuple[Callable[[Layered, float], Values], float, float]] = {
    "density": (_density, 0, 0),
    "cost": (_cost, 0, 0),
    "degrees": (_degrees, 8, 0),
    "hubs": (_hubs, 8, 0),
    "assortativity": (_assortativity, 30, 0),
    "clustering": (_clustering, 40, 0),
    "effective": (_effective, 8, 0),
    "reach": (_reach, 30, 0.02),
    "paths": (_paths, 40, 0),
    "path-statistics": (_path_statistics, 40, 0),
    "sampled-paths": (_sampled_paths, 40, 0),
    "node-paths": (_node_paths, 150, 0),
    "modularity": (_modularity, 0, 0),
    "twins": (_twins, 80, 0),
    "structure": (_structure, 300, 0),
    "spectra": (_spectra, 1000, 0),
    "end-to-end": (_end_to_end, 600, 0),
}
"""Measure -> its values, from a network and a limit of seconds; and what it may take, in nanoseconds an edge, and an
edge and input: measured on one core with random networks, which fold least. Path counts, clustering and modularity
look at the limit themselves."""

ON_REQUEST = ("paths", "sampled-paths")
"""Measures that say less than others do, or the same at random: taken only if they are named."""

SCALARS: Mapping[str, tuple[str, Callable[[Values], float | None]]] = {
    "density": ("density", lambda values: values["whole"]),
    "effective density": ("effective", lambda values: values["density"]),
    "mean Gini of out-degrees": ("hubs", lambda values: values["mean_gini"]["out"]),
    "mean Gini of in-degrees": ("hubs", lambda values: values["mean_gini"]["in"]),
    "mean assortativity": ("assortativity", lambda values: values["mean"]),
    "clustering": ("clustering", lambda values: values["coefficient"]),
    "modularity": ("modularity", lambda values: values["value"]),
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
