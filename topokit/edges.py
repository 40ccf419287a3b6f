"""Edges from outside: arrays that must be a canonical CSR pattern, and lists of edges that become one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit._native import is_canonical
from topokit.csr import INDEX, MAX_WIDTH, Storage
from topokit.errors import InvalidGraphError
from topokit.reprs import counted


def validate(
    indptr: NDArray[Any], indices: NDArray[Any], shape: tuple[int, int], where: str = "layer", first: int = 0
) -> None:
    """Refuse arrays that are not a simple bipartite graph in canonical CSR order. O(edges), 1 byte an edge.

    Args:
        indptr: shape (sources + 1,), integers.
        indices: shape (edges,), integers.
        shape: (sources, targets), both at least 1 and below 2**32.
        where: names the layer in messages.
        first: number of the first node in messages, such as 1 for the nodes of a file that counts from 1.

    Raises:
        InvalidGraphError: says which rule was broken, and where.
    """
    sources, targets = shape
    _require_shape(shape, where)
    if is_canonical(indptr, indices, shape):
        return
    for name, array in (("indptr", indptr), ("indices", indices)):
        _require(array.ndim == 1, f"{where}: {name} has {array.ndim} dimensions instead of 1")
        if array.dtype.kind not in "iu":
            raise InvalidGraphError(f"{where}: {name} holds {array.dtype} instead of integers")
        _require(array.size == 0 or array.min() >= 0, f"{where}: {name} holds a negative number")
    _require(
        indptr.size == sources + 1, f"{where}: indptr has {indptr.size} entries; {sources} sources need {sources + 1}"
    )
    _require(indptr[0] == 0, f"{where}: indptr starts at {indptr[0]} instead of 0")
    _require(bool((indptr[1:] >= indptr[:-1]).all()), f"{where}: indptr decreases; it must never")
    _require(
        indptr[-1] == indices.size,
        f"{where}: indptr ends at {indptr[-1]}, but there are {counted(indices.size, 'edge')}",
    )
    if indices.size:
        _require(
            indices.max() < targets,
            f"{where}: an edge leads to node {indices.max() + first}; targets are {first} to {targets - 1 + first}",
        )
        _require_increasing(indptr, indices, where, first)


def _require_increasing(indptr: NDArray[Any], indices: NDArray[Any], where: str, first: int) -> None:
    rising = np.empty(indices.size, np.bool_)
    np.greater(indices[1:], indices[:-1], out=rising[1:])
    starts = indptr[:-1]
    rising[starts[starts < indices.size].astype(np.intp)] = True
    if rising.all():
        return
    edge = int(np.argmin(rising))
    source = int(np.searchsorted(indptr, edge, side="right")) - 1
    twice = indices[edge] == indices[edge - 1]
    problem = "twice: give each edge once" if twice else "out of order; targets must increase"
    raise InvalidGraphError(f"{where}: source {source + first} lists target {indices[edge] + first} {problem}")


def _require_shape(shape: tuple[int, int], where: str) -> None:
    _require(all(0 < width < MAX_WIDTH for width in shape), f"{where}: widths {shape} must be from 1 to 2^32 - 1")


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise InvalidGraphError(message)


def from_edges(
    sources: NDArray[Any], targets: NDArray[Any], shape: tuple[int, int], where: str = "layer", first: int = 0
) -> Storage:
    """The storage of an edge list in any order; validated. O(edges log edges).

    Args:
        sources: shape (edges,), source of each edge.
        targets: shape (edges,), target of each edge.
        shape: (sources, targets).
        where: names the layer in messages.
        first: see `validate`.

    Raises:
        InvalidGraphError: an edge out of range, or given twice; widths that no layer can have.
    """
    _require_shape(shape, where)
    for name, array, width in (("source", sources, shape[0]), ("target", targets, shape[1])):
        _require(
            array.ndim == 1 and array.dtype.kind in "iu", f"{where}: the edges' {name}s must be a list of integers"
        )
        if array.size and not (array.min() >= 0 and array.max() < width):
            bad = array[(array < 0) | (array >= width)][:1] + first
            raise InvalidGraphError(f"{where}: an edge has {name} {bad}; {name}s are {first} to {width - 1 + first}")
    _require(sources.size == targets.size, f"{where}: {sources.size} sources, but {counted(targets.size, 'target')}")
    order = np.lexsort((targets, sources))
    indptr = np.zeros(shape[0] + 1, INDEX)
    np.cumsum(np.bincount(sources.astype(np.intp), minlength=shape[0]), out=indptr[1:])
    indices = targets[order].astype(INDEX)
    validate(indptr, indices, shape, where, first)
    return Storage(indptr, indices, shape)


def from_mask(mask: NDArray[np.bool_], where: str = "layer") -> Storage:
    """Return the storage of the edges of a mask. O(sources * targets) time, 24 bytes an edge.

    Args:
        mask: shape (sources, targets).
        where: names the layer in messages.

    Raises:
        InvalidGraphError: widths that no layer can have.
    """
    _require_shape(mask.shape, where)
    indptr = np.zeros(len(mask) + 1, INDEX)
    np.cumsum(np.count_nonzero(mask, axis=1), out=indptr[1:])
    return Storage(indptr, np.nonzero(mask)[1].astype(INDEX), mask.shape)
