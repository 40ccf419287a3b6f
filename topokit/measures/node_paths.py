"""Node paths: how many paths end in, begin at and run through each node, exactly.

Keys:
    total, log2_mean: paths from any input to any output, exactly; log2 of their mean over all pairs
    busiest: for each node layer, the paths through its busiest node over the mean of its nodes: 1 if all have as many
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.layered import Layered
from topokit.measures._classes import Labels
from topokit.measures._limbs import to_integers
from topokit.measures._measure import Measure, Values, shown
from topokit.measures._sweep import Sweep
from topokit.reprs import short_repr


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """A number of paths for each node of one node layer.

    Args:
        counts: the number of each class of nodes that share one.
        node_class: shape (nodes,), the class of each node.
    """

    counts: NDArray[np.object_]
    node_class: Labels

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class NodePaths:
    """The paths that meet each node, counted with those from all inputs and to all outputs.

    Args:
        into: for each node layer, the paths from any input to each node; 1 for an input itself.
        out_of: for each node layer, the paths from each node to any output; 1 for an output itself.
    """

    into: tuple[Totals, ...]
    out_of: tuple[Totals, ...]

    __repr__ = short_repr

    @cached_property
    def total(self) -> int:
        """Paths from any input to any output."""
        return int((self.into[-1].counts[self.into[-1].node_class]).sum())

    def through(self, i: int) -> NDArray[np.object_]:
        """Paths from any input to any output through each node of node layer i: shape (nodes,), Python integers."""
        into, out_of = self.into[i], self.out_of[i]
        through: NDArray[np.object_] = into.counts[into.node_class] * out_of.counts[out_of.node_class]
        return through

    def shares(self, i: int) -> NDArray[np.float64]:
        """The share of all paths that runs through each node of node layer i; all 0 where there is no path."""
        shares: NDArray[np.float64] = (self.through(i) / max(self.total, 1)).astype(np.float64)
        return shares


def node_paths(net: Layered) -> NodePaths:
    """Count the paths into, out of and through every node. Exact.

    Raises:
        TooLargeError: not enough free memory.

    Cost: two passes, O(edges * limbs) at worst, with 32 bits of the counts in a limb; O(edges) where the nodes
    of a layer have few different counts. Memory: one Python integer for each count that occurs in a layer,
    and 16 bytes a node.

    >>> from topokit.families.radix_net import RadixNet
    >>> found = node_paths(RadixNet(radices=[(2, 3)], kron=(1, 2, 1)))
    >>> found.total, set(found.through(1))
    (72, {6})
    """
    into = _totals(net, reverse=False)
    return NodePaths(tuple(into), tuple(reversed(_totals(net, reverse=True))))


def _totals(net: Layered, *, reverse: bool) -> list[Totals]:
    """The number of paths between all nodes at one end and each node, node layer by node layer from that end."""
    sweep = Sweep(net, reverse=reverse, together=True)
    totals = [Totals(np.array([1], np.object_), sweep.start_class)]
    while not sweep.done:
        sweep.advance()
        classes, limbs, _ = sweep.counts.shape
        require_memory((40 + 4 * limbs) * classes + 8 * sweep.node_class.size, "the path count of every node")
        totals.append(Totals(sweep.factor * to_integers(sweep.counts)[:, 0], sweep.node_class))
    return totals


def _values(found: NodePaths) -> Values:
    widths = [layer.node_class.size for layer in found.into]
    return {
        "total": found.total,
        "log2_mean": log2(found.total) - log2(widths[0] * widths[-1]) if found.total else None,
        "busiest": [float(found.shares(i).max() * width) for i, width in enumerate(widths)],
    }


def _line(values: Values) -> dict[str, str]:
    hidden = [share for share in values["busiest"][1:-1] if share is not None]
    busiest = f"; the busiest hidden unit has {max(hidden):.3g} times the mean of its layer" if hidden else ""
    return {"all paths": shown(values["total"]) + busiest}


MEASURE = Measure(
    node_paths,
    _values,
    counts=("total",),
    line=_line,
    cost=150,
    scalars={
        "log2 of mean paths": "log2_mean",
        "busiest unit": lambda values: max(values["busiest"][1:-1], default=None),
    },
)
