"""The native library, if the package was built with one: what it computes, NumPy and torch compute more slowly.

The environment variable TOPOKIT_NATIVE limits it: "0" switches it off, "baseline", "avx2" or "avx512" names the best
instruction set that it may use. docs/native.md describes it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InvalidSpecError

LIBRARY = Path(__file__).with_name("libtopokit.so")
ABI = 3  # TOPOKIT_ABI in native/topokit.h
LIMITS = ("0", "1", "baseline", "avx2", "avx512")


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    """The library and its instruction set; or None and the reason.

    Raises:
        InvalidSpecError: TOPOKIT_NATIVE has another value.
    """
    limit = os.environ.get("TOPOKIT_NATIVE") or "1"
    if limit not in LIMITS:
        raise InvalidSpecError(f"the environment variable TOPOKIT_NATIVE is {limit}: it must be {', '.join(LIMITS)}")
    if limit == "0":
        return None, "TOPOKIT_NATIVE is 0"
    if not LIBRARY.exists():
        return None, "not compiled"
    if _is_cut():
        return None, f"{LIBRARY.name} is damaged: install the package again"
    try:
        found = ctypes.CDLL(str(LIBRARY))
        found.tk_isa.restype = ctypes.c_char_p
        found.tk_run.restype = None
        found.tk_classes.restype = ctypes.c_int64
        if found.tk_abi() != ABI:
            return None, f"{LIBRARY.name} belongs to another version: install the package again"
    except (OSError, AttributeError) as error:
        return None, f"{LIBRARY.name} does not load: {error}"
    if limit != "1":
        found.tk_limit(limit.encode())
    return found, found.tk_isa().decode()


def _is_cut() -> bool:
    """Whether the library is an ELF file whose end is missing: loading such a file can end the process."""
    with LIBRARY.open("rb") as file:
        start, size = file.read(64), file.seek(0, os.SEEK_END)
    if len(start) < 64 or start[:6] != b"\x7fELF\2\1":  # 64 bits, little-endian
        return False
    (table,), (entry, count) = struct.unpack_from("<Q", start, 40), struct.unpack_from("<HH", start, 58)
    return bool(size < table + entry * count)  # the table of sections is the last part


def native() -> ctypes.CDLL | None:
    """Return the native library; None if there is none, or it is switched off."""
    return _loaded()[0]


def description() -> str:
    """Return which native library is used, as a short text.

    >>> description().startswith(("native library: ", "no native library: "))
    True
    """
    library, text = _loaded()
    return f"native library: {text}" if library else f"no native library: {text}"


def is_canonical(indptr: NDArray[Any], indices: NDArray[Any], shape: tuple[int, int]) -> bool:
    """Return whether the library finds a layer in canonical form; False also if it cannot tell. O(edges).

    Args:
        indptr: shape (sources + 1,), uint64.
        indices: shape (edges,), uint64.
        shape: (sources, targets).
    """
    library = native()
    if library is None or indptr.shape != (shape[0] + 1,) or not _readable(indptr, indices):
        return False
    sizes = map(ctypes.c_int64, (*shape, indices.size))
    return bool(library.tk_canonical(_address(indptr), _address(indices), *sizes))


def counts(indices: NDArray[Any], targets: int) -> NDArray[np.int64] | None:
    """Return how often each target is in `indices`, shape (targets,); None if the library cannot count. O(edges)."""
    library = native()
    if library is None or not _readable(indices) or indices.size >= 2**32:
        return None
    found = np.empty(targets, np.int64)
    sizes = map(ctypes.c_int64, (indices.size, targets))
    return found if library.tk_count(_address(indices), *sizes, _address(found)) else None


class LayerRows(ctypes.Structure):
    """tk_rows in native/topokit.h: the rows of a layer. Keep the arrays that its addresses are of."""

    _fields_: ClassVar[Any] = [
        *((name, ctypes.c_int64) for name in ("sources", "targets")),
        *((name, ctypes.c_void_p) for name in ("indptr", "indices")),
        *((name, ctypes.c_int64) for name in ("nodes", "radix", "place", "direction", "joined", "step")),
        ("order", ctypes.c_void_p),
    ]
    degree: int | None  # of each source of a circulant layer
    arrays: tuple[NDArray[Any], ...]


def rows_in_memory(indptr: NDArray[Any], indices: NDArray[Any], shape: tuple[int, int]) -> LayerRows | None:
    """Return the rows of a layer; None without the library, or if they are not in canonical form. O(edges)."""
    if max(indices.size, *shape) >= 2**32 or not is_canonical(indptr, indices, shape):
        return None
    rows = LayerRows(*shape, _address(indptr), _address(indices))
    rows.arrays = (indptr, indices)
    return rows


def circulant_rows(shape: tuple[int, int], sizes: tuple[int, ...], order: NDArray[Any] | None) -> LayerRows | None:
    """Return the rows of a circulant layer; None without the library.

    Args:
        shape: (sources, targets).
        sizes: nodes, radix, place, direction, joined and step, see `topokit.circulant.Circulant`.
        order: shape (sources,), int64, contiguous; or None.

    Raises:
        ValueError: the numbers are not those of a circulant layer.
    """
    nodes, radix, place, direction, joined, step = sizes
    fine = min(nodes, radix, place, joined, step) >= 1 and abs(direction) == 1 and radix * place <= nodes
    fine &= shape[0] % nodes == 0 and shape[1] == nodes * joined * step and max(shape) < 2**32
    if order is not None:
        fine &= order.shape == shape[:1] and order.dtype == np.int64 and order.flags.c_contiguous
        fine = fine and order.min() >= 0 and order.max() < shape[0]
    if not fine:
        raise ValueError(f"not a circulant layer: {shape}, {sizes}, or its order")
    if native() is None:
        return None
    rows = LayerRows(*shape, None, None, *sizes, None if order is None else _address(order))
    rows.degree, rows.arrays = radix * joined, () if order is None else (order,)
    return rows


def fill(rows: LayerRows, indices: NDArray[Any]) -> None:
    """Write the targets of all edges of a circulant layer into `indices`, shape (edges,), uint64. O(edges).

    Raises:
        ValueError: `indices` has another type or size, or the rows are in memory.
    """
    if (
        not _readable(indices)
        or not indices.flags.writeable
        or rows.indices
        or indices.size != rows.sources * rows.degree
    ):
        raise ValueError("needs a circulant layer, and room for the targets of its edges")
    _library().tk_fill(ctypes.byref(rows), _address(indices))


def survey(rows: LayerRows) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the degrees of all sources and of all targets; None if a row is not in canonical form.

    Each edge is computed, compared with the one before and counted. O(edges) time, O(nodes) memory.
    """
    outgoing, incoming = np.empty(rows.sources, np.int64), np.empty(rows.targets, np.int64)
    fine = _library().tk_survey(ctypes.byref(rows), _address(outgoing), _address(incoming))
    return (outgoing, incoming) if fine else None


def multiply(rows: LayerRows, vectors: NDArray[Any], *, reverse: bool) -> NDArray[np.uint64]:
    """Return the sums of vectors over the sources of each target, or the targets of each source if `reverse`.

    Args:
        rows: of the layer.
        vectors: shape (sources, vectors), or (targets, vectors) if `reverse`; uint64.
        reverse: see above.

    Returns:
        Shape (targets, vectors), or (sources, vectors) if `reverse`; modulo 2^64.

    Raises:
        ValueError: the vectors have another shape or type.
        MemoryError: not enough free memory.
    """
    near, far = (rows.targets, rows.sources) if reverse else (rows.sources, rows.targets)
    if vectors.dtype != np.uint64 or vectors.ndim != 2 or len(vectors) != near:
        raise ValueError(f"needs vectors of {near} numbers of type uint64")
    vectors = np.ascontiguousarray(vectors)
    found = np.empty((far, vectors.shape[1]), np.uint64)
    sizes = ctypes.c_int32(reverse), ctypes.c_int64(vectors.shape[1])
    if not _library().tk_multiply(ctypes.byref(rows), *sizes, _address(vectors), _address(found)):
        raise MemoryError("no memory for a product of a layer")
    return found


def entries_of_classes(
    rows: LayerRows, labels: NDArray[Any], classes: int, alike: NDArray[Any], room: int, *, reverse: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]] | None:
    """Compare all far nodes with those that they are said to be like, by their numbers of edges to each near class.

    Near nodes are the sources and far ones the targets, or the other way round if `reverse`.

    Args:
        rows: of the layer.
        labels: shape (near nodes,), int64, the class of each, below `classes`.
        classes: number of near classes.
        alike: shape (far nodes,), int64: the first node that each is like, alike[alike[i]] = alike[i] <= i.
        room: at least the number of edges of the nodes that are like themselves; 0 for a comparison only.
        reverse: see above.

    Returns:
        Entries (far node that is like itself, near class, number of edges between them), without an order. None if a
        node is not like the one that it is said to be like. O(edges) time.

    Raises:
        ValueError: an array has another shape or type, or numbers out of range.
    """
    near, far = (rows.targets, rows.sources) if reverse else (rows.sources, rows.targets)
    fine = labels.dtype == alike.dtype == np.int64 and (labels.shape, alike.shape) == ((near,), (far,))
    fine = fine and labels.min() >= 0 and labels.max() < classes and alike.min() >= 0
    if not fine or (alike > np.arange(far)).any() or (alike[alike] != alike).any():
        raise ValueError("needs the class of each near node, and the first node that each far node is like")
    labels, alike = np.ascontiguousarray(labels), np.ascontiguousarray(alike)
    order = np.argsort(alike if reverse else labels, kind="stable").astype(np.int64, copy=False)
    nodes, near_classes, counts = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint64)
    sizes = [ctypes.c_int64(classes), _address(order), _address(alike), ctypes.c_int64(room)]
    arrays = map(_address, (nodes, near_classes, counts))
    found = _library().tk_classes(ctypes.byref(rows), ctypes.c_int32(reverse), _address(labels), *sizes, *arrays)
    return None if found < 0 else (nodes[:found], near_classes[:found], counts[:found])


def _library() -> ctypes.CDLL:
    library = native()
    if library is None:
        raise RuntimeError(description())
    return library


def _readable(*arrays: NDArray[Any]) -> bool:
    return all(one.ndim == 1 and one.dtype == np.uint64 and one.flags.c_contiguous for one in arrays)


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
