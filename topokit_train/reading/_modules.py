"""Torch modules: exported with an example input, never trained or changed."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from inspect import isfunction
from operator import getitem
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

from topokit.convolutions import Shape
from topokit.errors import InvalidGraphError, InvalidSpecError, reason_of
from topokit.extraction.interpreter import trace
from topokit.extraction.programs import Node, Ref
from topokit.extraction.weights import Weights
from topokit_train.conversion import densify, sparsify
from topokit_train.layers.sparse import SparseModule
from topokit_train.reading._aten import Aten, constant_of
from topokit_train.reading._writes import lost_write, require_no_lost_write
from topokit_train.reading.tensors import first_names, named_parts

_LOGGER = logging.getLogger("torch._subclasses.fake_tensor")
"""Prints what torch.export also raises."""


def read_module(module: nn.Module, example_input: Any) -> Weights:
    """Return the weights of a module and its layers, from the graph that torch.export makes with an example input.

    Args:
        module: any module that torch.export takes; it is read in evaluation mode. Sparse layers of topokit keep all
            their edges, also those with the weight 0.
        example_input: a tensor, or a tuple of all arguments, or a dictionary of keyword arguments.

    Raises:
        InvalidSpecError: torch.export refuses the module with this input: the reason names the line.
        InvalidGraphError: names the operator that cannot be read.
    """
    program = _exported(_with_masks(module), example_input)
    tensors = dict(program.state_dict) | {name: one for name, one in program.constants.items() if _is_tensor(one)}
    first = first_names({name: id(one) for name, one in tensors.items()})
    found = named_parts({name: tensors[name] for name in first.values()}, "the module")
    graph = _graph(program, tensors, found, first)
    if lost_write(graph.nodes, graph.outputs):
        graph = _graph(_functional(program), tensors, found, first)
        require_no_lost_write(graph.nodes, graph.outputs)
    return found.with_graph(trace(graph))


def _with_masks(module: nn.Module) -> nn.Module:
    """Return the module or, if it has sparse layers, a copy with masked dense ones: not all kernels can be traced."""
    layers = {
        f"{name}.weight" if name else "weight": part.topology_layer()
        for name, part in module.named_modules()
        if isinstance(part, SparseModule)
    }
    return sparsify(densify(copy.deepcopy(module)), layers, masked=True) if layers else module


def _exported(module: nn.Module, example_input: Any) -> ExportedProgram:
    keywords = dict(example_input) if isinstance(example_input, Mapping) else {}
    several = example_input if isinstance(example_input, tuple | list) else (example_input,)
    modes = {one: one.training for one in module.modules()}
    fast, silent = torch.backends.mha.get_fastpath_enabled(), _LOGGER.disabled
    try:
        _LOGGER.disabled = True
        torch.backends.mha.set_fastpath_enabled(False)  # which is one operator for a whole layer
        module.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, () if keywords else tuple(several), keywords, strict=False)
            # functions of torch.vmap among the operators, which this replaces by what they compute
            vmapped = any(isfunction(node.target) for node in program.graph.nodes)
            return _functional(program) if vmapped else program
    except Exception as error:  # of torch.export, or of the module's own code
        raise InvalidSpecError(
            f"torch.export cannot read {type(module).__name__} with this example input ({reason_of(error, 300)}): give "
            "the inputs that its forward takes, or export an ONNX file"
        ) from error
    finally:
        _LOGGER.disabled = silent
        torch.backends.mha.set_fastpath_enabled(fast)
        for one, training in modes.items():
            one.training = training


def _functional(program: ExportedProgram) -> ExportedProgram:
    """Return the program with operators that write nothing in place, and otherwise the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        functional: ExportedProgram = program.run_decompositions({})
    return functional


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _graph(program: ExportedProgram, tensors: Mapping[str, Any], found: Weights, first: Mapping[str, str]) -> Aten:
    """Return the graph of a program.

    Args:
        program: of torch.export.
        tensors: name -> parameter, buffer or constant.
        found: the weights among them.
        first: name of a tensor -> its first name; see `first_names`.
    """
    names = {
        spec.arg.name: first[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
    }
    nodes, inputs, constants, shapes, types = [], {}, {}, {}, {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            shapes[node.name] = _shape(value, node.name)
            types[node.name] = value.dtype
        if node.op == "placeholder" and node.name in names:
            constants[node.name] = constant_of(names[node.name], tensors, found)
        elif node.op == "placeholder" and isinstance(value, torch.Tensor):
            inputs[node.name] = shapes[node.name]
        elif node.op == "call_function" and node.target is not getitem:
            made, outs = _node(node)
            nodes.append(made)
            shapes |= outs
    outputs = [
        spec.arg.name
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT and isinstance(spec.arg, TensorArgument)
    ]
    return Aten(nodes, inputs, outputs, constants, shapes, types)


def _node(node: torch.fx.Node) -> tuple[Node, dict[str, Shape]]:
    """Return a node with its inputs by name, and the shapes of its outputs."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise InvalidGraphError(
            f"the node {node.name} is {node.target}, a control flow that topokit does not read: export the model "
            "without it"
        )
    values = dict(zip((one.name for one in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    inputs = {key: _plain(value, node.name) for key, value in values.items()}
    value = node.meta.get("val")
    if not isinstance(value, list | tuple):
        return Node(node.name, str(node.target), inputs, (node.name,)), {}
    users = {user.args[1]: user.name for user in node.users if user.target is getitem}
    names = tuple(users.get(i, f"{node.name} output {i}") for i in range(len(value)))
    shapes = {name: _shape(one, node.name) for name, one in zip(names, value, strict=True) if _is_tensor(one)}
    return Node(node.name, str(node.target), inputs, names), shapes


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one, name) for one in value]
    if isinstance(value, torch.fx.Node):
        _require_fixed(value.meta.get("val"), name)
        return Ref(value.name)
    _require_fixed(value, name)
    return value


def _shape(value: torch.Tensor, name: str) -> Shape:
    for size in value.shape:
        _require_fixed(size, name)
    return tuple(value.shape)


def _require_fixed(value: object, name: str) -> None:
    """Refuse a number of a node that depends on the size of an input."""
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        raise InvalidGraphError(f"the node {name} has a dynamic shape: export with fixed shapes")
