"""Layer, the edges between two node layers, and Layered, what everything in topokit reads.

Rows are sources, an entry is an edge, an absent entry is zero paths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from topokit.csr import Storage
from topokit.edges import validate
from topokit.errors import InvalidGraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Recipe = Mapping[str, Any]

BY_CHANNEL = "convolutions are read by channel: an edge is a filter of which at least one weight is kept"
"""The note of a topology whose edges are not all weights."""


class Layer:
    """The edges between two neighbouring node layers: a biadjacency matrix, shape (sources, targets).

    The arrays are read-only. `matrix` lies over the same memory: read it, never assign into it.
    """

    __slots__ = ("_incoming", "_storage")

    def __init__(self, storage: Storage):
        self._storage = storage
        self._incoming: NDArray[np.int64] | None = None

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
    def sources(self) -> NDArray[np.uint64]:
        """Shape (edges,): each edge's source, made anew at each call. O(edges)."""
        return np.repeat(np.arange(self.shape[0], dtype=np.uint64), np.diff(self.indptr).astype(np.intp))

    @property
    def out_degrees(self) -> NDArray[np.int64]:
        """Number of edges that leave each source, shape (sources,). O(sources)."""
        return np.diff(self.indptr).view(np.int64)

    @property
    def in_degrees(self) -> NDArray[np.int64]:
        """Number of edges that enter each target, shape (targets,), read-only. O(edges) at the first call."""
        if self._incoming is None:
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

    def to_scipy(self, dtype: Any = np.bool_) -> Any:
        """A scipy.sparse.csr_array of ones, shape (sources, targets). O(edges)."""
        from scipy.sparse import csr_array

        index = np.int32 if max(self.edges, *self.shape) < 2**31 else np.int64
        data = np.ones(self.edges, dtype)
        return csr_array((data, self.indices.astype(index), self.indptr.astype(index)), shape=self.shape)

    def to_dense(self) -> NDArray[np.bool_]:
        """A bool array, shape (sources, targets). O(sources * targets)."""
        dense = np.zeros(self.shape, np.bool_)
        dense[self.sources, self.indices] = True
        return dense

    def __reduce__(self) -> tuple[Any, ...]:
        return Layer, (self._storage,)

    def __repr__(self) -> str:
        return f"<Layer {self.shape[0]} to {self.shape[1]}, {self.edges:,} edges>"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What a topology's maker vouches for; the checks of the same names prove it.

    Args:
        connected: every input reaches every output.
        paths: number of paths between every input and every output.
        degrees: (out-degree, in-degree) of each edge layer; None for a side that varies.
        density: edges over all possible edges, of the whole network.
    """

    connected: bool = False
    paths: int | None = None
    degrees: tuple[tuple[int | None, int | None], ...] | None = None
    density: Fraction | None = None

    @property
    def names(self) -> frozenset[str]:
        """The checks that must hold."""
        promised = {
            "soundness": True,
            "connectivity": self.connected,
            "path-symmetry": self.paths is not None,
            "regularity": self.degrees is not None,
            "density": self.density is not None,
        }
        return frozenset(name for name, given in promised.items() if given)


class Layered(ABC):
    """A layered directed graph which is read one edge layer at a time.

    That is the only way anything reads a topology, so networks larger than memory go through
    every check, measure and writer that does not need all of it at once.
    """

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Number of nodes in each node layer, inputs first."""

    @property
    @abstractmethod
    def layer_edges(self) -> tuple[int, ...]:
        """Number of edges in each edge layer."""

    @abstractmethod
    def layer(self, i: int) -> Layer:
        """Edge layer i, 0 <= i < len(self): from node layer i to node layer i + 1."""

    @abstractmethod
    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        """The edge layers one after another (last first if `reverse`).

        Each is valid until the next is asked for: it may live in a buffer that is filled again.
        """

    @property
    def recipe(self) -> Recipe | None:
        """How it was made, as JSON-able values; None where nobody knows."""
        return None

    @property
    def promises(self) -> Promises:
        """What its maker vouches for."""
        return Promises()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told about it, a sentence each."""
        return ()

    @property
    def by_channel(self) -> bool:
        """Whether it is of convolutions read by channel, so that an edge stands for a whole filter."""
        return BY_CHANNEL in self.notes

    @property
    def names(self) -> tuple[str, ...]:
        """The parameter that each edge layer is the wiring of, where that is known; else ()."""
        return ()

    def same_layer(self, i: int) -> int:
        """The first layer known, at no cost, to have the same edges as layer i; i where none is."""
        return i

    def __len__(self) -> int:
        """Number of edge layers."""
        return len(self.widths) - 1

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(self.layer_edges)

    def summary(self) -> str:
        """One line: widths, edges and density."""
        widths = self.widths
        shown = (
            "-".join(map(str, widths))
            if len(widths) <= 8
            else f"{widths[0]}-...-{widths[-1]} ({len(widths)} node layers)"
        )
        cells = sum(a * b for a, b in pairwise(widths))
        return f"{shown}, {self.edges:,} edges, density {self.edges / cells:.4g}"
