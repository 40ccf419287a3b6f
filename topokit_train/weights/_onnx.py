"""ONNX models: the initialisers that Gemm, MatMul and Conv multiply by, in the order of the graph.

A matrix is (out, in) in Conv and in Gemm with transB, (in, out) in MatMul and in Gemm without it; a Transpose in
between exchanges the two. A matrix that no such node reads is extracted only by name, as (out, in).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import FileFormatError, needing
from topokit.extraction.weights import Weights, state_dict
from topokit_train.weights import Reader


def read(path: Path) -> Weights:
    """Read the weights of an ONNX model, also those in external files that it names.

    Raises:
        FileFormatError: damaged, or not an ONNX model.
        MissingDependencyError: onnx is not installed.
        TooLargeError: not enough free memory.
    """
    with needing("an ONNX model"):
        import onnx
        import onnx.numpy_helper
    require_memory(3 * path.stat().st_size, f"reading {path}")
    try:
        graph = onnx.load_model(str(path)).graph
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        tensors |= {node.output[0]: value.t for node in graph.node for value in _constants(node)}
        turned: dict[str, bool] = {}
        for name, in_by_out in _layers(graph, tensors):
            turned.setdefault(name, in_by_out)
    except Exception as error:  # protobuf, onnx and a malformed graph have no common error class
        raise _damaged(path, error) from error

    def array(name: str) -> NDArray[Any]:
        try:
            values = onnx.numpy_helper.to_array(tensors[name])
            if values.dtype.kind not in "biuf":
                values = values.astype(np.float32)  # such as bfloat16, a type of another package
        except Exception as error:  # as above
            raise _damaged(path, error) from error
        return values.T if turned.get(name) else values

    order = [*turned, *(name for name in tensors if name not in turned)]
    shapes = {name: tuple(tensors[name].dims)[:: -1 if turned.get(name) else 1] for name in order}
    found = state_dict(shapes, array)
    return replace(found, default=tuple(name for name in turned if name in found.parts))


def _damaged(path: Path, error: Exception) -> FileFormatError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return FileFormatError(f"{path} is damaged or not an ONNX model: {reason}")


def _constants(node: Any) -> Iterator[Any]:
    """Yield the attribute with the tensor of a Constant node."""
    if node.op_type == "Constant":
        yield from (attribute for attribute in node.attribute if attribute.name == "value")


def _layers(graph: Any, tensors: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the name of each tensor that a layer multiplies by, and whether it is (in, out)."""
    # name in the graph -> tensor, and whether it is transposed
    views = {name: (name, False) for name, tensor in tensors.items() if len(tensor.dims) in (2, 4)}
    for node in graph.node:
        inputs = list(node.input)
        if node.op_type in ("Identity", "Transpose") and inputs and inputs[0] in views:
            name, turned = views[inputs[0]]
            transposed = node.op_type == "Transpose"
            if not transposed or len(tensors[name].dims) == 2:
                views[node.output[0]] = (name, turned ^ (transposed and not _keeps_axes(node)))
        elif node.op_type in ("Gemm", "MatMul", "Conv"):
            for place, value in enumerate(inputs[:2]):
                if value in views:
                    name, turned = views[value]
                    yield name, turned ^ _is_in_by_out(node, place)


def _keeps_axes(node: Any) -> bool:
    """Return whether a Transpose does not change a matrix; without `perm` it does."""
    return any(attribute.name == "perm" and list(attribute.ints) == [0, 1] for attribute in node.attribute)


def _is_in_by_out(node: Any, place: int) -> bool:
    """Return whether a node reads a weight at its first or second input as (in, out)."""
    if node.op_type == "Conv":
        return False
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    transposed = bool(flags.get("transB" if place else "transA", 0))
    return transposed ^ (place == 1)


READER = Reader(begins=lambda start: start[:1] == b"\x08", read=read)
