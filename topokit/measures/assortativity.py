"""Assortativity: whether nodes of many edges are joined to nodes of many edges.

Keys:
    layers, mean: correlation, over a layer's edges, of the degrees at their two ends: positive if hubs join hubs
    hidden: for each hidden node layer, correlation of its nodes' in-degrees and out-degrees
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Layer, Layered
from topokit.measures._measure import Measure, mean
from topokit.reprs import short_repr


@dataclass(frozen=True, slots=True)
class Assortativity:
    """Correlations of degrees, each from -1 to 1; None where one of the two degrees does not vary.

    Args:
        layers: for each edge layer, Pearson's correlation over its edges of the source's out-degree and the target's
            in-degree, in this layer. Positive if hubs are joined to hubs, negative if they are joined to nodes
            of few edges.
        mean: mean over the edge layers in which it is defined.
        hidden: for each hidden node layer, Pearson's correlation over its nodes of the in-degree and the out-degree.
            Positive if the units that read much are those that are read much.
    """

    layers: tuple[float | None, ...]
    mean: float | None
    hidden: tuple[float | None, ...]

    __repr__ = short_repr


def assortativity(net: Layered) -> Assortativity:
    """Correlate the degrees at the two ends of each edge, and on the two sides of each hidden node.

    A network's degrees decide `hidden`, but not `layers`.

    Cost: O(edges) time, one layer in memory and about 16 bytes an edge.

    Source: Newman 2002, "Assortative mixing in networks", Physical Review Letters 89:208701.

    >>> from topokit.topologies import Topology
    >>> assortativity(Topology.from_dense([[[1, 1], [1, 0]], [[1, 1], [1, 0]]]))
    Assortativity(layers=(-0.5, -0.5), mean=-0.5, hidden=(1.0,))
    """
    layers, hidden, before = [], [], None
    for layer in net.stream():
        layers.append(_of_edges(layer))
        if before is not None:
            hidden.append(_of_nodes(before, layer.out_degrees))
        before = layer.in_degrees
    return Assortativity(tuple(layers), mean(layers), tuple(hidden))


def _of_edges(layer: Layer) -> float | None:
    """Weight each node by its edges, which needs no other array of edges than the layer itself."""
    out, into = layer.out_degrees, layer.in_degrees
    if not (_varies(out[out > 0]) and _varies(into[into > 0])):
        return None
    one, two = (side - float(side @ side) / layer.edges for side in (out, into))
    common = float(one @ (layer.to_scipy(np.float64) @ two))
    return _within(common / float(out @ one**2 * (into @ two**2)) ** 0.5)


def _of_nodes(into: NDArray[np.int64], out: NDArray[np.int64]) -> float | None:
    if not (_varies(into) and _varies(out)):
        return None
    return _within(float(np.corrcoef(into, out)[0, 1]))


def _varies(degrees: NDArray[np.int64]) -> bool:
    return degrees.size > 0 and bool(degrees.min() < degrees.max())


def _within(correlation: float) -> float:
    """Without what rounding may have put beyond 1; the same to the last digit on every machine is not promised."""
    return max(-1.0, min(1.0, round(correlation, 12)))


MEASURE = Measure(assortativity, cost=30, scalars={"mean assortativity": "mean"}, columns={"assortativity": ""})
