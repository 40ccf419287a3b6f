"""Modularity: whether a network has communities, groups of nodes with more edges inside than by chance.

Keys:
    value, communities: modularity of all layers as one undirected graph, by Louvain's method; number of communities,
        without nodes that have no edges
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from topokit.csr import require_memory
from topokit.layered import Layered
from topokit.measures._classes import Labels
from topokit.measures._measure import Measure, Values
from topokit.reprs import cell, short_repr

SEED = 0
"""Of the order in which Louvain's method visits the nodes: the same for every network."""


BYTES = 800
"""What networkx takes for an edge (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Modularity:
    """The communities that were found in a network.

    Args:
        value: modularity of this partition: the share of edges inside communities less the share to be expected if
            edges were joined at random while every node keeps its degree. None without edges.
        communities: for each node layer, the community of each node: numbered from 0, the largest first; -1 for
            nodes without edges.
    """

    value: float | None
    communities: tuple[Labels, ...]

    __repr__ = short_repr

    @property
    def count(self) -> int:
        """Number of communities."""
        return 1 + max(int(labels.max()) for labels in self.communities)


def modularity(net: Layered) -> Modularity:
    """Communities by Louvain's method, with all layers as one undirected graph, and the modularity of them.

    Random networks have communities too: the method finds what it can. So the value says something only beside that
    of random equivalents. Those that keep all degrees have the same expectation, and the method's own spread (it stops
    in a local maximum) is part of theirs.

    Raises:
        TooLargeError: not enough free memory.

    Cost: see `seconds_for`; about 800 bytes an edge.

    Source: Newman & Girvan 2004, Physical Review E 69:026113 (modularity); Blondel, Guillaume, Lambiotte & Lefebvre
    2008, Journal of Statistical Mechanics P10008 (the method, here networkx's); Guimerà, Sales-Pardo & Amaral 2004,
    Physical Review E 70:025101 (modularity of random graphs); Filan et al. 2021, "Clusterability in Neural Networks",
    arXiv:2103.03386 (pruned networks against shuffled ones).

    >>> from topokit.topologies import Topology
    >>> found = modularity(Topology.from_dense([[[1, 1, 0], [1, 1, 0], [0, 0, 1]], [[1, 0], [1, 0], [0, 1]]]))
    >>> [labels.tolist() for labels in found.communities]
    [[0, 0, 1], [0, 0, 1], [0, 1]]
    """
    from networkx import Graph
    from networkx.algorithms.community import louvain_communities
    from networkx.algorithms.community import modularity as modularity_of

    require_memory(BYTES * net.edges, "a search for communities")
    first = [0, *accumulate(net.widths)]
    labels = np.full(first[-1], -1)
    graph: Any = Graph()
    for start, end, layer in zip(first, first[1:], net.stream(), strict=False):
        ends = layer.sources + start, layer.targets + end
        graph.add_edges_from(zip(*(side.tolist() for side in ends), strict=True))
    if graph.size() == 0:
        return Modularity(None, _by_layer(labels, net))
    found = sorted(louvain_communities(graph, seed=SEED), key=lambda nodes: (-len(nodes), min(nodes)))
    for number, nodes in enumerate(found):
        labels[list(nodes)] = number
    return Modularity(float(modularity_of(graph, found)), _by_layer(labels, net))


def seconds_for(net: Layered) -> float:
    """About how long `modularity` takes on one core: within a factor of two in trials with 10^4 to 2 * 10^5 edges."""
    return 6e-6 * net.edges * (1 + sum(net.widths) / 1000)


def _by_layer(labels: Labels, net: Layered) -> tuple[Labels, ...]:
    return tuple(np.split(labels, list(accumulate(net.widths))[:-1]))


def _line(values: Values) -> dict[str, str]:
    if values["value"] is None:
        return {"modularity": "undefined without edges"}
    value, communities = cell(values["value"]), values["communities"]
    return {"modularity": f"{value}, communities by Louvain's method: {communities:,}"}


MEASURE = Measure(
    modularity,
    values=lambda found: {"value": found.value, "communities": found.count},
    cost=seconds_for,
    scalars={"modularity": "value"},
    line=_line,
)
