"""One interpreter for graphs: each operator is run on the numbers of nodes, until all layers are found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from topokit.convolutions import Shape
from topokit.errors import InvalidGraphError, TopokitError, reason_of
from topokit.extraction.operators import DATA, PRODUCTS, cast, joined, mix, refuse
from topokit.extraction.programs import Array, Call, Program, Ref, as_list, run_once
from topokit.extraction.tracing import Constant, Ids, Tracing, View, same, shape_of
from topokit.extraction.weights import Part, Read, numbered

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
        f"the nodes still change after {PASSES} passes over the graph: export the model with smaller inputs, or give "
        "its state dict"
    )


def _passed(program: Program, labels: Mapping[str, Ids]) -> Tracing:
    """Return the nodes and layers that one pass over a graph finds; `labels` are those of the pass before."""
    tracing = Tracing(labels)
    known: dict[str, Any] = dict(program.constants)
    for name, shape in program.inputs.items():
        known[name] = tracing.fresh(name, "input", shape)
    for node in program.nodes:
        missing = [ref for ref in node.refs() if ref not in known]
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


def _value(value: Any, known: Mapping[str, Any]) -> Any:
    """Return an input with the values of its tensors."""
    if isinstance(value, list | tuple):
        return [_value(one, known) for one in value]
    return known[value] if isinstance(value, Ref) else value


def _applied(call: Call) -> Sequence[Any]:
    operator = call.program.operators.get(call.node.op, mix)
    if operator is refuse:
        return refuse(call)
    if operator is cast and isinstance(weight := next(iter(call.tensors()))[1], Constant) and weight.part:
        return [_converted(call, weight)]
    return operator(call) if call.features else _folded(call)


def _converted(call: Call, weight: Constant) -> Constant:
    """Return a view of a parameter in another type."""
    tensors = dict(call.tensors())
    if not all(isinstance(one, Constant) for one in tensors.values()):
        return weight  # its new type is that of data, as of CastLike

    def converted() -> Array:
        return call.program.run(call.node, {ref: one.read() for ref, one in tensors.items()})[0]

    return replace(weight, read=run_once(converted, call.program.readers[call.node.outputs[0]]))


def _folded(call: Call) -> list[Constant]:
    """Return the outputs of a node without features: views of a parameter, or constants that are computed."""
    operands = {ref: one for ref, one in call.tensors() if isinstance(one, Constant)}
    parameters = {ref: one for ref, one in operands.items() if one.part}
    names = tuple(dict.fromkeys(name for one in operands.values() for name in one.parameters))
    count = range(len(call.node.outputs))
    kept: Constant | None = None  # is set below, before anything is evaluated of it

    def evaluated() -> list[Array]:
        arrays = {ref: one.read() for ref, one in operands.items()}
        made = call.program.run(call.node, arrays)
        of = next((arrays[ref] for ref, one in operands.items() if one is kept), None)
        return made if of is None else [_without_new_nans(array, of) for array in made]

    def computed(i: int) -> Read:
        return run_once(lambda: evaluated()[i], call.program.readers[call.node.outputs[i]])

    if not parameters:
        return [Constant(shape=value.shape, read=partial(np.asarray, value)) for value in evaluated()]
    if moved := _moved_parameter(call, operands):
        base, view = moved
        return [_viewed(base, computed(i), run_once(partial(view, i))) for i in count]
    whole = all(one.view is same for one in parameters.values())
    first, *others = parameters.values()
    multiplies = call.program.operators.get(call.node.op) is joined("multiplied")
    own_mask = multiplies and whole and len(others) == 1 and others[0].part is first.part
    if own_mask and first.part and first.part.mask is not None:  # a weight times its own mask is that weight
        return [replace(Constant.of(first.parameter, first.part), parameters=names)]
    product = _is_product(call, operands)
    kept = None if product else _kept(call, parameters)
    known = call.program.parameters  # one of which can have the name of an operator
    outputs = [f"{name}#2" if name in known else name for name in call.node.outputs]
    made = [_derived(outputs[i], call.shapes[i], computed(i), kept) for i in count]
    return [replace(one, parameters=names, product=product) for one in made]


def _moved_parameter(
    call: Call, operands: Mapping[str, Constant]
) -> tuple[Constant, Callable[[int, Array], Array]] | None:
    """Return the parameter whose elements a node moves, and its view in each output.

    None if it does more, or moves elements of several parameters.
    """
    if not call.program.moves(call.node):
        return None
    data = {ref for key in DATA for ref in as_list(call.node.inputs.get(key))}
    moved = {ref: one for ref, one in operands.items() if one.part and ref in data}
    base = next(iter(moved.values()), None)
    if base is None or any(one.part is not base.part for one in moved.values()):
        return None
    rest = {ref: one.read() for ref, one in operands.items() if ref not in moved}
    value = call.node.inputs.get("value")
    if (isinstance(value, int | float) and value) or any(one.dtype.kind == "f" and one.any() for one in rest.values()):
        return None  # constants other than 0 beside the elements are not edges of the parameter

    def view(i: int, array: Array) -> Array:
        return call.program.run(call.node, rest | {ref: one.view(array) for ref, one in moved.items()})[i]

    return base, view


def _without_new_nans(made: Array, of: Array) -> Array:
    """Return computed weights with 0 for the NaN that an operator makes of a 0: the 0/0 of weight_norm's pruned row."""
    if made.dtype.kind != "f" or made.shape != of.shape:
        return made
    new = np.isnan(made) & (of == 0)
    return np.where(new, np.zeros((), made.dtype), made) if new.any() else made


def _viewed(base: Constant, read: Read, view: View) -> Constant:
    """Return another view of a parameter."""
    assert base.part is not None
    return replace(base, shape=shape_of(view, base.part.shape), read=read, view=view)


def _kept(call: Call, parameters: Mapping[str, Constant]) -> Constant | None:
    """Return the parameter from whose elements a node computes new ones, each at its place; None if there is none.

    Of several it is the largest; of several of that size, one that is neither an index nor a mask.
    """
    keeps = call.program.keeps
    named = {ref: one for ref, one in parameters.items() if one.parameter in one.parameters and keeps(call.node, ref)}
    size = max((math.prod(one.shape) for one in named.values()), default=0)
    largest = {ref: one for ref, one in named.items() if math.prod(one.shape) == size}
    if len({one.parameter for one in largest.values()}) > 1:
        largest = {ref: one for ref, one in largest.items() if not _is_index_or_mask(one.read())} or largest
    if largest:
        one = next(iter(largest.values()))
        alike = [other.view is one.view for other in named.values() if other.parameter == one.parameter]
        if all(alike) and _is_injective(one):
            return one
    return None


def _is_index_or_mask(values: Array) -> bool:
    return values.dtype == np.int64 or bool(np.isin(values, (0, 1)).all())


def _is_product(call: Call, operands: Mapping[str, Constant]) -> bool:
    """Return whether a constant is a product with a parameter, or computed from one.

    A sum of a product and a weight is a weight, such as that of a layer with an adapter.
    """
    operator = call.program.operators.get(call.node.op, mix)
    if operator in PRODUCTS or operator is joined("added"):
        size = math.prod(call.shapes[0])
        weights = {ref: one for ref, one in operands.items() if one.part and not one.product}
        sums = (math.prod(one.shape) == size and call.program.keeps(call.node, ref) for ref, one in weights.items())
        return not any(sums) and (operator in PRODUCTS or _has_product(operands))
    return _has_product(operands)


def _has_product(operands: Mapping[str, Constant]) -> bool:
    return any(one.product and math.prod(one.shape) > 1 for one in operands.values())


def _is_injective(weight: Constant) -> bool:
    """Return whether no element of the parameter is in several places of its view; False if the numbers do not say."""
    return _facts(weight)[0]


_FACTS: WeakKeyDictionary[View, tuple[bool, bool]] = WeakKeyDictionary()


def _facts(weight: Constant) -> tuple[bool, bool]:
    """Return whether a view has no element of the parameter twice, and whether each of its places has one.

    O(weights), once for each view.
    """
    assert weight.part is not None
    if weight.view is same:
        return True, True
    if weight.view not in _FACTS:
        numbers = weight.view(numbered(weight.part.shape))
        known = numbers.dtype.kind == "i" and numbers.min(initial=0) >= 0
        injective = known and int(np.bincount(numbers.ravel())[1:].max(initial=0)) < 2
        _FACTS[weight.view] = injective, bool(numbers.all())
    return _FACTS[weight.view]


def _numbers(weight: Constant) -> Array | None:
    """Return the number of the parameter's element in each place of a view; None for a whole parameter."""
    assert weight.part is not None
    return None if weight.view is same else weight.view(numbered(weight.part.shape))


def _derived(name: str, shape: Shape, read: Read, kept: Constant | None) -> Constant:
    """Return a constant that a node computes.

    Args:
        name: its name if it keeps the places of no parameter.
        shape: its shape.
        read: returns its values.
        kept: the parameter whose places it keeps, and whose name it then has.
    """
    if kept is None or not kept.part or shape != kept.shape:
        return Constant.of(name, Part(shape=shape, weight=read))
    base = kept.part
    if not _facts(kept)[1] and read()[_numbers(kept) == 0].any():
        return Constant.of(name, Part(shape=shape, weight=read))  # it has elements that are not of the parameter

    def restored() -> Array:
        """Return the numbers in the layout of the parameter, 0 for elements that the view does not have."""
        values, numbers = read(), _numbers(kept)
        if numbers is None:
            return values
        made = np.zeros(math.prod(base.shape) + 1, values.dtype)
        made[numbers] = values
        return made[1:].reshape(base.shape)

    return replace(kept, read=read, part=Part(shape=base.shape, weight=restored))
