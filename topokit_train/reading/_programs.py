"""Programs of torch.export in .pt2 files, read from their JSON and raw tensors: nothing is unpickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from topokit.convolutions import Shape
from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidGraphError, TopokitError
from topokit.extraction.interpreter import trace
from topokit.extraction.programs import Node, Ref
from topokit.extraction.weights import Weights
from topokit_train.reading._aten import Aten, constant_of
from topokit_train.reading._writes import require_no_lost_write
from topokit_train.reading.tensors import first_names, named_parts

MOST_JSON = 1 << 28
"""Bytes of the longest JSON text that is read."""

_TYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
    28: torch.uint16,
    29: torch.float8_e4m3fn,
    30: torch.float8_e5m2,
}
"""Number of a type in the file -> type."""

_STRIDED = 7
"""Number of the layout of a dense tensor in the file."""


def read_program(path: Path) -> Weights:
    """Read the weights and layers of a program that torch.export saved.

    Raises:
        FileFormatError: damaged, of a torch before 2.9, or with an entry that only a pickle could read.
        InvalidGraphError: names the operator that cannot be read.
        TooLargeError: not enough free memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _Archive(archive, path)
            program = members.json("models/model.json")
            first = members.first_names()
            tensors = {name: one for name, one in members.tensors() if first[name] == name}
            found = named_parts(tensors, path)
            graph = _graph(program, tensors, found, first)
            require_no_lost_write(graph.nodes, graph.outputs)
            return found.with_graph(trace(graph))
    except TopokitError:
        raise
    except Exception as error:  # of a manipulated file: a key that is missing, a number that is too large
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise FileFormatError(f"{path} is damaged ({reason}): save the program again") from error


class _Archive:
    """The members of a .pt2 file, whose names all begin with the same folder."""

    def __init__(self, archive: zipfile.ZipFile, path: Path):
        self.archive, self.path = archive, path
        model = next((name for name in archive.namelist() if name.endswith("models/model.json")), None)
        if model is None:
            raise FileFormatError(f"{path} has no models/model.json: save the program with torch 2.9 or later")
        self.prefix = model.removesuffix("models/model.json")

    def bytes(self, name: str) -> bytes:
        member = self.archive.getinfo(self.prefix + name)
        require_memory(2 * member.file_size, f"reading {self.path}")
        return self.archive.read(member)

    def json(self, name: str) -> Any:
        size = self.archive.getinfo(self.prefix + name).file_size
        if size > MOST_JSON:
            raise FileFormatError(
                f"{self.path}: {name} has {size:,} bytes, over {MOST_JSON:,}: export a smaller program"
            )
        return json.loads(self.bytes(name))

    def entries(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield folder, name and description of each parameter, buffer and constant."""
        for folder, config in (("weights", "model_weights_config"), ("constants", "model_constants_config")):
            for name, entry in self.json(f"data/{folder}/{config}.json")["config"].items():
                yield f"data/{folder}", name, entry

    def first_names(self) -> dict[str, str]:
        """Return the first name of each tensor; names of one tensor have the same data and description."""
        return first_names({name: json.dumps([folder, entry]) for folder, name, entry in self.entries()})

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the parameters, buffers and constants."""
        for folder, name, entry in self.entries():
            meta = entry.get("tensor_meta")
            if entry.get("use_pickle") or meta is None:
                raise FileFormatError(
                    f"{self.path}: {name} is an object that only a pickle could read, and pickles run any code: "
                    "save a program with plain tensors"
                )
            yield name, self._tensor(f"{folder}/{entry['path_name']}", name, meta)

    def _tensor(self, place: str, name: str, meta: Mapping[str, Any]) -> torch.Tensor:
        kind, shape = _TYPES.get(meta["dtype"]), _sizes(meta["sizes"], name)
        if kind is None or meta["layout"] != _STRIDED:
            raise FileFormatError(f"{self.path}: {name} has a type or layout that topokit does not read")
        strides = _sizes(meta["strides"], name)
        start = _size(meta["storage_offset"], name)
        reach = start + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + 1
        raw = bytearray(self.bytes(place))
        if prod(shape) == 0:
            return torch.empty(shape, dtype=kind)
        if min((*shape, *strides, start)) < 0 or reach * kind.itemsize > len(raw) or prod(shape) > 64 * len(raw):
            raise FileFormatError(f"{self.path}: {name} is larger than its data: the file is damaged")
        flat = torch.frombuffer(raw[: len(raw) // kind.itemsize * kind.itemsize], dtype=kind)
        return flat.as_strided(shape, strides, start)


def _graph(
    program: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], found: Weights, first: Mapping[str, str]
) -> Aten:
    module = program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    constants, inputs = {}, {}
    shapes = {name: tuple(_sizes(meta["sizes"], name)) for name, meta in graph["tensor_values"].items()}
    for spec in signature["input_specs"]:
        kind, about = next(iter(spec.items()))
        if kind == "user_input":
            if name := about["arg"].get("as_tensor", {}).get("name"):
                inputs[name] = shapes[name]
        elif kind in ("parameter", "buffer", "tensor_constant"):
            target = about.get("parameter_name") or about.get("buffer_name") or about.get("tensor_constant_name")
            constants[about["arg"]["name"]] = constant_of(first[target], tensors, found)
    nodes = [_node(node) for node in graph["nodes"]]
    specs = [one["user_output"]["arg"] for one in signature["output_specs"] if "user_output" in one]
    outputs = [name for one in specs for name in _names(one)]
    types = {name: _TYPES.get(meta["dtype"]) for name, meta in graph["tensor_values"].items()}
    return Aten(nodes, inputs, outputs, constants, shapes, types)


def _node(node: Mapping[str, Any]) -> Node:
    outputs = tuple(name for one in node["outputs"] for name in _names(one))
    name = node.get("name") or (outputs[0] if outputs else node["target"])
    target = node["target"].removeprefix("torch.ops.")
    inputs = {one["name"]: _argument(one["arg"], f"{name} ({target})") for one in node["inputs"]}
    return Node(name, target, inputs, outputs)


def _names(argument: Mapping[str, Any]) -> list[str]:
    """Return the names of the tensors of an output; a name of its own for another value."""
    kind, value = next(iter(argument.items()))
    if kind == "as_tensor":
        return [value["name"]]
    if kind == "as_tensors":
        return [one["name"] for one in value]
    return [f"{kind} {value}"]


def _argument(argument: Mapping[str, Any], where: str) -> Any:
    kind, value = next(iter(argument.items()))
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return Ref(value["name"])
    if kind in ("as_tensors", "as_optional_tensors"):
        tensors = [one.get("as_tensor", one) for one in value]
        return [Ref(one["name"]) if "name" in one else None for one in tensors]
    if kind == "as_optional_tensor":
        return _argument(value, where)
    if kind in ("as_sym_int", "as_sym_ints"):
        several = value if isinstance(value, list) else [value]
        sizes = [_size(one, where) for one in several]
        return sizes if isinstance(value, list) else sizes[0]
    if kind == "as_scalar_type":
        return _TYPES.get(value)
    if kind in ("as_memory_format", "as_layout", "as_device"):
        return None
    if kind.startswith("as_") and kind[3:] in _PLAIN:
        return value
    raise InvalidGraphError(f"the node {where} has an argument of the kind {kind}, which topokit does not read")


_PLAIN = ("int", "ints", "float", "floats", "string", "strings", "bool", "bools", "int_lists", "float_lists")


def _sizes(values: list[Mapping[str, Any]], where: str) -> Shape:
    return tuple(_size(one, where) for one in values)


def _size(value: Mapping[str, Any], where: str) -> int:
    if "as_int" not in value:
        raise InvalidGraphError(f"{where} has a dynamic shape: export the program with fixed shapes")
    return int(value["as_int"])
