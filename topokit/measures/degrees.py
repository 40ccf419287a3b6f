"""Degrees: how many edges leave and enter each node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Source, network


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
    def outgoing_range(self) -> tuple[int, int]:
        """Smallest and largest out-degree."""
        return int(self.outgoing.min()), int(self.outgoing.max())

    @property
    def incoming_range(self) -> tuple[int, int]:
        """Smallest and largest in-degree."""
        return int(self.incoming.min()), int(self.incoming.max())

    @property
    def constant(self) -> tuple[int | None, int | None]:
        """(out-degree, in-degree) that all nodes share, None for a side that varies: as `Promises.degrees` has it."""
        out, into = self.outgoing_range, self.incoming_range
        return (out[0] if out[0] == out[1] else None, into[0] if into[0] == into[1] else None)

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
