"""Nodes that cannot be told apart, put into classes, so that one of each stands for all.

What an explicit topology repeats (the copies of a Kronecker product, the symmetry of a full mixed radix
system) is found here from the edges alone, and the sweeps of `paths` and `reach` then work on classes:
the exact quotient graph of colour refinement (Paige & Tarjan 1987), one layer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import INDEX, UInt64Array
from topokit.layered import Layer

Labels = NDArray[np.intp]

COMPARED = 2**21
"""Numbers that are compared at a time, which bounds the memory that takes."""


def quotient(layer: Layer, labels: Labels, classes: int, *, reverse: bool = False) -> tuple[Labels, Any]:
    """Class the far nodes of a layer by how many edges join each to each class of near nodes.

    Near nodes are the sources and far ones the targets, or the other way round if `reverse`.

    Args:
        layer: the layer to cross.
        labels: shape (near nodes,), the class of each.
        classes: number of classes of near nodes.
        reverse: cross from targets to sources.

    Returns:
        The class of each far node, and a scipy.sparse.csr_array of uint64, shape (far classes, near classes):
        the number of edges that join one node of the far class to the near class.

    Cost: O(edges log edges) time, 32 bytes an edge; O(edges) with a single class of near nodes.
    """
    from scipy.sparse import csr_array

    if classes == 1:
        degrees = layer.out_degrees if reverse else layer.in_degrees
        present = np.bincount(degrees) > 0
        far_labels = (np.cumsum(present) - 1)[degrees]
        return far_labels, csr_array(np.flatnonzero(present).astype(np.uint64)[:, None])
    far, near = (layer.sources.view(INDEX), layer.indices)[:: 1 if reverse else -1]
    width = layer.shape[0 if reverse else 1]
    far_labels, indptr, members = _by_neighbours(far, labels[near.view(np.intp)].view(np.uint64), width, classes)
    matrix = csr_array((np.ones(members.size, np.uint64), members, indptr), shape=(indptr.size - 1, classes))
    matrix.sum_duplicates()
    return far_labels, matrix


def twins(layer: Layer, *, reverse: bool = False) -> tuple[Labels, Labels]:
    """Class the sources of a layer by their targets (targets by their sources if `reverse`).

    Returns:
        The class of each node, and the first node of each class.

    Cost: O(edges) time, 20 bytes an edge: a layer's edges are in order, and are turned round by counting.
    """
    if reverse:
        columns = layer.to_scipy().tocsc()
        first_alike = _first_alike(columns.indptr, columns.indices, layer.shape[0])
    else:
        first_alike = _first_alike(layer.indptr.view(np.int64), layer.indices.view(np.int64), layer.shape[1])
    firsts, labels = np.unique(first_alike, return_inverse=True)
    return labels, firsts


def _by_neighbours(
    nodes: UInt64Array, neighbours: UInt64Array, width: int, kinds: int
) -> tuple[Labels, Labels, NDArray[np.int64]]:
    """Class nodes by the multiset of their edges' neighbours.

    Args:
        nodes: shape (edges,), below `width`, which is below 2**32.
        neighbours: shape (edges,), below `kinds`, which is at most 2**32.
        width: number of nodes.
        kinds: number of kinds of neighbours.

    Returns:
        Each node's class, and the classes' sorted neighbours in CSR form (indptr, neighbours).
    """
    keys = nodes * np.uint64(kinds) + neighbours
    keys.sort()
    starts = np.searchsorted(keys, np.arange(width + 1, dtype=np.uint64) * np.uint64(kinds))
    keys %= np.uint64(kinds)
    members = keys.view(np.int64)
    firsts, labels = np.unique(_first_alike(starts, members, kinds), return_inverse=True)
    sizes = np.diff(starts)[firsts]
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    positions = np.arange(indptr[-1]) + np.repeat(starts[firsts] - indptr[:-1], sizes)
    return labels, indptr, members[positions]


def _first_alike(starts: NDArray[Any], members: NDArray[Any], kinds: int) -> Labels:
    """For each node the first one with the same members.

    Args:
        starts: shape (nodes + 1,).
        members: those of node u are members[starts[u]] to members[starts[u + 1] - 1], sorted, below `kinds`.
        kinds: number of kinds of members.

    Members are hashed by a sum of random numbers modulo 2^64. A node that is alone with its hash has no twin and is
    not looked at again; any other is compared with the first of its hash: a collision costs a merge, never a wrong
    one. O(edges).
    """
    from scipy.sparse import csr_array

    number = np.random.default_rng(0).integers(2**64, size=kinds, dtype=np.uint64)
    runs = csr_array((np.ones(members.size, np.uint64), members, starts), shape=(starts.size - 1, kinds))
    _, firsts, labels = np.unique(runs @ number, return_index=True, return_inverse=True)
    first_alike: Labels = firsts[labels]
    joining = np.flatnonzero(first_alike != np.arange(first_alike.size))
    sizes = np.diff(starts)
    for nodes in _of_one_size(joining, sizes):
        first, place = first_alike[nodes], np.arange(sizes[nodes[0]])
        same = sizes[first] == place.size
        near, far = (members[starts[ends[same], None] + place] for ends in (nodes, first))
        same[same] = (near == far).all(axis=1)
        first_alike[nodes[~same]] = nodes[~same]
    return first_alike


def _of_one_size(nodes: Labels, sizes: NDArray[Any]) -> Iterator[Labels]:
    """These nodes in parts of one size each, none with more than COMPARED members in all (or a single node)."""
    nodes = nodes[np.argsort(sizes[nodes], kind="stable")]
    for alike in np.split(nodes, np.flatnonzero(np.diff(sizes[nodes])) + 1):
        step = max(1, COMPARED // max(1, int(sizes[alike[:1]].sum())))
        yield from (alike[low : low + step] for low in range(0, alike.size, step))


def equal_columns(table: UInt64Array) -> tuple[Labels, Labels]:
    """Class the columns of a table by their contents.

    Columns are hashed by a random linear form modulo 2^64, and each is then compared with the one it would
    join: a collision of hashes costs a merge, never a wrong one.

    Args:
        table: shape (rows, columns), uint64.

    Returns:
        The class of each column, and the first column of each class.

    Cost: O(rows * columns).
    """
    if table.shape[1] == 1:
        return np.zeros(1, np.intp), np.zeros(1, np.intp)
    weights = np.random.default_rng(0).integers(2**64, size=table.shape[0], dtype=np.uint64)
    hashes = np.einsum("ij,i->j", table, weights)
    _, firsts, labels = np.unique(hashes, return_index=True, return_inverse=True)
    joining = np.flatnonzero(firsts[labels] != np.arange(labels.size))
    block = max(1, COMPARED // max(1, table.shape[0]))
    parts = (joining[low : low + block] for low in range(0, joining.size, block))
    collided = np.concatenate(
        [part[(table[:, part] != table[:, firsts[labels[part]]]).any(axis=0)] for part in parts] or [joining]
    )
    labels[collided] = firsts.size + np.arange(collided.size)
    return labels, np.concatenate([firsts, collided])
