"""Twins: equivalent nodes, which have the same neighbours, and the quotient, in which each class of them is one node.

Keys:
    edges, layers of sources, targets, edges: classes of nodes that have the same neighbours in an edge layer, on both
        sides, without nodes that have no edges, and the edges between classes: the quotient graph
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Layer, Layered
from topokit.measures._classes import Labels, twins
from topokit.measures._measure import Measure, Values, each_layer


@dataclass(frozen=True, slots=True, eq=False)
class Quotient:
    """An edge layer in which each class of equivalent nodes is one node.

    Args:
        source_class: shape (sources,), the class of each source, numbered by their first nodes; -1 where a
            node has no edge in this layer.
        target_class: shape (targets,), likewise.
        sources: shape (quotient edges,), the class of each edge's source.
        targets: shape (quotient edges,), the class of each edge's target.
    """

    source_class: Labels
    target_class: Labels
    sources: Labels
    targets: Labels

    @property
    def shape(self) -> tuple[int, int]:
        """(classes of sources, classes of targets), without the nodes that have no edges."""
        return int(self.source_class.max()) + 1, int(self.target_class.max()) + 1

    @property
    def edges(self) -> int:
        """Pairs of classes that are joined: each pair is joined by all its edges or by none."""
        return self.sources.size


def quotients(net: Layered) -> Iterator[Quotient]:
    """Yield the quotient of each edge layer; layers known to be equal are read once.

    Nodes are equivalent here if they have the same neighbours in this edge layer.

    >>> from topokit.families.radix_net import RadixNet
    >>> [(found.shape, found.edges) for found in quotients(RadixNet(radices=[(3, 4)], kron=(1, 2, 1)))]
    [((12, 12), 36), ((3, 3), 3)]
    """
    return each_layer(net, quotient_of)


def quotient_of(layer: Layer) -> Quotient:
    """Return a layer's classes of equivalent nodes and the edges between them. O(edges), about 60 bytes an edge."""
    source_class = _connected(twins(layer)[0], layer.out_degrees)
    target_class = _connected(twins(layer, reverse=True)[0], layer.in_degrees)
    first = [np.zeros(labels.size, np.bool_) for labels in (source_class, target_class)]
    for labels, chosen in zip((source_class, target_class), first, strict=True):
        chosen[np.unique(labels, return_index=True)[1]] = True
    sources, targets = layer.sources, layer.targets
    taken = first[0][sources] & first[1][targets]
    return Quotient(source_class, target_class, source_class[sources[taken]], target_class[targets[taken]])


def _connected(labels: Labels, degrees: NDArray[np.int64]) -> Labels:
    """The same classes, numbered by their first nodes, and -1 for nodes without edges."""
    found = np.full(labels.size, -1)
    used = degrees > 0
    if used.any():
        found[used] = np.unique(labels[used], return_inverse=True)[1]
    return found


def _values(found: Iterable[Quotient]) -> Values:
    layers = [dict(zip(("sources", "targets", "edges"), (*one.shape, one.edges), strict=True)) for one in found]
    return {"edges": sum(layer["edges"] for layer in layers), "layers": layers}


MEASURE = Measure(
    quotients,
    _values,
    cost=80,
    scalars={"quotient edges": "edges"},
    columns={"classes": lambda layer: f"{layer['sources']} x {layer['targets']}"},
)
