"""Layer, the edges between two node layers: rows are sources, an entry is an edge, an absent entry is zero paths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit import _native
from topokit.csr import Storage
from topokit.edges import from_edges, validate
from topokit.errors import InvalidGraphError
from topokit.reprs import counted


class Layer:
    """The edges between two neighbouring node layers: a biadjacency matrix, shape (sources, targets).

    `sources`, `targets` and the degrees are int64. `indptr` and `indices` are the uint64 memory that GraphBLAS reads:
    NumPy makes float64 of int64 and uint64 together, so take `.view(np.int64)` of them for arithmetic.

    The arrays are read-only. `matrix` lies over the same memory: read it, never assign into it.
    """

    __slots__ = ("_incoming", "_storage")

    def __init__(self, storage: Storage):
        self._storage = storage
        self._incoming: NDArray[np.int64] | None = None

    @classmethod
    def from_edges(cls, sources: NDArray[Any], targets: NDArray[Any], shape: tuple[int, int]) -> Layer:
        """Return the layer of an edge list in any order. O(edges log edges).

        Args:
            sources: shape (edges,), integers: the source of each edge.
            targets: shape (edges,), integers: the target of each edge.
            shape: (sources, targets).

        Raises:
            InvalidGraphError: an edge is out of range or given twice, or the shape is not one that a layer can have.
        """
        return cls(from_edges(np.asarray(sources), np.asarray(targets), shape))

    @property
    def shape(self) -> tuple[int, int]:
        """(sources, targets)."""
        return self._storage.shape

    @property
    def edges(self) -> int:
        """Number of edges."""
        return self._storage.indices.size

    @property
    def indptr(self) -> NDArray[np.uint64]:
        """Shape (sources + 1,): the edges of source u are number indptr[u] to indptr[u + 1] - 1."""
        return self._storage.indptr

    @property
    def indices(self) -> NDArray[np.uint64]:
        """Shape (edges,): each edge's target; sorted by source, then by target."""
        return self._storage.indices

    @property
    def sources(self) -> NDArray[np.int64]:
        """Shape (edges,): each edge's source, a new array at each call. O(edges)."""
        return np.repeat(np.arange(self.shape[0]), self.out_degrees)

    @property
    def targets(self) -> NDArray[np.int64]:
        """Shape (edges,): each edge's target, read-only; the memory of `indices`."""
        return self.indices.view(np.int64)

    @property
    def out_degrees(self) -> NDArray[np.int64]:
        """Number of edges that leave each source, shape (sources,). O(sources)."""
        return np.diff(self.indptr).view(np.int64)

    @property
    def in_degrees(self) -> NDArray[np.int64]:
        """Number of edges that enter each target, shape (targets,), read-only. O(edges) at the first call."""
        if self._incoming is None:
            counts = _native.counts(self.indices, self.shape[1])
            if counts is None:
                counts = _counts(self.indptr, self.indices, self.shape[1])
            counts.flags.writeable = False  # they are kept, and the checks count on them
            self._incoming = counts
        return self._incoming

    def fault(self, name: str) -> str | None:
        """What keeps it from being a simple bipartite graph in canonical order; None where nothing does. O(edges).

        Args:
            name: what to call it in the message.
        """
        try:
            validate(self.indptr, self.indices, self.shape, name)
        except InvalidGraphError as error:
            return str(error)
        return None

    @property
    def matrix(self) -> Any:
        """The graphblas.Matrix of this layer: BOOL, iso-valued True, no copy; made at first use, O(1)."""
        return self._storage.matrix()

    def native_rows(self) -> _native.LayerRows | None:
        """The rows for the native library; None if there is none, or they are not in canonical form. O(edges)."""
        return _native.rows_in_memory(self.indptr, self.indices, self.shape)

    def to_scipy(self, dtype: Any = np.bool_) -> Any:
        """A scipy.sparse.csr_array of ones, shape (sources, targets). O(edges)."""
        from scipy.sparse import csr_array

        index = np.int32 if max(self.edges, *self.shape) < 2**31 else np.int64
        data = np.ones(self.edges, dtype)
        return csr_array((data, self.indices.astype(index), self.indptr.astype(index)), shape=self.shape)

    def to_dense(self) -> NDArray[np.bool_]:
        """A bool array, shape (sources, targets). O(sources * targets)."""
        dense = np.zeros(self.shape, np.bool_)
        dense[self.sources, self.targets] = True
        return dense

    def __reduce__(self) -> tuple[Any, ...]:
        return Layer, (self._storage,)

    def __repr__(self) -> str:
        return f"<Layer {self.shape[0]} to {self.shape[1]}, {counted(self.edges, 'edge')}>"


def _counts(indptr: NDArray[np.uint64], indices: NDArray[np.uint64], targets: int) -> NDArray[np.int64]:
    """How often each target stands in `indices`: one sparse product, in half the time of numpy.bincount.

    A node's targets often lie a power of two apart, where their counters would share a line of the cache
    and push each other out; so every 1,024 counters there is a gap of one line.
    """
    from scipy.sparse import csr_array

    index = np.int32 if max(indices.size, 2 * targets) < 2**31 else np.int64
    place: NDArray[Any] = np.arange(targets, dtype=index)
    column: NDArray[Any] = indices.astype(index)
    for numbers in (place, column):
        numbers += numbers >> 10 << 4
    shape = (indptr.size - 1, int(place[-1]) + 1)
    matrix = csr_array((np.ones(indices.size, np.uint32), column, indptr.astype(index)), shape=shape)
    return (matrix.T @ np.ones(shape[0], np.uint32))[place].astype(np.int64)  # type: ignore[no-any-return]
