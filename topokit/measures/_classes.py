"""Nodes that cannot be told apart, put into classes, so that one of each stands for all.

What an explicit topology repeats (the copies of a Kronecker product, the symmetry of a full mixed radix
system) is found here from the edges alone, and the sweeps of `paths` and `reach` then work on classes:
the exact quotient graph of colour refinement (Paige & Tarjan 1987), one layer at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import UInt64Array
from topokit.layered import Layer

Labels = NDArray[np.intp]

COMPARED = 2**21
"""Numbers of a table that are compared at a time, which bounds the memory that takes."""


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
    far, near = (layer.sources, layer.indices) if reverse else (layer.indices, layer.sources)
    width = layer.shape[0 if reverse else 1]
    far_labels, indptr, members = _by_neighbours(far, labels[near.view(np.intp)].view(np.uint64), width, classes)
    matrix = csr_array((np.ones(members.size, np.uint64), members, indptr), shape=(indptr.size - 1, classes))
    matrix.sum_duplicates()
    return far_labels, matrix


def twins(layer: Layer, *, reverse: bool = False) -> tuple[Labels, Labels]:
    """Class the sources of a layer by their targets (targets by their sources if `reverse`).

    Returns:
        The class of each node, and the first node of each class.
    """
    near, far = (layer.indices, layer.sources) if reverse else (layer.sources, layer.indices)
    width, opposite = reversed(layer.shape) if reverse else layer.shape
    labels, _, _ = _by_neighbours(near, far, width, opposite)
    return labels, np.unique(labels, return_index=True)[1]


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
    degrees = np.diff(starts)
    by_degree = np.argsort(degrees, kind="stable")
    first_alike = np.empty(width, np.intp)
    for alike in np.split(by_degree, np.flatnonzero(np.diff(degrees[by_degree])) + 1):
        labels, firsts = equal_columns(keys[starts[alike] + np.arange(degrees[alike[0]])[:, None]])
        first_alike[alike] = alike[firsts[labels]]
    firsts, labels = np.unique(first_alike, return_inverse=True)
    indptr = np.concatenate([[0], np.cumsum(degrees[firsts])])
    positions = np.arange(indptr[-1]) + np.repeat(starts[firsts] - indptr[:-1], degrees[firsts])
    return labels, indptr, keys[positions].view(np.int64)


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
