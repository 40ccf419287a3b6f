"""What the operators of a graph do with nodes: move, keep, join, pool, connect or mix them.

A reader of programs names the operator for each of its own (`Program.operators`); `trace` then finds all layers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Shape
from topokit.errors import InvalidGraphError, TopokitError
from topokit.extraction.tracing import Constant, Ids, Tracing, constant_along, nodes_of, once, same
from topokit.extraction.weights import Part

PASSES = 40
"""Limit of the passes over a graph in which elements are merged; two or three suffice."""

Array = NDArray[Any]


class Ref(str):
    """The name of a tensor, among the inputs of a node."""

    __slots__ = ()


@dataclass(frozen=True)
class Node:
    """An operator of a graph: its own name, the operator's, its inputs by the operator's names, and its outputs."""

    name: str
    op: str
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]


class Program(ABC):
    """A graph of operators.

    Attributes:
        nodes: in the order of the data.
        inputs: name -> shape.
        outputs: names.
        constants: name -> parameter or other constant.
        operators: name of an operator -> what it does with nodes; it returns its outputs.
    """

    nodes: Sequence[Node]
    inputs: Mapping[str, Shape]
    outputs: Sequence[str]
    constants: dict[str, Constant]
    operators: Mapping[str, Callable[[Call], Sequence[Any]]]

    @abstractmethod
    def run(self, node: Node, arrays: Mapping[str, Array], *, of_nodes: bool = False) -> list[Array]:
        """Run an operator on arrays, given by the names of its inputs.

        Args:
            node: the operator.
            arrays: name of an input -> its elements.
            of_nodes: whether the elements are numbers of nodes, 0 for none: padding is 0 then, whatever its value.
        """

    @abstractmethod
    def shapes(self, call: Call) -> list[Shape]:
        """Return the shapes of the outputs of a node."""


class Call:
    """A node with the values of its inputs: arrays of nodes, constants, or numbers."""

    def __init__(self, node: Node, values: dict[str, Any], tracing: Tracing, program: Program):
        self.node, self.values, self.tracing, self.program = node, values, tracing, program

    def __getitem__(self, key: str) -> Any:
        return self.values.get(key)

    def tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and value of each input that is a tensor."""
        for key, value in self.node.inputs.items():
            several = isinstance(value, list | tuple)
            for ref, one in zip(value, self.values[key], strict=True) if several else [(value, self.values[key])]:
                if isinstance(ref, Ref):
                    yield ref, one

    @cached_property
    def features(self) -> list[Ids]:
        """The inputs that depend on those of the program."""
        return [value for _, value in self.tensors() if isinstance(value, np.ndarray)]

    @cached_property
    def shapes(self) -> list[Shape]:
        """The shapes of the outputs."""
        return self.program.shapes(self)

    def number(self, key: str) -> Any:
        """Return the value of a constant input as plain numbers."""
        value = self.values.get(key)
        return value.read().tolist() if isinstance(value, Constant) else value

    def mixed(self) -> list[Ids]:
        """Return new nodes, made of all that the inputs are made of: the nodes end here."""
        of = np.concatenate([nodes_of(ids) for ids in self.features])[None]
        outputs = zip(self.node.outputs, self.shapes, strict=False)
        for _, value in self.tensors():
            if isinstance(value, Constant) and value.parameter and len(value.shape) > 1:
                self.tracing.reasons.setdefault(value.parameter, f"{self.node.op} ({self.node.name}) reads it")
        return [self.tracing.fresh(name, "mixed", shape, of) for name, shape in outputs]


def trace(program: Program) -> Tracing:
    """Return the nodes and layers of a program.

    Raises:
        InvalidGraphError: names the node that cannot be read.
    """
    tracing = Tracing()
    for _ in range(PASSES):
        tracing = _passed(program, tracing.labels)
        labels = tracing.merged()
        if labels is None:
            return tracing.without_covered()
        tracing.labels = labels
    raise InvalidGraphError(
        f"{PASSES} passes over the graph did not end: export the model with smaller inputs, or select layers with "
        "`layers`"
    )


def _passed(program: Program, labels: Mapping[str, Ids]) -> Tracing:
    tracing = Tracing(labels)
    known: dict[str, Any] = dict(program.constants)
    for name, shape in program.inputs.items():
        known[name] = tracing.fresh(name, "input", shape)
    for node in program.nodes:
        missing = [ref for ref in _refs(node) if ref not in known]
        if missing:
            raise InvalidGraphError(f"the node {node.name} ({node.op}) reads {missing[0]}, which nothing writes")
        try:
            call = Call(node, {key: _value(one, known) for key, one in node.inputs.items()}, tracing, program)
            outputs = _applied(call)
        except TopokitError:
            raise
        except Exception as error:  # of NumPy, torch or onnx, whose reasons differ
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise InvalidGraphError(f"the node {node.name} ({node.op}) cannot be read: {reason}") from error
        known |= dict(zip(node.outputs, outputs, strict=False))
    tracing.outputs = [one for one in map(known.get, program.outputs) if isinstance(one, np.ndarray)]
    return tracing


def _refs(node: Node) -> Iterator[Ref]:
    for value in node.inputs.values():
        yield from (one for one in _listed(value) if isinstance(one, Ref))


def _value(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_value(one, known) for one in value]
    return known[value] if isinstance(value, Ref) else value


def _applied(call: Call) -> Sequence[Any]:
    operator = call.program.operators.get(call.node.op, mix)
    if operator is refuse:
        return refuse(call)
    if operator is cast and isinstance(weight := next(iter(call.tensors()))[1], Constant) and weight.part:
        return [_converted(call, weight)]
    return operator(call) if call.features else _folded(call, moves=operator is move)


def _converted(call: Call, weight: Constant) -> Constant:
    """Return a view of a parameter in another type."""
    (ref, _), *rest = call.tensors()
    operands = {other: one for other, one in rest if isinstance(one, Constant)}

    def converted() -> Array:
        return call.program.run(
            call.node, {other: one.read() for other, one in operands.items()} | {ref: weight.read()}
        )[0]

    return replace(weight, read=converted) if len(operands) == len(rest) else weight


def _folded(call: Call, *, moves: bool) -> list[Constant]:
    """Return the outputs of a node without features: views of a parameter, or constants that are computed."""
    operands = {ref: one for ref, one in call.tensors() if isinstance(one, Constant)}
    parameters = [(ref, one) for ref, one in operands.items() if one.part]
    count = range(len(call.node.outputs))
    if not parameters:
        values = call.program.run(call.node, {ref: one.read() for ref, one in operands.items()})
        return [Constant(shape=value.shape, read=partial(np.asarray, value)) for value in values]
    if moves and len(parameters) == 1:
        ref, weight = parameters[0]
        rest = {other: one.read() for other, one in operands.items() if other != ref}

        def moved(i: int, array: Array) -> Array:
            return call.program.run(call.node, {**rest, ref: array})[i]

        return [weight.moved(partial(moved, i)) for i in count]
    base = max((one for _, one in parameters), key=lambda one: math.prod(one.shape))
    whole = all(one.part is base.part and one.view is same for _, one in parameters)
    if whole and base.part and len(parameters) == 2 and "mul" in call.node.op.lower():  # a weight and its own mask
        return [Constant.of(base.parameter, base.part)]

    def computed(i: int) -> Array:
        return call.program.run(call.node, {ref: one.read() for ref, one in operands.items()})[i]

    shapes = call.shapes
    made = [Part(shape=shapes[i], weight=partial(computed, i)) for i in count]
    return [Constant.of(base.parameter, part) for part in made]


def mix(call: Call) -> Sequence[Any]:
    """An operator of which nothing is known, or that sums over features."""
    return call.mixed()


def refuse(call: Call) -> Sequence[Any]:
    """An operator without which the graph cannot be read."""
    raise InvalidGraphError(
        f"the node {call.node.name} is {call.node.op}, which topokit does not read: export the model without it"
    )


DATA = ("self", "input", "tensors", "inputs", "data", "X", "x")
"""Names of the inputs that an operator moves."""


def move(call: Call) -> Sequence[Any]:
    """An operator that moves elements: the same on the numbers of the nodes, 0 for none."""
    moved = {}
    data = {ref for key in DATA for ref in _listed(call.node.inputs.get(key))}
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


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def keep(call: Call) -> Sequence[Any]:
    """An operator on each element, or a normalisation: its first input's nodes, in the shape of the output."""
    ids = call.features[0]
    return [np.broadcast_to(ids, shape) if len(shape) >= ids.ndim else None for shape in call.shapes]


def cast(call: Call) -> Sequence[Any]:
    """Another type, or a copy: the same nodes, and of a weight the same weight."""
    return keep(call)


def joined(kind: str) -> Callable[[Call], Sequence[Any]]:
    """An operator on the elements of several tensors."""

    def operator(call: Call) -> Sequence[Any]:
        ids = call.features[0]
        for other in call.features[1:]:
            ids = call.tracing.join(kind, call.node.outputs[0], ids, other)
        shape = np.broadcast_shapes(ids.shape, *(one.shape for _, one in call.tensors()))
        return [np.broadcast_to(ids, shape)]

    return operator


def pool(call: Call) -> Sequence[Any]:
    """An operator on positions, the last axes of its input: each channel keeps its node."""
    ids = call.features[0]
    shape = call.shapes[0]
    changed = sum(a != b for a, b in zip(ids.shape, shape, strict=True))
    axes = range(-1, -1 - max(changed, ids.ndim - 2), -1)
    one = constant_along(ids, axes)
    return call.mixed() if one is None else [np.broadcast_to(one, output) for output in call.shapes]


def reduce_(axes_key: str, keep_key: str, *, kept: bool = False) -> Callable[[Call], Sequence[Any]]:
    """A sum, mean or maximum over some axes: they must be positions, along which nodes are equal.

    Args:
        axes_key: input with the axes; all if it is None.
        keep_key: input that says whether reduced axes stay, with the length 1.
        kept: whether they stay by default.
    """

    def operator(call: Call) -> Sequence[Any]:
        ids = call.features[0]
        axes = call.number(axes_key)
        axes = range(ids.ndim) if axes is None or axes == [] else _listed(axes)
        axes = [axis % ids.ndim for axis in axes]
        one = constant_along(ids, axes)
        if one is None:
            return call.mixed()
        keeps = call.number(keep_key)
        one = one if (kept if keeps is None else keeps) else np.squeeze(one, tuple(axes))
        return [one for _ in call.node.outputs]

    return operator


def along(axis_key: str) -> Callable[[Call], Sequence[Any]]:
    """A sum, sort or choice along one axis, of positions."""

    def operator(call: Call) -> Sequence[Any]:
        ids = call.features[0]
        one = constant_along(ids, [(call.number(axis_key) or 0) % ids.ndim])
        if one is None:
            return call.mixed()
        return [np.broadcast_to(one, shape) for shape in call.shapes]

    return operator


def convolve(x: str, w: str, *, transposed: Callable[[Call], bool]) -> Callable[[Call], Sequence[Any]]:
    """A convolution of any dimensions: its nodes are the channels."""

    def operator(call: Call) -> Sequence[Any]:
        ids, weight = call[x], call[w]
        if not isinstance(weight, Constant) or not isinstance(ids, np.ndarray):
            return call.mixed()
        channels = ids.ndim - len(weight.shape) + 1
        groups = call.number("groups") or call.number("group") or 1
        reads = np.moveaxis(ids, channels, 0)
        reads = _collapsed(reads, 1).reshape(groups, reads.shape[0] // groups, -1)
        turned = transposed(call)
        out = weight.shape[1] if turned else weight.shape[0] // groups

        def matrix(mask: Array) -> Array:
            if turned:
                return np.swapaxes(mask.reshape(groups, -1, out, math.prod(mask.shape[2:])), 1, 2)
            return mask.reshape(groups, out, mask.shape[1], -1)

        how = f"({'in, out' if turned else 'out, in'}, ...)" + (f", {groups} groups" if groups > 1 else "")
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
    """A matrix product: a layer if one of the two is a constant."""

    def operator(call: Call) -> Sequence[Any]:
        return [product(call, call[one], call[two])]

    return operator


def linear(x: str, w: str) -> Callable[[Call], Sequence[Any]]:
    """A product with a matrix (out, in)."""

    def operator(call: Call) -> Sequence[Any]:
        return [product(call, call[x], turned(call[w]), "(out, in)")]

    return operator


def turned(value: Any) -> Any:
    """Return a matrix, or a stack of them, with its last two axes exchanged."""
    if value.ndim < 2 if isinstance(value, np.ndarray) else len(value.shape) < 2:
        return value
    return value.moved(_swapped) if isinstance(value, Constant) else _swapped(value)


def _swapped(array: Array) -> Array:
    return np.swapaxes(array, -1, -2)


def product(call: Call, one: Any, two: Any, how: str = "(in, out)") -> Any:
    """Return the product of two matrices or stacks of them, of which at least one is an array of nodes."""
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
    left, right = constant_along(one, [-1]), constant_along(two, [-2])
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


def embed(weight: str, indices: str) -> Callable[[Call], Sequence[Any]]:
    """A row of a table for each index: a layer from the indices, one node each, to the columns."""

    def operator(call: Call) -> Sequence[Any]:
        table, index = call[weight], call[indices]
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
