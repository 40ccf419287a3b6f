"""Classes of equivalent nodes, so that one node of each class stands for all.

What an explicit topology repeats (the copies of a Kronecker product, the symmetry of a full mixed radix
system) is found here from the edges alone, and the sweeps of `paths` and `reach` then work on classes:
the exact quotient graph of colour refinement (Paige & Tarjan 1987), one layer at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit._native import entries_of_classes, multiply
from topokit.csr import UInt64Array
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

    Cost: O(edges log edges) time, about 60 bytes an edge; O(edges) with a single class of near nodes.
    """
    from scipy.sparse import csr_array

    if classes == 1:
        degrees = layer.out_degrees if reverse else layer.in_degrees
        present = np.bincount(degrees) > 0
        far_labels = (np.cumsum(present) - 1)[degrees]
        return far_labels, csr_array(np.flatnonzero(present).astype(np.uint64)[:, None])
    found = _natively_classed(layer, labels, classes, reverse=reverse, with_entries=True)
    if found:
        far_labels, firsts, (representatives, near_classes, counts) = found
        places = far_labels[representatives], near_classes
        return far_labels, csr_array((counts, places), shape=(firsts.size, classes))
    nodes = np.arange(labels.size + 1)
    class_of = csr_array((np.ones(labels.size, np.uint64), labels, nodes), shape=(labels.size, classes))
    matrix = _neighbours(layer, reverse) @ class_of
    matrix.sort_indices()
    far_labels, firsts = _equal_rows(matrix)
    return far_labels, matrix[firsts]


def twins(layer: Layer, *, reverse: bool = False) -> tuple[Labels, Labels]:
    """Class the sources of a layer by their targets (targets by their sources if `reverse`).

    Returns:
        The class of each node, and the first node of each class.

    Cost: O(edges) time, about 60 bytes an edge.
    """
    far = layer.shape[0 if reverse else 1]
    found = _natively_classed(layer, np.arange(far), far, reverse=not reverse, with_entries=False)
    return found[:2] if found else _equal_rows(_neighbours(layer, not reverse))


def _natively_classed(
    layer: Layer, labels: Labels, classes: int, *, reverse: bool, with_entries: bool
) -> tuple[Labels, Labels, tuple[NDArray[np.int64], NDArray[np.int64], UInt64Array]] | None:
    """Class the far nodes of a layer as `quotient` does, by the native library; None if it cannot.

    Returns:
        The class of each far node, the first node of each class, and what `entries_of_classes` returns.
    """
    rows = layer.native_rows()
    if rows is None:
        return None
    number = _random_numbers(classes)
    far_labels, firsts = _by_hash(multiply(rows, number[labels, None], reverse=reverse)[:, 0])
    degrees = layer.out_degrees if reverse else layer.in_degrees
    room = int(degrees[firsts].sum()) if with_entries else 0
    entries = entries_of_classes(rows, labels, classes, firsts[far_labels], room, reverse=reverse)
    return None if entries is None else (far_labels, firsts, entries)  # hashes that collide are left to NumPy


def _neighbours(layer: Layer, reverse: bool) -> Any:
    """Return the sources of each target, or the targets of each source if `reverse`, as a scipy.sparse.csr_array."""
    matrix = layer.to_scipy(np.uint64)
    return matrix if reverse else matrix.T.tocsr()


def _equal_rows(matrix: Any) -> tuple[Labels, Labels]:
    """Class the rows of a sparse matrix of uint64 with sorted indices: the class of each, and the first of each class.

    Rows are hashed by a sum of random numbers modulo 2^64. Each row is then compared with the first one of its hash: a
    collision costs a merge, and never makes a wrong one. O(entries).
    """
    labels, firsts = _by_hash(matrix @ _random_numbers(matrix.shape[1]))
    first_alike: Labels = firsts[labels]
    joining = np.flatnonzero(first_alike != np.arange(first_alike.size))
    differs = np.diff((matrix[joining] != matrix[first_alike[joining]]).indptr) > 0
    first_alike[joining[differs]] = joining[differs]
    firsts, labels = np.unique(first_alike, return_inverse=True)
    return labels, firsts


def _random_numbers(size: int) -> UInt64Array:
    return np.random.default_rng(0).integers(2**64, size=size, dtype=np.uint64)


def _by_hash(hashes: UInt64Array) -> tuple[Labels, Labels]:
    """Class nodes by their hashes: the class of each, and the first node of each class, ascending."""
    _, firsts, labels = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return rank[labels], firsts[order]


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
    hashes = np.einsum("ij,i->j", table, _random_numbers(table.shape[0]))
    _, firsts, labels = np.unique(hashes, return_index=True, return_inverse=True)
    joining = np.flatnonzero(firsts[labels] != np.arange(labels.size))
    block = max(1, COMPARED // max(1, table.shape[0]))
    parts = (joining[low : low + block] for low in range(0, joining.size, block))
    collided = np.concatenate(
        [part[(table[:, part] != table[:, firsts[labels[part]]]).any(axis=0)] for part in parts] or [joining]
    )
    labels[collided] = firsts.size + np.arange(collided.size)
    return labels, np.concatenate([firsts, collided])
