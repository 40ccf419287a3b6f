"""Clustering: how often two nodes that share a neighbour share another one. Counted exactly.

Keys:
    cycles, layers of cycles, coefficient: 4-cycles (two sources that share two targets), exactly; the share of paths of
        three edges that a fourth one closes
    coefficient: the same share over all layers together
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.errors import TooLargeError
from topokit.layered import Layer, Layered
from topokit.measures._measure import Measure, Values, each_layer
from topokit.reprs import in_words

BLOCK = 2**22
"""Steps whose results are held at a time: 16 bytes each."""


@dataclass(frozen=True, slots=True)
class LayerClustering:
    """The shortest cycles of one edge layer, which, being bipartite, has no triangles.

    Args:
        cycles: 4-cycles: two sources that share two targets.
        three_paths: paths of three edges within the layer, each of which a fourth edge may close.
    """

    cycles: int
    three_paths: int

    @property
    def coefficient(self) -> float | None:
        """Share of the paths of three edges that are closed: each cycle closes four. None where there is no path."""
        return 4 * self.cycles / self.three_paths if self.three_paths else None


def clustering(net: Layered, *, budget: float = inf) -> Iterator[LayerClustering]:
    """The 4-cycles of each edge layer, one layer after another; layers known to be equal are read once.

    Args:
        net: any network.
        budget: largest number of steps in all, each a pair of edges that meet at a node.

    Raises:
        TooLargeError: more steps than `budget`.

    Cost: the sum of the squared degrees of one side, that with the lesser sum, at some 5 ns each; 64 MiB.

    Source: Robins & Alexander 2004, "Small worlds among interlocking directors", Computational & Mathematical
    Organization Theory 10:69 (the coefficient); Latapy, Magnien & Del Vecchio 2008, "Basic notions for the analysis of
    large two-mode networks", Social Networks 30:31.

    >>> from topokit.topologies import Topology
    >>> [found] = clustering(Topology.from_dense([[[1, 1, 1], [1, 1, 0], [0, 1, 0]]]))
    >>> found, found.coefficient
    (LayerClustering(cycles=1, three_paths=9), 0.4444444444444444)
    """
    left = budget

    def measure(layer: Layer) -> LayerClustering:
        nonlocal left
        left -= min(int(side @ side) for side in (layer.out_degrees, layer.in_degrees))
        if left < 0:
            raise TooLargeError(f"counting 4-cycles needs more than {budget:,.0f} steps")
        return LayerClustering(_four_cycles(layer), _three_paths(layer))

    return each_layer(net, measure)


def _four_cycles(layer: Layer) -> int:
    """Pairs of nodes of one side, each counted as often as it has pairs of common neighbours."""
    rows, degrees = layer.to_scipy(np.int64), layer.out_degrees
    if degrees @ degrees < layer.in_degrees @ layer.in_degrees:
        rows, degrees = rows.T.tocsr(), layer.in_degrees
    columns = rows.T.tocsr()
    twice = -int((degrees * (degrees - 1) // 2).sum())  # a node with itself
    for low, high in _blocks(rows @ columns.sum(axis=1)):
        common = (rows[low:high] @ columns).data
        twice += int((common * (common - 1) // 2).sum())
    return twice // 2


def _blocks(steps: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows that take about BLOCK steps each, and never less than a row."""
    part = np.cumsum(steps) // BLOCK
    return pairwise([0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), steps.size])


def _three_paths(layer: Layer) -> int:
    """Each edge in the middle, with one more edge at either end. Integers of any size."""
    further: Any = layer.to_scipy(np.int64) @ (layer.in_degrees - 1)
    return int((layer.out_degrees - 1).astype(object) @ further.astype(object))


def _counted(found: LayerClustering) -> Values:
    return {"cycles": found.cycles, "coefficient": found.coefficient}


def _values(found: list[LayerClustering]) -> Values:
    whole = LayerClustering(sum(layer.cycles for layer in found), sum(layer.three_paths for layer in found))
    return {**_counted(whole), "layers": list(map(_counted, found))}


MEASURE = Measure(
    clustering,
    _values,
    counts=("cycles",),
    cost=40,
    step=8e-9,
    scalars={"clustering": "coefficient"},
    columns={"4-cycles": lambda layer: in_words(layer["cycles"]), "clustering": "coefficient"},
)
