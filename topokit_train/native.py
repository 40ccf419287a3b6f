"""Sparse layers computed by the native library: its structures, and checks of all that is passed to it.

A job computes one layer or several, one after another, on tiles of the batch: see native/topokit.h, whose structures
these are, field for field.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from ctypes import POINTER, byref, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit._native import native
from topokit.errors import InvalidSpecError

PACK, FORWARD, UNPACK, LOSS, GRADIENT, BACKWARD, INPUT, OPTIMIZE = (1 << bit for bit in range(8))
VALUES, BIAS = 1, 2
MOST_ROWS = 4  # in a group
MANY_ROWS, MANY_COLUMNS = 16, 32  # equal rows of this size share copies of the numbers that they are multiplied with
MOST_VECTORS = 8  # in a tile
MOST_WIDE = MOST_VECTORS * 16  # columns of a tile
CACHE = os.sysconf("SC_LEVEL2_CACHE_SIZE") if "SC_LEVEL2_CACHE_SIZE" in getattr(os, "sysconf_names", ()) else 0
CACHE = max(CACHE, 1 << 19)  # bytes: that of one core
OFTEN = 100  # rows that read an input, not a copy of it: smaller tiles pay from here on
LEAST_OF_A_THREAD = 1 << 20  # products of a weight and a number
MOST_KEPT = 1 << 26  # bytes of memory that a thread keeps for its next call
MOST_FORMS = 8  # sizes of batches whose structures a chain keeps
DENSE = 1 << 16  # weights: a larger dense layer is torch's
TYPES = (torch.float32, torch.float64)  # that the library computes in
STORED = (*TYPES, torch.bfloat16)  # that operands and results may have

Int32s = NDArray[np.int32]


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("groups", c_int32),
        *((name, c_void_p) for name in ("bounds", "rows", "ends", "work", "starts", "columns", "order")),
    )


class Layer(ctypes.Structure):
    """One layer of a job."""

    _fields_ = (
        ("weight", _Matrix),
        ("transposed", _Matrix),
        *((name, c_int32) for name in ("into", "out", "relu", "wanted")),
        ("edges", c_int64),
        *((name, c_void_p) for name in ("values", "bias", "values_grad", "bias_grad")),
        *((name, c_int64) for name in ("y", "dy", "ordered")),
        ("moments", c_void_p * 4),
        ("decay", c_double * 2),
    )


class Array(ctypes.Structure):
    """Where features of samples are in memory."""

    _fields_ = (("data", c_void_p), ("feature", c_int64), ("sample", c_int64))

    def point_to(self, tensor: Tensor) -> Tensor:
        """Describe a tensor of shape (features, samples), and return the described one, which may be a copy."""
        if 1 not in tensor.stride():
            tensor = tensor.contiguous()
        self.data, (self.feature, self.sample) = tensor.data_ptr(), tensor.stride()
        return tensor


class Job(ctypes.Structure):
    """One call of the library."""

    _fields_ = (
        *(
            (name, c_int32)
            for name in ("what", "is_double", "threads", "batch", "width", "tiles", "layers", "networks")
        ),
        ("layer", POINTER(Layer)),
        ("saved", c_void_p),
        ("scratch", c_void_p),
        *((name, c_int64) for name in ("saved_size", "scratch_size", "dx_tiles")),
        *((name, Array) for name in ("x", "y", "dy", "dx")),
        ("x_bytes", c_int32),
        ("shared", c_int32),
        ("x_shift", c_double),
        ("x_scale", c_double),
        *((name, c_void_p) for name in ("index", "labels", "losses", "loss")),
        ("optimizer", c_int32),
        *((name, c_double) for name in ("rate", "beta1", "beta2", "epsilon", "correction1", "correction2")),
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse matrix in compressed rows, some of which have equal columns, checked.

    Args:
        starts: shape (rows + 1,): the edges of row r are number starts[r] to starts[r + 1] - 1.
        columns: shape (edges,).
        rows: shape (rows,): every row once, group after group.
        bounds: shape (groups + 1,): where the groups begin in `rows`; each has 1 to 4 rows with equal columns.
        width: number of columns.
        order: shape (edges,): the place of each edge's value, for a transposed matrix; None for the other.

    Raises:
        InvalidSpecError: the arrays do not describe such a matrix: nothing in the library checks them again.
    """

    starts: Int32s
    columns: Int32s
    rows: Int32s
    bounds: Int32s
    width: int
    order: Int32s | None = None

    def __post_init__(self) -> None:
        arrays = {"starts": self.starts, "columns": self.columns, "rows": self.rows, "bounds": self.bounds}
        for name, array in arrays.items() if self.order is None else {**arrays, "order": self.order}.items():
            if array.dtype != np.int32 or array.ndim != 1 or not array.flags.c_contiguous:
                raise InvalidSpecError(f"{name} must be a contiguous int32 array of one dimension")
        count, edges = self.starts.size - 1, self.columns.size
        _require(
            count >= 0 and _rises(self.starts, 0, edges), f"starts must rise from 0 to the number of edges, {edges}"
        )
        _require(_within(self.columns, self.width), f"columns must be from 0 to {self.width - 1}")
        _require(np.array_equal(np.sort(self.rows), np.arange(count)), f"rows must have each of the {count} rows once")
        _require(self.bounds.size > 0 and _rises(self.bounds, 0, count), f"bounds must rise from 0 to {count}")
        sizes = np.diff(self.bounds)
        _require(_within(sizes - 1, MOST_ROWS), f"a group must have 1 to {MOST_ROWS} rows")
        degrees = np.diff(self.starts)[self.rows]
        leads = np.repeat(self.bounds[:-1], sizes)
        equal = np.array_equal(degrees, degrees[leads]) and np.array_equal(
            self.columns[_ranges(self.starts[self.rows], degrees)],
            self.columns[_ranges(self.starts[self.rows[leads]], degrees)],
        )
        _require(equal, "the rows of a group must have equal columns")
        if self.order is not None:
            _require(
                np.array_equal(np.sort(self.order), np.arange(edges)), "order must have the place of each edge once"
            )

    @cached_property
    def ends(self) -> Int32s:
        """For each group, the end of the groups with its columns; 0 if they or the columns are few; shape (groups,)."""
        leads = self.rows[self.bounds[:-1]]
        degrees = np.diff(self.starts)[leads]
        equal = np.diff(degrees) == 0  # of each group and the next
        places = (_ranges(self.starts[side], degrees[1:] * equal) for side in (leads[:-1], leads[1:]))
        differs = np.not_equal(*(self.columns[place] for place in places))
        equal[np.repeat(np.arange(equal.size), degrees[1:] * equal)[differs]] = False
        begins = np.flatnonzero(np.concatenate([[True], ~equal])[: leads.size])
        ends = np.append(begins[1:], leads.size)
        many = (self.bounds[ends] - self.bounds[begins] >= MANY_ROWS) & (degrees[begins] >= MANY_COLUMNS)
        return np.repeat(ends * many, ends - begins).astype(np.int32)

    @cached_property
    def work(self) -> Int32s:
        """The edges and rows before each group, shape (groups + 1,)."""
        before = np.concatenate([[0], np.cumsum(np.diff(self.starts)[self.rows] + 4)])
        return before[self.bounds].astype(np.int32)

    def fill(self, matrix: _Matrix) -> None:
        """Write the addresses of the arrays, which must live as long."""
        matrix.groups = self.bounds.size - 1
        for name in ("bounds", "rows", "ends", "work", "starts", "columns"):
            setattr(matrix, name, getattr(self, name).ctypes.data)
        matrix.order = None if self.order is None else self.order.ctypes.data


class Pattern:
    """The edges of a layer, ready for the library.

    Args:
        weight: W, whose rows are the targets.
        transposed: its transpose, with the same values.
    """

    def __init__(self, weight: Rows, transposed: Rows):
        self.arrays = (weight, transposed)  # the structure has their addresses
        self.edges = weight.columns.size
        self.shape = (weight.starts.size - 1, weight.width)  # (out, in)
        sizes = (transposed.width, transposed.starts.size - 1, transposed.columns.size)
        _require(sizes == (*self.shape, self.edges), "the transpose must have the shape and the edges of the weight")
        _require(weight.order is None and transposed.order is not None, "the transpose alone must have an order")
        self.chains: dict[object, Chain] = {}  # that begin with this layer
        self.often = self.edges >= OFTEN * max(self.shape) and not weight.ends.all()
        self.layer = Layer(edges=self.edges, out=self.shape[0], into=self.shape[1])
        weight.fill(self.layer.weight)
        transposed.fill(self.layer.transposed)


def grouped(sizes: NDArray[np.int64]) -> Int32s:
    """Return the bounds of groups of 1 to 4 rows, about equal in size, for consecutive classes of these sizes."""
    parts = -(-sizes // MOST_ROWS)
    whole = np.repeat(sizes, parts)
    number = np.arange(whole.size) - np.repeat(np.cumsum(parts) - parts, parts)
    each = np.repeat(parts, parts)
    return np.concatenate([[0], np.cumsum(whole // each + (number < whole % each))]).astype(np.int32)


def tiling(batch: int, dtype: torch.dtype, features: int = 0) -> tuple[int, int]:
    """Return the columns of a tile and the number of tiles for a batch.

    Args:
        batch: number of samples.
        dtype: of the numbers.
        features: of the widest layer that reads each of its inputs often, whose tiles should fit into the cache.
    """
    library = native()
    assert library is not None
    lanes: int = library.tk_lanes(dtype == torch.float64)
    vectors = MOST_VECTORS // 2 if features * MOST_VECTORS * lanes * dtype.itemsize >= CACHE / 2 else MOST_VECTORS
    tiles = max(1, ceil(batch / (vectors * lanes)))
    return max(1, ceil(batch / tiles / lanes)) * lanes, tiles


class Form(NamedTuple):
    """What a job has in common for all batches of one size and type.

    Args:
        job: the structure.
        layers: its layers.
        saved: elements of the tiles of the input and all outputs.
        scratch: elements of those of their gradients, and of the values in another order.
    """

    job: Job
    layers: Any
    saved: int
    scratch: int

    def copied(self) -> tuple[Job, Any]:
        """Return copies of the job and of its layers, for the addresses of one batch."""
        layers, job = type(self.layers).from_buffer_copy(self.layers), Job.from_buffer_copy(self.job)
        job.layer = layers
        return job, layers


class Chain:
    """Layers one after another, y = relu(W x + bias) each, of which the library computes products and gradients.

    Operands in bfloat16 are widened to float32, in which the library computes all layers; the results are rounded.

    Args:
        patterns: of the layers.
        relu: whether ReLU follows each.
    """

    def __init__(self, patterns: Sequence[Pattern], relu: Sequence[bool]):
        for before, after in pairwise(patterns):
            _require(before.shape[0] == after.shape[1], f"{before.shape[0]} outputs cannot be {after.shape[1]} inputs")
        self.patterns = tuple(patterns)
        self.widths = (patterns[0].shape[1], *(pattern.shape[0] for pattern in patterns))
        self.products = sum(pattern.edges for pattern in patterns)  # for a sample
        self.relu = tuple(relu)
        self._forms: dict[object, Form] = {}

    def form(self, batch: int, dtype: torch.dtype) -> Form:
        """Return the structures for batches of a size and type; a call needs a copy of them."""
        key = batch, dtype
        if key not in self._forms:
            layers = (Layer * len(self.patterns))(*(pattern.layer for pattern in self.patterns))
            often = (max(one.shape) for one in self.patterns if one.often)
            width, tiles = tiling(batch, dtype, max(often, default=0))
            saved = scratch = self.widths[0] * width * tiles
            for layer, flag in zip(layers, self.relu, strict=True):
                layer.relu, layer.y, layer.dy = flag, saved, scratch
                saved += layer.out * width * tiles
                layer.ordered = scratch + layer.out * width * tiles
                scratch = layer.ordered + layer.edges
            job = Job(batch=batch, width=width, tiles=tiles, layers=len(layers), networks=1, shared=1)
            job.is_double = dtype == torch.float64
            if len(self._forms) >= MOST_FORMS:
                self._forms.clear()
            self._forms[key] = Form(job, layers, saved, scratch)
        return self._forms[key]

    def forward(
        self, x: Tensor, values: Sequence[Tensor], biases: Sequence[Tensor | None], y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the last layer's output, shape (out, batch), and all tiles, which `backward` needs.

        Args:
            x: shape (in, batch), in any layout.
            values: of each layer, shape (edges,), or (out, in) of a dense one.
            biases: of each layer, shape (out,), or None.
            y: memory for the output, shape (out, batch); it or its transpose is contiguous. By default new memory.

        Raises:
            InvalidSpecError: an array has the wrong shape, type or layout.
        """
        if x.dtype == torch.bfloat16:
            y = x.new_empty(self.widths[-1], x.shape[1]) if y is None else y
            exact, tiles = self.forward(x.float(), *_widened(values, biases), torch.empty_like(y, dtype=torch.float32))
            return y.copy_(exact), tiles
        job, _, form = self._job(x, self.widths[0], values, biases)
        y = x.new_empty(self.widths[-1], x.shape[1]) if y is None else y
        _require(y.shape == (self.widths[-1], x.shape[1]) and y.dtype == x.dtype, "y has another shape or type")
        _require(y.is_contiguous() or y.T.is_contiguous(), "y must be contiguous, or its transpose")
        saved = x.new_empty(form.saved)
        job.what, job.saved = PACK | FORWARD | UNPACK, saved.data_ptr()
        x = job.x.point_to(x)
        job.y.point_to(y)
        run(job)
        return y, saved

    def backward(
        self,
        grad: Tensor,
        saved: Tensor,
        values: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        wanted: Sequence[bool],
        for_x: bool,
    ) -> list[Tensor | None]:
        """Return the gradient of x, then those of values and bias of each layer; None if it is not wanted.

        Args:
            grad: of the output, shape (out, batch), in any layout.
            saved: the tiles of `forward`.
            values: as of `forward`.
            biases: as of `forward`.
            wanted: for values and bias of each layer in turn, whether the gradient is wanted.
            for_x: whether that of x is.

        Raises:
            InvalidSpecError: an array has the wrong shape, type or layout.
        """
        if grad.dtype == torch.bfloat16:
            exact = self.backward(grad.float(), saved, *_widened(values, biases), wanted, for_x)
            return [None if one is None else one.to(grad.dtype) for one in exact]
        job, layers, form = self._job(grad, self.widths[-1], values, biases)
        found: list[Tensor | None] = [grad.new_empty(grad.shape[1], self.widths[0]).T if for_x else None]
        for layer, value, for_values, for_bias in zip(layers, values, wanted[::2], wanted[1::2], strict=True):
            own = torch.empty_like(value) if for_values else None, grad.new_empty(layer.out) if for_bias else None
            layer.values_grad, layer.bias_grad = (None if one is None else one.data_ptr() for one in own)
            layer.wanted = VALUES * for_values + BIAS * for_bias
            found += own
        scratch = memory(form.scratch * grad.dtype.itemsize)
        job.what = GRADIENT | BACKWARD | INPUT * for_x
        job.saved, job.scratch = address(saved, form.saved, grad.dtype), scratch.data_ptr()
        grad = job.dy.point_to(grad)
        if found[0] is not None:
            job.dx.point_to(found[0])
        run(job)
        return found

    def _job(
        self, x: Tensor, features: int, values: Sequence[Tensor], biases: Sequence[Tensor | None]
    ) -> tuple[Job, Any, Form]:
        """Return the job of a batch, its layers and its form; `x` is the input, or the gradient of the output."""
        dtype, size = x.dtype, x.shape[-1]
        if dtype not in TYPES or x.device.type != "cpu" or x.shape != (features, size):
            raise InvalidSpecError(
                f"expected shape ({features}, batch) in float32 or float64 on cpu, "
                f"not {tuple(x.shape)} in {x.dtype} on {x.device}"
            )
        form = self.form(size, dtype)
        job, layers = form.copied()
        for layer, pattern, value, bias in zip(layers, self.patterns, values, biases, strict=True):
            layer.values = address(value, pattern.edges, dtype)
            layer.bias = None if bias is None else address(bias, pattern.shape[0], dtype)
        job.threads = max(1, min(torch.get_num_threads(), self.products * size // LEAST_OF_A_THREAD))
        return job, layers, form


def joint(
    matrices: Sequence[Any],
    relu: Sequence[bool],
    x: Tensor,
    values: Sequence[Any],
    biases: Sequence[Tensor | None],
) -> Chain | None:
    """Return layers as one chain of the library; None if it does not compute them all, or none of them is sparse.

    Args:
        matrices: of the layers, with a method `pattern`.
        relu: whether ReLU follows each.
        x: their input.
        values: of the layers.
        biases: of the layers.
    """
    if torch.compiler.is_compiling() or native() is None or x.dtype not in STORED:
        return None
    if x.device.type != "cpu" or type(x) not in (Tensor, torch.nn.Parameter):  # not a fake one
        return None
    if max(x.shape) >= 2**31:
        return None
    if not any(matrix.for_native for matrix in matrices) or not all(_in_order(one) for one in (*values, *biases)):
        return None
    patterns = [matrix.pattern(value) for matrix, value in zip(matrices, values, strict=True)]
    if not all(patterns):
        return None
    key = *map(id, patterns), *relu
    chains: dict[object, Chain] = patterns[0].chains
    if key not in chains:
        chains[key] = Chain(patterns, relu)  # which has all patterns, so no other gets their ids
    return chains[key]


@lru_cache(maxsize=32)
def dense_pattern(copies: int, out: int, into: int) -> Pattern | None:
    """Return the pattern of dense layers side by side, with values of shape (copies, out, in); None if it is large."""
    if not 0 < copies * out * into <= DENSE:
        return None
    number = np.arange(copies * out * into, dtype=np.int32).reshape(copies, out, into)
    copy, target, source = np.unravel_index(number, number.shape)
    sides = []
    for columns, rows, order in (
        ((copy * into + source).reshape(-1), copies * out, None),
        ((copy * out + target).transpose(0, 2, 1).reshape(-1), copies * into, number.transpose(0, 2, 1).reshape(-1)),
    ):
        width = copies * (into if order is None else out)
        starts = np.arange(rows + 1, dtype=np.int32) * np.int32(number.size // rows)
        bounds = grouped(np.full(copies, rows // copies))
        sides.append(Rows(starts, columns.astype(np.int32), np.arange(rows, dtype=np.int32), bounds, width, order))
    return Pattern(*sides)


def address(tensor: Tensor, size: int, dtype: torch.dtype) -> int:
    """Return the address of a tensor's numbers.

    Raises:
        InvalidSpecError: it is not a contiguous tensor of this many numbers of this type in the main memory.
    """
    if tensor.numel() != size or tensor.dtype != dtype or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise InvalidSpecError(
            f"expected {size} contiguous numbers of {dtype} on cpu, not {tuple(tensor.shape)} of {tensor.dtype} on "
            f"{tensor.device}, contiguous: {tensor.is_contiguous()}"
        )
    return tensor.data_ptr()


class _Kept(threading.local):
    memory = torch.empty(0, dtype=torch.uint8, device="cpu")


_KEPT = _Kept()


def memory(size: int) -> Tensor:
    """Return memory of at least so many bytes for one call, which this thread's next call may use again.

    The system clears new memory page by page, which takes as long as a product of a small layer.
    """
    if _KEPT.memory.numel() >= size:
        return _KEPT.memory
    new = torch.empty(size, dtype=torch.uint8, device="cpu")
    if size <= MOST_KEPT:
        _KEPT.memory = new
    return new


def run(job: Job) -> None:
    """Call the library, which checks nothing: every address in the job must be that of an array of the right size."""
    library = native()
    assert library is not None
    library.tk_run(byref(job))


def _widened(values: Sequence[Tensor], biases: Sequence[Tensor | None]) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return parameters of bfloat16 in float32.

    Raises:
        InvalidSpecError: some have another type.
    """
    kinds = {one.dtype for one in (*values, *biases) if one is not None}
    _require(kinds == {torch.bfloat16}, f"expected values and biases of torch.bfloat16, not {kinds}")
    return [one.float() for one in values], [None if one is None else one.float() for one in biases]


def _in_order(tensor: Tensor | None) -> bool:
    return tensor is None or tensor.is_contiguous()


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidSpecError(message)


def _within(numbers: NDArray[Any], end: int) -> bool:
    return not numbers.size or (int(numbers.min()) >= 0 and int(numbers.max()) < end)


def _rises(numbers: NDArray[Any], first: int, last: int) -> bool:
    return bool(numbers[0] == first and numbers[-1] == last and (np.diff(numbers) >= 0).all())


def _ranges(starts: NDArray[Any], sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the numbers of several ranges, one range after another."""
    before = np.cumsum(sizes) - sizes
    numbers: NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(starts.astype(np.int64) - before, sizes)
    return numbers
