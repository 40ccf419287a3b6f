"""Cycles: find the circulants in a bipartite graph whose nodes are numbered in any way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.components import connected_components
from topokit.measures._classes import Labels


@dataclass(frozen=True, slots=True, eq=False)
class CyclicOrders:
    """Source sources[c, i] feeds targets[c, i], ..., targets[c, (i + radix - 1) mod length], and nothing else.

    Args:
        sources: shape (cycles, length).
        targets: shape (cycles, length).
        radix: targets of each source.
    """

    sources: Labels
    targets: Labels
    radix: int


def cyclic_orders(sources: Labels, targets: Labels) -> CyclicOrders | None:
    """Put the nodes of a bipartite graph on cycles of one length so that each source feeds a run of targets.

    Cycles are ordered by their smallest source, with which they begin; the smaller of its neighbours comes next.

    Args:
        sources: shape (edges,), source of each edge; consecutive numbers from 0.
        targets: shape (edges,), target of each edge, likewise. No two sources have the same targets.

    Returns:
        The orders, None if there are none.

    Cost: O(edges log edges), by sorting.
    """
    shape = _shape(sources, targets) if sources.size else None
    if shape is None:
        return None
    cycle, radix = shape
    length = cycle.size // (cycle.max() + 1)
    by_cycle = np.argsort(cycle, kind="stable").reshape(-1, length)
    found: CyclicOrders | None
    if radix == 1:
        fed = np.empty_like(cycle)
        fed[sources] = targets
        found = CyclicOrders(by_cycle, fed[by_cycle], radix)
    elif radix == length - 1:
        found = CyclicOrders(by_cycle, np.roll(_missing(sources, targets, cycle)[by_cycle], -1, axis=1), radix)
    else:
        found = _walk(sources, targets, by_cycle, radix)
    return found if found is not None and _confirmed(found, sources, targets) else None


def _shape(sources: Labels, targets: Labels) -> tuple[Labels, int] | None:
    """The connected component of each source, and the degree of all nodes; components are numbered by first source."""
    degrees = np.bincount(sources), np.bincount(targets)
    radix = int(degrees[0][0])
    if degrees[0].size != degrees[1].size or any((side != radix).any() for side in degrees):
        return None
    nodes = degrees[0].size
    component = connected_components(sources, targets + nodes, 2 * nodes)[:nodes]
    if np.unique(np.bincount(component)).size > 1:
        return None
    return component, radix


def _missing(sources: Labels, targets: Labels, cycle: Labels) -> Labels:
    """For sources that feed all targets of their component but one: that one."""
    target_cycle = np.empty_like(cycle)
    target_cycle[targets] = cycle[sources]
    every, fed = np.bincount(target_cycle, np.arange(cycle.size)), np.bincount(sources, targets)  # exact below 2^53
    return (every[cycle] - fed).astype(np.intp)


def _walk(sources: Labels, targets: Labels, by_cycle: Labels, radix: int) -> CyclicOrders | None:
    """Walk each cycle from neighbour to neighbour, for 2 <= radix <= length - 2.

    Neighbours share all targets but one on each side, and no others do. So if (u, s) and (v, t) are the edges
    that part neighbours u and v, u's targets without s are v's without t: a hash of these finds the pairs.
    The target that is left behind at each step comes next in the targets' order.
    """
    partner = _partners(sources, targets)
    paired = np.flatnonzero(partner >= 0)
    paired = paired[np.argsort(sources[paired], kind="stable")]
    if not np.array_equal(sources[paired], np.repeat(np.arange(by_cycle.size), 2)):
        return None
    ways = paired.reshape(-1, 2).tolist()
    edge_partner, edge_source, edge_target = partner.tolist(), sources.tolist(), targets.tolist()
    order_of_sources, order_of_targets = [], []
    for start in by_cycle[:, 0].tolist():
        out = min(ways[start], key=lambda edge: edge_source[edge_partner[edge]])
        for _ in range(by_cycle.shape[1]):
            node = edge_source[out]
            order_of_sources.append(node)
            order_of_targets.append(edge_target[out])
            arrived = edge_partner[out]
            one, other = ways[edge_source[arrived]]
            out = other if arrived == one else one
    shape = by_cycle.shape
    return CyclicOrders(np.reshape(order_of_sources, shape), np.reshape(order_of_targets, shape), radix)


def _partners(sources: Labels, targets: Labels) -> Labels:
    """For each edge (u, s) the edge (v, t) with targets(u) - s = targets(v) - t; -1 where there is not just one.

    Sets are compared by the sum of random 64-bit numbers, so a pair may be wrong: check what is made of it.
    """
    number = np.random.default_rng(0).integers(2**64, size=targets.max() + 1, dtype=np.uint64)
    total = np.zeros(sources.max() + 1, np.uint64)
    np.add.at(total, sources, number[targets])
    rest = total[sources] - number[targets]
    order = np.argsort(rest)
    _, starts, counts = np.unique(rest[order], return_index=True, return_counts=True)
    pairs = starts[counts == 2]
    partner = np.full(sources.size, -1)
    partner[order[pairs]], partner[order[pairs + 1]] = order[pairs + 1], order[pairs]
    return partner


def _confirmed(found: CyclicOrders, sources: Labels, targets: Labels) -> bool:
    """Whether every edge is one that the orders say: as the degrees are right, these are then all."""
    length = found.sources.shape[1]
    places: list[NDArray[np.intp]] = []
    for order in (found.sources, found.targets):
        if np.unique(order).size != order.size:
            return False
        place = np.empty(order.size, np.intp)
        place[order.ravel()] = np.arange(order.size)
        places.append(place)
    start, end = places[0][sources], places[1][targets]
    inside = (end % length - start % length) % length < found.radix
    return bool(((start // length == end // length) & inside).all())
