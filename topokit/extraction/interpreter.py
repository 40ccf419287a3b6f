"""One interpreter for graphs: each operator is run on the numbers of nodes, until all layers are found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from topokit.convolutions import Shape
from topokit.errors import InvalidGraphError, TopokitError, reason_of
from topokit.extraction.operators import PRODUCTS, cast, joined, mix, move, refuse
from topokit.extraction.programs import Array, Call, Node, Program, Ref, listed
from topokit.extraction.tracing import Constant, Ids, Tracing, same
from topokit.extraction.weights import Part

PASSES = 40
"""Limit of the passes over a graph in which elements are merged; two or three suffice."""


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
        call = Call(node, {key: _value(one, known) for key, one in node.inputs.items()}, tracing, program)
        try:
            outputs = _applied(call)
        except TopokitError:
            raise
        except Exception as error:  # of NumPy, torch or onnx, whose reasons differ
            raise InvalidGraphError(
                f"the node {node.name} ({node.op}) cannot be read: {_reason(call, error)}"
            ) from error
        call.explain()
        known |= dict(zip(node.outputs, outputs, strict=False))
    tracing.outputs = [one for one in map(known.get, program.outputs) if isinstance(one, np.ndarray)]
    return tracing


def _reason(call: Call, error: Exception) -> str:
    """Return why a node cannot be read, for a message: a tensor of size 0, or what the library says."""
    for ref, value in call.tensors():
        if hasattr(value, "shape") and 0 in value.shape:
            return f"{ref} has the shape {tuple(value.shape)}, so no elements; export the model without it"
    return reason_of(error)


def _refs(node: Node) -> Iterator[Ref]:
    for value in node.inputs.values():
        yield from (one for one in listed(value) if isinstance(one, Ref))


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
    names = tuple(dict.fromkeys(name for one in operands.values() for name in one.parameters))
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
    base = _owner([one for _, one in parameters])
    whole = all(one.part is base.part and one.view is same for _, one in parameters)
    if whole and base.part and len(parameters) == 2 and "mul" in call.node.op.lower():  # a weight and its own mask
        return [replace(base, parameters=names)]
    product = _is_product(call, list(operands.values()))

    def computed(i: int) -> Array:
        return call.program.run(call.node, {ref: one.read() for ref, one in operands.items()})[i]

    made = [Part(shape=call.shapes[i], weight=partial(computed, i)) for i in count]
    keeps = [not product and _has_place_of(base, part.shape) if len(names) > 1 else True for part in made]
    called = [base.parameter if keeps[i] else call.node.outputs[i] for i in count]
    return [replace(Constant.of(called[i], made[i]), parameters=names, product=product) for i in count]


def _has_place_of(base: Constant, shape: Shape) -> bool:
    """Whether elements of a computed tensor of this shape are in the places of those of a whole parameter."""
    if base.part is None or base.part.shape != shape:
        return False
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return base.view is same or np.array_equal(base.view(numbers), numbers)


def _is_product(call: Call, operands: Sequence[Constant]) -> bool:
    """Whether a constant is a product with a parameter, or computed of one; a sum of one and a weight is a weight."""
    operator = call.program.operators.get(call.node.op, mix)
    if operator in PRODUCTS:
        return True
    size = math.prod(call.shapes[0])
    if operator is joined("added") and any(
        one.part and not one.product and math.prod(one.shape) == size for one in operands
    ):
        return False
    return any(one.product and math.prod(one.shape) > 1 for one in operands)


def _owner(parameters: Sequence[Constant]) -> Constant:
    """Return the one that gives its name to what is computed of several: the largest, and no product, index or mask."""
    size = max(math.prod(one.shape) for one in parameters)
    largest = [one for one in parameters if math.prod(one.shape) == size]
    largest = [one for one in largest if not one.product] or largest
    if len(largest) == 1:
        return largest[0]
    numbers = (one for one in largest if (values := one.read()).dtype != np.int64 and not np.isin(values, (0, 1)).all())
    return next(numbers, largest[0])
