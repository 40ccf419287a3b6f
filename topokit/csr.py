"""The one door between NumPy arrays and GraphBLAS matrices: import without a copy, take back.

GraphBLAS validates nothing: a column out of range or an index pointer that runs backwards gives wrong
answers or ends the process. So arrays from outside pass `topokit.edges.validate` first, and nothing else in
topokit hands memory to GraphBLAS.

A pattern is stored in compressed sparse rows (CSR), both arrays uint64 as GraphBLAS 9 wants them:
`indices[indptr[u]:indptr[u + 1]]` are the targets of source u, strictly increasing.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from topokit.errors import TooLargeError

UInt64Array = NDArray[np.uint64]

INDEX = np.dtype(np.uint64)
MAX_WIDTH = 2**32  # node numbers are written as uint32
_START = Lock()  # of GraphBLAS, by one thread: two would start it twice
_HANDOVER = Lock()  # of memory to GraphBLAS and back; one lock for all layers, as it takes microseconds


class Storage:
    """The memory of one CSR pattern, owned by NumPy until a GraphBLAS matrix is asked for.

    `indptr` and `indices` are read-only views which keep the memory alive whoever owns it, so a view
    that outlives its layer is never dangling. Making the matrix moves ownership and copies nothing. Threads
    may ask for it at once: it is made by the first of them.

    Args:
        indptr: shape (sources + 1,), uint64, owns its data.
        indices: shape (edges,), uint64, owns its data.
        shape: (sources, targets).

    Raises:
        ValueError: GraphBLAS would copy an array, and the views would be of other memory than the matrix.
    """

    __slots__ = ("_arrays", "_matrix", "_owner", "indices", "indptr", "shape")

    def __init__(self, indptr: UInt64Array, indices: UInt64Array, shape: tuple[int, int], owner: _Owner | None = None):
        for array in (indptr, indices):
            if array.dtype != INDEX or not array.flags.owndata or not array.flags.c_contiguous:
                raise ValueError(
                    "arrays for GraphBLAS must be uint64, contiguous and own their data: others are copied"
                )
        self.shape = shape
        self._arrays: tuple[UInt64Array, UInt64Array] | None = (indptr, indices)
        self._matrix: Any = None
        self._owner = owner or _Owner()
        self._owner.holds = self._arrays
        self.indptr = _view(indptr, self._owner)
        self.indices = _view(indices, self._owner)

    def matrix(self) -> Any:
        """The BOOL, iso-valued True GraphBLAS matrix over this memory; made at the first call, O(1)."""
        with _HANDOVER:  # a second thread would hand over the same memory again, and it would be freed twice
            if self._matrix is None:
                indptr, indices = self._held()
                self._matrix = graphblas().Matrix.ss.import_csr(
                    nrows=self.shape[0],
                    ncols=self.shape[1],
                    indptr=indptr,
                    col_indices=indices,
                    values=np.array([True]),
                    is_iso=True,
                    sorted_cols=True,
                    take_ownership=True,
                )
                self._owner.holds = self._matrix
                self._arrays = None
            return self._matrix

    def _held(self) -> tuple[UInt64Array, UInt64Array]:
        if self._arrays is None:
            raise RuntimeError("this layer was streamed and its buffer is in use again: read it before the next one")
        return self._arrays

    def reclaim(self) -> tuple[UInt64Array, UInt64Array, _Owner]:
        """Take the arrays back, to be filled again; the storage must not be used afterwards. O(1)."""
        with _HANDOVER:
            if self._matrix is not None:
                raw = self._matrix.ss.export("csr", give_ownership=True, raw=True)
                self._arrays, self._matrix = (raw["indptr"], raw["col_indices"]), None
                self._owner.holds = self._arrays
            if self._arrays is None:
                raise RuntimeError("the memory of this layer was taken back before")
            (indptr, indices), self._arrays = self._arrays, None
            return indptr, indices, self._owner

    def __reduce__(self) -> tuple[Any, ...]:
        if self._matrix is None:
            self._held()
        return _anew, (self.indptr, self.indices, self.shape)


def _anew(indptr: UInt64Array, indices: UInt64Array, shape: tuple[int, int]) -> Storage:
    """A storage out of a pickle, whose arrays need not own their data, nor have `INDEX` itself as their type."""
    return Storage(indptr.astype(INDEX), indices.astype(INDEX), shape)


class Buffers:
    """Memory for one layer at a time, handed from each layer to the next one of the same size.

    Fresh memory costs a page fault every 4 KiB, more than filling it: a network that is streamed
    through one pair of buffers takes half the time and a constant amount of memory.
    """

    def __init__(self) -> None:
        self._free: tuple[UInt64Array, UInt64Array] | None = None
        self._owner: _Owner | None = None

    def take(self, sources: int, edges: int) -> tuple[UInt64Array, UInt64Array]:
        """Arrays (sources + 1,) and (edges,) with arbitrary contents: the reclaimed ones where they fit.

        Raises:
            TooLargeError: not enough free memory.
        """
        free, self._free = self._free, None
        if free is not None and free[0].size == sources + 1 and free[1].size == edges:
            return free
        self._owner = None
        del free
        require_memory(8 * (sources + 1 + edges), "a layer")
        return np.empty(sources + 1, INDEX), np.empty(edges, INDEX)

    def take_rows(self, sources: int, degree: int) -> tuple[UInt64Array, UInt64Array]:
        """Arrays as of `take` for `degree` edges of each source: a filled indptr, and indices to fill."""
        indptr, indices = self.take(sources, sources * degree)
        indptr[:] = np.arange(sources + 1, dtype=INDEX) * degree
        return indptr, indices

    def store(self, indptr: UInt64Array, indices: UInt64Array, shape: tuple[int, int]) -> Storage:
        """A Storage over arrays that came from `take`; trusted, not validated."""
        return Storage(indptr, indices, shape, self._owner)

    def reclaim(self, storage: Storage) -> None:
        """Take back the arrays of a storage nobody reads any more."""
        indptr, indices, self._owner = storage.reclaim()
        self._free = (indptr, indices)


class _Owner:
    """Holds whatever owns a piece of memory now: two NumPy arrays, or the GraphBLAS matrix that took them over."""

    __slots__ = ("holds",)
    holds: object


class _Anchor:
    """Lets NumPy make a view of an array whose base is the memory's owner instead of the array."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, array: UInt64Array, owner: _Owner):
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], True)}  # read-only
        self.owner = owner


def _view(array: UInt64Array, owner: _Owner) -> UInt64Array:
    return np.asarray(_Anchor(array, owner))


def graphblas() -> Any:
    """The graphblas module, initialised; imported here, at first use, because that takes over half a second."""
    with _START:
        import graphblas

        _ = graphblas.Matrix  # what is asked for first initialises it
    return graphblas


NOT_ASKED = 1 << 20
"""Bytes up to which free memory is not asked for, as this takes longer than using them."""


def require_memory(size: int, what: str) -> None:
    """Refuse work that cannot fit, before anything is allocated.

    Args:
        size: bytes needed.
        what: what they are for, as the message's subject.

    Raises:
        TooLargeError: more than this machine has free.
    """
    if size <= NOT_ASKED:
        return
    free = psutil.virtual_memory().available
    if size > free:
        raise TooLargeError(
            f"{what} needs {size / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free: "
            "use smaller widths, or stream it layer by layer"
        )
