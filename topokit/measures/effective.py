"""Effective density: the edges that lie on a path from an input to an output, and the units that do not.

Keys:
    edges, density, layers: edges that lie on a path from an input to an output, all over all possible ones, and in each
        layer
    dead_units, no_input, no_output: for each node layer, the nodes that no input reaches or that reach no output; those
        of the first kind, and of the second
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Layer, Layered
from topokit.measures._classes import Labels
from topokit.measures._measure import Measure, Values
from topokit.measures.density import Density, density_of
from topokit.reprs import short_repr

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Effective:
    """What is left of a network where only what lies on a path from an input to an output counts.

    Args:
        layer_edges: effective edges of each edge layer.
        density: these over all possible edges; effective sparsity is one minus it.
        dead: for each node layer, the numbers of its dead units: nodes that no input reaches, or that reach
            no output.
        no_input: for each node layer, the dead units that no input reaches: what they give is constant.
        no_output: for each node layer, the dead units that reach no output: what they compute is lost. A unit may be
            in both.
    """

    layer_edges: tuple[int, ...]
    density: Density
    dead: tuple[Labels, ...]
    no_input: tuple[Labels, ...]
    no_output: tuple[Labels, ...]

    __repr__ = short_repr

    @property
    def edges(self) -> int:
        """Number of effective edges."""
        return sum(self.layer_edges)


def effective(net: Layered) -> Effective:
    """Count the edges whose tail is reached by an input and whose head reaches an output. Exact.

    The other edges hold weights that change nothing, so the network is sparser than it seems.

    Cost: two passes, O(edges) time; at most one byte a node and one layer in memory.
    Source: Vysogorets & Kempe 2021, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity", arXiv:2107.02306.

    >>> from topokit.topologies import Topology
    >>> found = effective(Topology.from_dense([[[1, 1, 0]], [[1], [0], [1]]]))
    >>> found.layer_edges, [nodes.tolist() for nodes in found.dead]
    ((1, 1), [[], [1, 2], []])
    """
    ends = useful(net)
    reached = np.ones(net.widths[0], np.bool_)
    edges, from_inputs = [], [reached]
    for layer, useful_targets in zip(net.stream(), ends[1:], strict=True):
        edges.append(int(_degrees_into(layer, useful_targets)[reached].sum()))
        reached = _shrunk(_fed(layer, reached))
        from_inputs.append(reached)
    alive = (one & other for one, other in zip(from_inputs, ends, strict=True))
    missing = (tuple(np.flatnonzero(~flags) for flags in layers) for layers in (alive, from_inputs, ends))
    return Effective(tuple(edges), density_of(edges, net.widths), *missing)


def useful(net: Layered) -> list[Flags]:
    """For each node layer, which nodes reach an output. One pass backwards, O(edges)."""
    flags = [np.ones(net.widths[-1], np.bool_)]
    for layer in net.stream(reverse=True):
        flags.append(_shrunk(_degrees_into(layer, flags[-1]) > 0))
    return flags[::-1]


def _shrunk(flags: Flags) -> Flags:
    """The same flags, read-only; in the memory of one if all are equal."""
    return np.broadcast_to(flags[0].copy(), flags.shape) if flags.all() or not flags.any() else flags


def _degrees_into(layer: Layer, targets: Flags) -> NDArray[np.int64]:
    """Edges of each source that lead to one of these targets. O(sources) for all targets, else O(edges)."""
    if targets.all():
        return layer.out_degrees
    degrees: NDArray[np.int64] = (layer.to_scipy(np.uint32) @ targets.astype(np.uint32)).astype(np.int64)
    return degrees


def _fed(layer: Layer, sources: Flags) -> Flags:
    """The targets that one of these sources feeds."""
    if sources.all():
        return layer.in_degrees > 0
    fed: Flags = layer.to_scipy(np.uint32).T @ sources.astype(np.uint32) > 0
    return fed


def _values(found: Effective) -> Values:
    dead = {"dead_units": found.dead, "no_input": found.no_input, "no_output": found.no_output}
    return {
        "edges": found.edges,
        "density": found.density.whole,
        **{key: [nodes.size for nodes in layers] for key, layers in dead.items()},
        "layers": found.layer_edges,
    }


def _line(values: Values) -> dict[str, str]:
    layers = [f"{units:,} in node layer {i}" for i, units in enumerate(values["dead_units"]) if units]
    where = f": {', '.join(layers)}" if 0 < len(layers) <= 4 else ""
    lines = {
        "effective": f"{values['edges']:,} edges, density {values['density']:.6g}",
        "dead units": f"{sum(values['dead_units']):,}{where}",
    }
    if layers:
        no_input, no_output = sum(values["no_input"]), sum(values["no_output"])
        lines[""] = f"{no_input:,} that no input reaches, {no_output:,} that reach no output"
    return lines


MEASURE = Measure(
    effective,
    _values,
    cost=8,
    scalars={"effective density": "density", "dead units": lambda values: sum(values["dead_units"])},
    columns={"effective": ""},
    line=_line,
)
