"""Topology, the layered graph held in memory, and the fingerprint of any layered graph."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import INDEX, Storage
from topokit.edges import from_edges, validate
from topokit.errors import InvalidGraphError
from topokit.fields import names_of
from topokit.layered import Layer, Layered, Promises, Recipe, Source, network
from topokit.reprs import counted


class Topology(Layered):
    """Edge layers held in memory; immutable.

    The constructor trusts its layers' edges and checks only that the shapes chain. Use `from_csr`,
    `from_scipy`, `from_dense` or `from_graphblas` for arrays that come from outside.

    Args:
        layers: at least one; the targets of each are the sources of the next.
        recipe: how it was built, if this is known.
        promises: properties guaranteed by construction.
        recorded_fingerprint: the one that a file records; the soundness check compares it.
        notes: remarks for users, a sentence each.
        names: of the parameters whose edges the layers are, if they are known.
        by_channel: whether it is of convolutions read by channel: an edge stands for a whole filter.

    Raises:
        InvalidGraphError: no layers, shapes that do not chain, or names that are not one of its own for each layer.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        recipe: Recipe | None = None,
        promises: Promises | None = None,
        recorded_fingerprint: str | None = None,
        notes: Sequence[str] = (),
        names: str | Sequence[str] = (),
        by_channel: bool = False,
    ):
        self._layers = tuple(layers)
        if not self._layers:
            raise InvalidGraphError("a topology needs at least one edge layer")
        for i, (one, two) in enumerate(pairwise(self._layers)):
            if one.shape[1] != two.shape[0]:
                raise InvalidGraphError(
                    f"layer {i} ends in {counted(one.shape[1], 'node')}, but layer {i + 1} starts from {two.shape[0]}: "
                    "they must be equal"
                )
        self._recipe = recipe
        self._promises = promises or Promises()
        self._notes = tuple(notes)
        self._names = _names(names, len(self._layers))
        self._by_channel = by_channel
        self.recorded_fingerprint = recorded_fingerprint
        first: dict[int, int] = {}
        self._same = tuple(first.setdefault(id(layer), i) for i, layer in enumerate(self._layers))

    @classmethod
    def from_csr(
        cls, arrays: Iterable[tuple[NDArray[Any], NDArray[Any]]], widths: Sequence[int], **about: Any
    ) -> Topology:
        """From (indptr, indices) of each layer, in canonical order; copied and validated. O(edges).

        Args:
            arrays: a pair for each edge layer; source u feeds indices[indptr[u]:indptr[u + 1]], increasing.
            widths: nodes in each node layer.
            about: recipe, promises and so on, as for the constructor.

        Raises:
            InvalidGraphError: which layer breaks which rule, or widths that are no integers.
        """
        widths, given = _integers(widths), iter(arrays)
        layers = [
            _copied(np.asarray(indptr), np.asarray(indices), shape, f"layer {i}")
            for i, (shape, (indptr, indices)) in enumerate(zip(pairwise(widths), given, strict=False))
        ]
        count, wanted = len(layers) + (next(given, None) is not None), len(widths) - 1
        if count != wanted:
            raise InvalidGraphError(f"{counted(len(widths), 'width')} need {counted(wanted, 'layer')}, not {count}")
        return cls(layers, **about)

    @classmethod
    def from_scipy(cls, matrices: Any, **about: Any) -> Topology:
        """From scipy sparse matrices, shape (sources, targets): every stored nonzero is an edge. O(edges log edges).

        Args:
            matrices: one matrix, which is the only layer, or one for each layer.
            about: recipe, promises and so on, as for the constructor.

        Raises:
            InvalidGraphError: another kind of matrix, entries given twice, not-a-number values, shapes that do not
                chain.
        """
        layers = []
        for i, matrix in enumerate(_several(matrices, hasattr(matrices, "tocoo"))):
            if not hasattr(matrix, "tocoo") or len(matrix.shape) != 2:
                what = f"not {type(matrix).__name__}: from_dense takes arrays"
                raise InvalidGraphError(f"layer {i} must be a 2-D scipy sparse matrix, {what}")
            coo = matrix.tocoo()
            if np.issubdtype(coo.dtype, np.inexact) and np.isnan(coo.data).any():
                raise InvalidGraphError(f"layer {i}: a value is not a number")
            kept = coo.data != 0
            layers.append(Layer(from_edges(coo.row[kept], coo.col[kept], coo.shape, f"layer {i}")))
        return cls(layers, **about)

    @classmethod
    def from_dense(cls, matrices: Any, **about: Any) -> Topology:
        """From dense arrays, shape (sources, targets): every nonzero is an edge. O(sources * targets).

        Args:
            matrices: one 2-D array, which is the only layer, or one for each layer. Rows are sources: a weight
                matrix of torch, (out, in), is transposed first, or goes to `topokit.from_masks`.
            about: recipe, promises and so on, as for the constructor.

        Raises:
            InvalidGraphError: arrays of other dimensions or of no numbers; as for `from_scipy`.
        """
        from scipy.sparse import coo_array

        try:
            given = [filled(one) for one in _several(matrices, getattr(matrices, "ndim", 0) == 2)]
        except (RuntimeError, TypeError) as error:  # of torch: a gradient, a type that NumPy lacks
            raise InvalidGraphError(f"a matrix cannot be read as a NumPy array: {error}") from None
        for i, array in enumerate(given):
            if array.ndim != 2 or array.dtype.kind not in "biufc":
                what = f"has {array.ndim} dimensions and holds {array.dtype}"
                raise InvalidGraphError(f"layer {i} {what}: give one 2-D array of numbers, or a list of them")
        return cls.from_scipy(map(coo_array, given), **about)

    @classmethod
    def from_graphblas(cls, matrices: Iterable[Any], **about: Any) -> Topology:
        """From graphblas matrices, shape (sources, targets): every entry is an edge. O(edges).

        Raises:
            InvalidGraphError: something else than a matrix, entries of value 0, or shapes that do not chain.
        """
        layers = []
        for i, matrix in enumerate(matrices):
            if not hasattr(matrix, "ncols") or not hasattr(matrix, "ss"):
                what = f"not a {type(matrix).__name__}: use .new() of a transposed one"
                raise InvalidGraphError(f"layer {i} must be a graphblas Matrix, {what}")
            raw = matrix.ss.export("csr", sort=True)
            if not raw["values"].astype(bool).all():
                raise InvalidGraphError(
                    f"layer {i} has entries of value 0, which may be edges or not: drop them by "
                    'matrix.select("!=", 0).new(), or make all entries edges by matrix.apply("one").new()'
                )
            layers.append(_copied(raw["indptr"], raw["col_indices"], (matrix.nrows, matrix.ncols), f"layer {i}"))
        return cls(layers, **about)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return (self._layers[0].shape[0], *(layer.shape[1] for layer in self._layers))

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(layer.edges for layer in self._layers)

    def layer(self, i: int) -> Layer:
        return self._layers[i]

    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        return iter(self._layers[::-1] if reverse else self._layers)

    @property
    def recipe(self) -> Recipe | None:
        return self._recipe

    @property
    def promises(self) -> Promises:
        return self._promises

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    @property
    def by_channel(self) -> bool:
        return self._by_channel

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    def same_layer(self, i: int) -> int:
        return self._same[i]

    def __repr__(self) -> str:
        return f"<Topology {self.summary()}>"


from_scipy, from_dense = Topology.from_scipy, Topology.from_dense


def filled(matrix: Any) -> NDArray[Any]:
    """Return the array of a matrix; what a masked array masks is 0. float16 becomes float32, which scipy has."""
    array = np.asarray(matrix.filled(0) if hasattr(matrix, "filled") else matrix)  # without an import of numpy.ma
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _several(matrices: Any, alone: bool) -> Iterable[Any]:
    """The matrices of all layers, whether one is given or several."""
    if alone:
        return [matrices]
    if not isinstance(matrices, Iterable) or isinstance(matrices, str):
        raise InvalidGraphError(f"give one 2-D matrix, or a list of them, not {shortened(matrices)}")
    return matrices


def _names(names: str | Sequence[str], layers: int) -> tuple[str, ...]:
    """The layers' names, none or one of its own for each: a layer is found by its name."""
    given = names_of(names, "`names`", [names] if layers == 1 else ())
    if given and (len(given) != layers or len(set(given)) < layers):
        raise InvalidGraphError(
            f"{counted(len(given), 'name')}, {len(set(given))} of them different, for {counted(layers, 'layer')}: "
            "give each layer a name of its own, or none at all"
        )
    return given


def _integers(widths: Sequence[int]) -> tuple[int, ...]:
    """The widths as Python's integers: those of NumPy overflow in a sum, and JSON does not take them."""
    try:
        return tuple(map(operator.index, widths))
    except TypeError:
        raise InvalidGraphError(f"widths must be integers, not {shortened(widths)}: give 300 and not 300.0") from None


def _copied(indptr: NDArray[Any], indices: NDArray[Any], shape: tuple[int, int], where: str) -> Layer:
    validate(indptr, indices, shape, where)
    return Layer(Storage(np.array(indptr, INDEX), np.array(indices, INDEX), shape))


def fingerprint(net: Source) -> str:
    """64 hexadecimal digits that are equal for equal edges, whatever made them.

    SHA-256 over the widths (uint64, little-endian) and then each layer's own SHA-256, which is taken
    over indptr (uint64, little-endian) and indices (uint32, little-endian). Equal layers are hashed once.
    O(edges) time, one layer in memory.
    """
    net = network(net)
    digests: list[bytes] = []
    for i, layer in enumerate(net.stream()):
        first = net.same_layer(i)
        digests.append(digests[first] if first < i else layer_digest(layer))
    return combined_digest(net.widths, digests)


def fingerprint_error(net: Topology, computed: str) -> str:
    """Return how the recorded fingerprint of a topology differs from the computed one; "" if it does not."""
    recorded = net.recorded_fingerprint
    if recorded in (None, computed):
        return ""
    return f"the edges' fingerprint is {computed[:12]}..., but {recorded[:12]}... is recorded"


def combined_digest(widths: Sequence[int], digests: Iterable[bytes]) -> str:
    """The fingerprint of a net with these widths and digests of its layers, in order."""
    total = hashlib.sha256(np.array(widths, "<u8").tobytes())
    for digest in digests:
        total.update(digest)
    return total.hexdigest()


def layer_digest(layer: Layer) -> bytes:
    """The SHA-256 of one layer's edges, as `fingerprint` defines it."""
    digest = hashlib.sha256(np.ascontiguousarray(layer.indptr, "<u8").data)
    block = 1 << 20  # keeps the narrowed copy small
    for start in range(0, layer.edges, block):
        digest.update(layer.indices[start : start + block].astype("<u4").data)
    return digest.digest()
