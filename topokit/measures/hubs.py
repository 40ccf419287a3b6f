"""Hubs: how unequal the degrees of a layer's nodes are.

Keys:
    layers of out, in of gini, top_1, top_10, max_over_mean: Gini coefficient of the degrees; share of the edges at the
        busiest 1 % and 10 % of the nodes, rounded up; largest degree over the mean
    mean_gini of out, in: means over the layers
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Layered
from topokit.measures._measure import Measure, Values, mean
from topokit.measures.degrees import degrees


@dataclass(frozen=True, slots=True)
class Inequality:
    """How unequally a layer's edges are spread over the nodes of one side; all None in a layer without edges.

    Args:
        gini: Gini coefficient of the degrees: 0 if all are equal, near 1 if a few nodes have all edges.
        top_1: share of the edges that the busiest 1 % of the nodes have, at least one node, rounded up.
        top_10: the same of the busiest 10 %.
        max_over_mean: largest degree over the mean one.
    """

    gini: float | None
    top_1: float | None
    top_10: float | None
    max_over_mean: float | None


def hubs(net: Layered) -> Iterator[tuple[Inequality, Inequality]]:
    """Yield the inequality of the out-degrees and of the in-degrees in each edge layer.

    Nodes without edges count: a picture's empty margin makes the degrees of its pixels unequal.

    Cost: O(edges + nodes log nodes) time, one layer in memory.

    Source: Hu & Wang 2008, "Unified index to quantifying heterogeneity of complex networks", Physica A 387:3769 (the
    Gini coefficient of degrees).

    >>> from topokit.topologies import Topology
    >>> [(out, into)] = hubs(Topology.from_dense([[[1, 1, 1], [1, 0, 0]]]))
    >>> out.gini, out.max_over_mean, into.top_10
    (0.25, 1.5, 0.5)
    """
    return ((inequality(layer.outgoing), inequality(layer.incoming)) for layer in degrees(net))


def inequality(side: NDArray[np.int64]) -> Inequality:
    """The inequality of some degrees, shape (nodes,). O(nodes log nodes)."""
    edges, nodes = int(side.sum()), side.size
    if edges == 0:
        return Inequality(None, None, None, None)
    ascending = np.sort(side)
    weights = 2 * np.arange(1, nodes + 1) - nodes - 1
    gini = float(weights.astype(np.float64) @ ascending) / (nodes * edges)
    top_1, top_10 = (int(ascending[nodes - ceil(nodes / share) :].sum()) / edges for share in (100, 10))
    return Inequality(gini, top_1, top_10, int(ascending[-1]) * nodes / edges)


def _values(found: Iterable[tuple[Inequality, Inequality]]) -> Values:
    layers = [{"out": out, "in": into} for out, into in found]
    return {"mean_gini": {side: mean(layer[side].gini for layer in layers) for side in ("out", "in")}, "layers": layers}


MEASURE = Measure(
    hubs,
    _values,
    cost=8,
    scalars={"mean Gini of out-degrees": "mean_gini.out", "mean Gini of in-degrees": "mean_gini.in"},
    columns={
        "Gini out": "out.gini",
        "top 10 % out": "out.top_10",
        "Gini in": "in.gini",
        "top 10 % in": "in.top_10",
    },
)
