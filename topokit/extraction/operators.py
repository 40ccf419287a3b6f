"""What the operators of a graph do with nodes: move, keep, join, pool, connect or mix them.

A reader of programs names the operator for each of its own (`Program.operators`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from topokit.errors import InvalidGraphError
from topokit.extraction.programs import Array, Call, as_list
from topokit.extraction.tracing import Constant, Ids, constant_along, nodes_of, once
from topokit.masking import as_blocks

PRODUCTS: set[Callable[[Call], Sequence[Any]]] = set()
"""The operators that multiply matrices, or convolve. What they compute is not a weight, even from parameters alone."""


def multiplies(operator: Callable[[Call], Sequence[Any]]) -> Callable[[Call], Sequence[Any]]:
    """Add an operator to `PRODUCTS`, and return it."""
    PRODUCTS.add(operator)
    return operator


def words(text: str, operator: Callable[[Call], Sequence[Any]]) -> dict[str, Callable[[Call], Sequence[Any]]]:
    """Return the same operator for each word of a text."""
    return dict.fromkeys(text.split(), operator)


def mix(call: Call) -> Sequence[Any]:
    """An operator of which nothing is known, or that sums over features."""
    return call.mixed()


def refuse(call: Call) -> Sequence[Any]:
    """An operator without which the graph cannot be read."""
    raise InvalidGraphError(
        f"the node {call.node.name} is {call.node.op}, which topokit does not read: export the model without it"
    )


DATA = ("self", "input", "tensors", "inputs", "data", "X", "x")
"""Names that operators give to the inputs whose elements they move."""


def move(call: Call) -> Sequence[Any]:
    """An operator that moves elements: the same on the numbers of the nodes, 0 for none."""
    return _with_moved(call, DATA)


def _with_moved(call: Call, keys: Sequence[str]) -> Sequence[Any]:
    """Return the outputs of an operator that moves the elements of the inputs `keys`."""
    moved = {}
    data = {ref for key in keys for ref in as_list(call.node.inputs.get(key))}
    for ref, value in call.tensors():
        if isinstance(value, np.ndarray):
            if ref not in data:
                return call.mixed()  # data choose what is moved
            moved[ref] = value + 1 if 0 not in value.strides else np.broadcast_to(once(value) + 1, value.shape)
        else:
            moved[ref] = np.zeros(value.shape, np.int64) if ref in data else value.read()
    return [
        array - 1 if 0 not in array.strides else np.broadcast_to(once(array) - 1, array.shape)
        for array in call.program.run(call.node, moved, of_nodes=True)
    ]


def overwrite(key: str) -> Callable[[Call], Sequence[Any]]:
    """An operator that writes the input `key` over some elements of another: these have its nodes; a constant none."""

    def operator(call: Call) -> Sequence[Any]:
        adds = call["accumulate"] or call["reduce"] is not None
        return call.mixed() if adds else _with_moved(call, (*DATA, key))

    return operator


def choose(other: str) -> Callable[[Call], Sequence[Any]]:
    """Elements of two tensors, chosen by a constant; if data choose them, each element depends on all three.

    Args:
        other: input with the elements at which the condition is false.
    """
    overwrites, joins = overwrite(other), joined("joined")

    def operator(call: Call) -> Sequence[Any]:
        return overwrites(call) if isinstance(call["condition"], Constant) else joins(call)

    return operator


def fill_masked(call: Call) -> Sequence[Any]:
    """An operator that fills the elements which a mask selects; if the mask depends on data, any can keep its node."""
    return overwrite("value")(call) if isinstance(call["mask"], Constant) else keep(call)


def keep(call: Call) -> Sequence[Any]:
    """An operator on each element, or a normalisation: its first input's nodes, in the shape of the output."""
    ids = call.features[0]
    return [np.broadcast_to(ids, shape) if len(shape) >= ids.ndim else None for shape in call.shapes]


def cast(call: Call) -> Sequence[Any]:
    """Another type, or a copy: the same nodes, and of a weight the same weight."""
    return keep(call)


@cache
def joined(kind: str) -> Callable[[Call], Sequence[Any]]:
    """An operator on the elements of several tensors."""

    def operator(call: Call) -> Sequence[Any]:
        ids, *others = call.features
        name = call.node.outputs[0]
        for left, other in zip(range(len(others), 0, -1), others, strict=True):  # the last one has the node's name
            ids = call.tracing.join(kind, name if left == 1 else f"{name}, part {len(others) - left + 1}", ids, other)
        shape = np.broadcast_shapes(ids.shape, *(one.shape for _, one in call.tensors()))
        return [np.broadcast_to(ids, shape)]

    return operator


def with_bias(call: Call, made: Any, bias: Any) -> Sequence[Any]:
    """The output of a layer, to which a bias is added that depends on the data; a constant one changes no node."""
    if isinstance(bias, np.ndarray):
        made = call.tracing.join("added", f"{call.node.outputs[0]} bias", made, bias)
    return [made]


def pool(call: Call) -> Sequence[Any]:
    """An operator on positions, the last axes of its input: each channel keeps its node.

    torch names their number, as in max_pool2d, and allows inputs without a batch; others have two axes before them.
    """
    ids = call.features[0]
    named = re.search("([123])d", call.node.op)
    positions = int(named[1]) if named else ids.ndim - 2
    changed = {i for i, (a, b) in enumerate(zip(ids.shape, call.shapes[0], strict=True)) if a != b}
    one = constant_along(ids, changed | {*range(ids.ndim - positions, ids.ndim)})
    return call.mixed() if one is None else [np.broadcast_to(one, output) for output in call.shapes]


def reduce_(
    axes_key: str, keep_key: str, *, kept: bool = False, default: int | None = None
) -> Callable[[Call], Sequence[Any]]:
    """A sum, mean or maximum over some axes: they must be positions, along which nodes are equal.

    Args:
        axes_key: input with the axes.
        keep_key: input that says whether reduced axes stay, with the length 1.
        kept: whether they stay by default.
        default: the axis if no axes are given; None for all axes.
    """

    def operator(call: Call) -> Sequence[Any]:
        ids = call.features[0]
        axes = call.number(axes_key)
        axes = default if axes is None else axes
        axes = range(ids.ndim) if axes is None or axes == [] else as_list(axes)
        axes = [axis % ids.ndim for axis in axes]
        one = constant_along(ids, axes)
        if one is None:
            return call.mixed()
        keeps = call.number(keep_key)
        one = one if (kept if keeps is None else keeps) else np.squeeze(one, tuple(axes))
        return [one for _ in call.node.outputs]

    return operator


def along(axis_key: str, *, default: int = 0) -> Callable[[Call], Sequence[Any]]:
    """A sum, sort or choice along one axis, of positions.

    Args:
        axis_key: input with the axis.
        default: the axis if none is given.
    """

    def operator(call: Call) -> Sequence[Any]:
        ids = call.features[0]
        axis = call.number(axis_key)
        one = constant_along(ids, [(default if axis is None else axis) % ids.ndim], strict=True)
        if one is None:
            return call.mixed()
        return [np.broadcast_to(one, shape) for shape in call.shapes]

    return operator


def convolve(x: str, w: str, *, transposed: bool = False) -> Callable[[Call], Sequence[Any]]:
    """A convolution of any dimensions: its nodes are the channels."""

    @multiplies
    def operator(call: Call) -> Sequence[Any]:
        ids, weight = call[x], call[w]
        if not isinstance(weight, Constant) or not isinstance(ids, np.ndarray):
            return call.mixed()
        channels = ids.ndim - len(weight.shape) + 1
        groups = call.number("groups") or call.number("group") or 1
        reads = np.moveaxis(ids, channels, 0)
        reads = _collapsed(reads, 1).reshape(groups, reads.shape[0] // groups, -1)
        out = weight.shape[1] if transposed else weight.shape[0] // groups
        matrix = partial(as_blocks, layout="in-out" if transposed else "out-in", groups=groups)
        how = f"({'in, out' if transposed else 'out, in'}, ...)" + (f", {groups} groups" if groups > 1 else "")
        nodes = call.tracing.connect(weight, how, matrix, reads, out, filters=True)
        shape = call.shapes[0]
        return [np.broadcast_to(nodes.reshape(-1, *(1,) * (len(shape) - channels - 1)), shape)]

    return operator


def _collapsed(ids: Ids, first: int) -> Ids:
    """Return an array whose axes from `first` on are one; if nodes are equal along all of them, of length 1."""
    one = constant_along(ids, range(first, ids.ndim))
    ids = _partly(ids, first) if one is None else one
    return ids.reshape(*ids.shape[:first], -1)


def _partly(ids: Ids, first: int) -> Ids:
    """Return an array without the axes from `first` on along which nodes are equal."""
    for axis in range(first, ids.ndim):
        one = constant_along(ids, [axis])
        ids = ids if one is None else one
    return ids


def multiply(one: str, two: str) -> Callable[[Call], Sequence[Any]]:
    """A matrix product: a layer if one of the two is a constant, unless that is itself computed by a product."""

    @multiplies
    def operator(call: Call) -> Sequence[Any]:
        return [product(call, call[one], call[two])]

    return operator


def linear(x: str, w: str) -> Callable[[Call], Sequence[Any]]:
    """A product with a matrix (out, in): a weight, however it is computed."""

    @multiplies
    def operator(call: Call) -> Sequence[Any]:
        ids, weight = call[x], turned(call[w])
        if isinstance(ids, np.ndarray) and isinstance(weight, Constant):
            return [_layer(call, ids, weight, "(out, in)")]
        return [product(call, ids, weight, "(out, in)")]

    return operator


def turned(value: Any) -> Any:
    """Return a matrix, or a stack of them, with its last two axes exchanged."""
    if value.ndim < 2 if isinstance(value, np.ndarray) else len(value.shape) < 2:
        return value
    return value.moved(_swapped) if isinstance(value, Constant) else _swapped(value)


def _swapped(array: Array) -> Array:
    return np.swapaxes(array, -1, -2)


def product(call: Call, one: Any, two: Any, how: str = "(in, out)") -> Any:
    """Return the product of two matrices or stacks of them, of which at least one is an array of nodes.

    By a constant that is a product itself, such as the queries of learned vectors, nodes are mixed, as by the queries
    of data: in both cases attention averages positions by the result.
    """
    if any(isinstance(factor, Constant) and factor.product for factor in (one, two)):
        return call.mixed()[0]
    if isinstance(one, Constant):
        if isinstance(two, Constant):
            raise InvalidGraphError(f"the node {call.node.name} ({call.node.op}) multiplies two constants")
        if two.ndim == 1 or len(one.shape) == 1:
            return product(call, two, turned(one), "(out, in)") if two.ndim == 1 else call.mixed()[0]
        return _swapped(product(call, _swapped(two), turned(one), "(out, in)"))
    if isinstance(two, Constant):
        return _layer(call, one, two, how)
    return _attended(call, one, two)


def _layer(call: Call, ids: Ids, weight: Constant, how: str) -> Ids:
    """Return the outputs of a layer that multiplies nodes (..., positions, in) by a weight (..., in, out)."""
    vector = len(weight.shape) == 1
    shape = (*weight.shape, 1) if vector else weight.shape
    lead = shape[:-2]
    kept = constant_along(ids, [-1]) if ids.ndim > 1 and ids.shape[-1] > 1 and math.prod(lead) == 1 else None
    if kept is not None and nodes_of(kept).size > 1 and not call.tracing.merges(kept):  # as an MLP-Mixer's tokens
        reason = f"it multiplies the positions of the same nodes, and makes no edges ({call.node.name})"
        call.tracing.reasons.setdefault(weight.parameter, reason)
        made = np.broadcast_to(kept, (*np.broadcast_shapes(ids.shape[:-2], lead), ids.shape[-2], shape[-1]))
        return made[..., 0] if vector else made
    stacked = [i - len(lead) for i, size in enumerate(lead) if size > 1]  # axes of a stack, from the end
    rows = ids if ids.ndim > 1 else ids[None]
    batch = np.broadcast_shapes(rows.shape[:-2], lead)
    rows = np.broadcast_to(rows, (*batch, *rows.shape[-2:]))
    axes = [axis - 2 for axis in stacked]
    groups = math.prod(lead)
    reads = np.moveaxis(rows, [*axes, -1], range(len(axes) + 1))
    reads = _collapsed(reads, len(axes) + 1).reshape(groups, shape[-2], -1)
    out = shape[-1]

    def matrix(mask: Array) -> Array:
        return np.swapaxes(mask.reshape(groups, shape[-2], out), 1, 2)[..., None]

    how += f", {groups} groups" if groups > 1 else ""
    nodes = call.tracing.connect(weight, how, matrix, reads, out)
    placed = nodes.reshape(*(size if size > 1 else 1 for size in lead), 1, out)
    made = np.broadcast_to(placed, (*batch, rows.shape[-2], out))
    made = made if ids.ndim > 1 else made[..., 0, :]
    return made[..., 0] if vector else made


def _attended(call: Call, one: Ids, two: Ids) -> Ids:
    """Return the product of two arrays of nodes: one of them is the weights with which positions are averaged."""
    if min(one.ndim, two.ndim) < 2:
        return call.mixed()[0]
    left, right = constant_along(one, [-1], strict=True), constant_along(two, [-2], strict=True)
    shape = (*np.broadcast_shapes(one.shape[:-2], two.shape[:-2]), one.shape[-2], two.shape[-1])
    if right is not None and (left is None or _are_mixed(call, left)):
        made = weigh(call, right, one)
    elif left is not None and (right is None or _are_mixed(call, right)):
        made = weigh(call, left, two)
    elif left is None or right is None or one.shape[-1] == 1:  # queries by keys, also those of one feature
        return call.mixed()[0]
    else:
        made = call.tracing.join("multiplied", call.node.outputs[0], left, right)
    return np.broadcast_to(made, shape)


def _are_mixed(call: Call, ids: Ids) -> bool:
    return all(space.kind == "mixed" for space in call.tracing.spaces_of(ids))


def weigh(call: Call, ids: Ids, *by: Ids) -> Ids:
    """Record that positions of some nodes are averaged with weights which depend on other nodes, as in attention."""
    call.tracing.weighted.append((call.node.name, nodes_of(ids), np.concatenate([nodes_of(one) for one in by])))
    return ids


def attend(q: str, k: str, v: str) -> Callable[[Call], Sequence[Any]]:
    """Attention: the values' features, averaged over positions."""

    def operator(call: Call) -> Sequence[Any]:
        values, by = call[v], [one for one in (call[q], call[k]) if isinstance(one, np.ndarray)]
        one = constant_along(values, [-2]) if isinstance(values, np.ndarray) else None
        if one is None:
            return call.mixed()
        shape = call.shapes[0]
        if one.shape[-3:-2] != shape[-3:-2]:  # grouped queries share their values
            one = np.repeat(one, shape[-3] // one.shape[-3], axis=-3)
        return [np.broadcast_to(weigh(call, one, *by), shape), *call.mixed()[1:]]

    return operator


def embed(weight: str) -> Callable[[Call], Sequence[Any]]:
    """A row of a table for each index: a layer from the indices, one node each, to the columns."""

    def operator(call: Call) -> Sequence[Any]:
        table, index = call[weight], call["indices"]
        if not isinstance(table, Constant) or len(table.shape) != 2 or not table.part:
            return call.mixed()
        size, out = table.shape
        of = nodes_of(index)[None]
        reads = call.tracing.fresh(f"{call.node.outputs[0]} indices", "input", (1, size, 1), of)
        nodes = call.tracing.connect(table, "(in, out), a row for each index", _table, reads, out)
        return [np.broadcast_to(nodes[0], (*index.shape, out))]

    return operator


def _table(mask: Array) -> Array:
    return mask.T[None, ..., None]


@dataclass(frozen=True)
class Cell:
    """The weights of a recurrent layer in one direction: (gates x hidden, in) and (gates x hidden, hidden)."""

    inputs: Constant
    hidden: Constant


def recur(call: Call, ids: Ids, cell: Cell, previous: Ids | None = None, part: str = "") -> Ids:
    """Add the two layers of a recurrent cell, and return the nodes of its state.

    A node of the state is all of its gates: joined "recurrent". The second layer reads these, or a `previous` state.
    """
    tracing, width = call.tracing, cell.hidden.shape[1]
    size = cell.hidden.shape[0]
    reads = np.moveaxis(ids, -1, 0)
    reads = _collapsed(reads, 1)[None]
    one = tracing.connect(cell.inputs, "(gates x out, in)", _rows, reads, size)[0]
    state = tracing.count + size + np.arange(width)
    before = state[:, None] if previous is None else _collapsed(np.moveaxis(previous, -1, 0), 1)
    two = tracing.connect(cell.hidden, "(gates x out, out), recurrent", _rows, before[None], size)[0]
    of = np.concatenate([one.reshape(-1, width).T, two.reshape(-1, width).T], 1)
    tracing.add(f"{call.node.outputs[0]}{part}", "recurrent", width, of)
    return state


def _rows(mask: Array) -> Array:
    return mask[None, ..., None]
