"""Degrees: how many edges leave and enter each node.

Keys:
    inputs: the out-degree of each input, in their order: `topokit draw --style pixels` draws them as an image
    layers of out, in: each degree that occurs and how many nodes have it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Source, network
from topokit.measures._measure import Measure, Values


@dataclass(frozen=True, slots=True, eq=False)
class LayerDegrees:
    """The degrees of one edge layer's nodes, counting this layer's edges only.

    Args:
        outgoing: shape (sources,), edges that leave each source.
        incoming: shape (targets,), edges that enter each target.
    """

    outgoing: NDArray[np.int64]
    incoming: NDArray[np.int64]

    @property
    def constant(self) -> tuple[int | None, int | None]:
        """(out-degree, in-degree) that all nodes share, None for a side that varies: as `Promises.degrees` has it."""
        out, into = (int(side[0]) if (side == side[0]).all() else None for side in (self.outgoing, self.incoming))
        return out, into

    @property
    def distribution(self) -> tuple[dict[int, int], dict[int, int]]:
        """(out-degrees, in-degrees): each degree that occurs, ascending, and how many nodes have it."""
        return _histogram(self.outgoing), _histogram(self.incoming)


def degrees(net: Source) -> Iterator[LayerDegrees]:
    """The degrees of each edge layer, one layer after another. O(edges) time, one layer in memory.

    >>> from topokit.families.radix_net import RadixNet
    >>> [layer.constant for layer in degrees(RadixNet(radices=[(2, 5)], kron=(1, 3, 1)))]
    [(6, 2), (5, 15)]
    """
    return (LayerDegrees(layer.out_degrees, layer.in_degrees) for layer in network(net).stream())


def _histogram(side: NDArray[np.int64]) -> dict[int, int]:
    found, nodes = np.unique(side, return_counts=True)
    return dict(zip(found.tolist(), nodes.tolist(), strict=True))


def _values(found: list[LayerDegrees]) -> Values:
    both = (layer.distribution for layer in found)
    return {"inputs": found[0].outgoing.tolist(), "layers": [{"out": out, "in": into} for out, into in both]}


def _line(values: Values) -> dict[str, str]:
    inputs = values["inputs"]
    low, high = min(inputs), max(inputs)
    if low == high:
        return {"inputs": f"{high:,} edges each"}
    without = f", {inputs.count(0):,} of {len(inputs):,} without edges" if low == 0 else ""
    return {"inputs": f"{low:,} to {high:,} edges each, most at input {inputs.index(high)}{without}"}


def _span(side: dict[int, int]) -> int | str:
    low, high = min(side), max(side)
    return low if low == high else f"{low}..{high}"


MEASURE = Measure(
    degrees,
    _values,
    cost=8,
    columns={"out-degree": lambda layer: _span(layer["out"]), "in-degree": lambda layer: _span(layer["in"])},
    line=_line,
)
