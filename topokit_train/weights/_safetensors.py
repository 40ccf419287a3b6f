"""Safetensors files: state dicts of any program, masks, and checkpoints of ours. Tensors are read when asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import as_mask
from topokit.errors import FileFormatError
from topokit.extraction.weights import Part, Weights, state_dict
from topokit.formats import Stored, load_all, stored
from topokit.layered import Layer
from topokit.topology import layer_digest
from topokit_train.weights import Reader

_OURS = ("optimizer.", "layer.", "topology.")  # what a checkpoint holds beside the weights


def read(path: Path) -> Weights:
    """The weights of a safetensors file. Of a checkpoint of ours the sparse layers are the default, where it has any.

    Raises:
        FileFormatError: damaged, or a topology, which holds no weights.
        TooLargeError: not enough free memory.
    """
    file = stored(path)
    kind = file.metadata.get("topokit.kind")
    if kind == "topology":
        raise FileFormatError(f"{path} is a topology already, and holds no weights")
    if kind != "checkpoint":
        return state_dict(file.shapes, file.read)
    shapes = {name: shape for name, shape in file.shapes.items() if not name.startswith(_OURS)}
    found = state_dict(shapes, file.read)
    if not found.edgeless:
        return found
    sparse = _sparse_layers(file, found.edgeless)
    dense = [name for name in found.default if name not in sparse]
    left_out = f"left out are the dense layers {', '.join(dense)}: --layers takes them too"
    return replace(
        found,
        parts={**sparse, **found.parts},
        default=tuple(sparse),
        edgeless=(),
        notes=(left_out,) if dense else (),
    )


def _sparse_layers(file: Stored, names: tuple[str, ...]) -> dict[str, Part]:
    """The sparse layers of a checkpoint, in the order of its topologies, which are beside them."""
    held = [layer for topology in load_all(file.path) for layer in topology.stream()]
    layers = {layer_digest(layer): (i, layer) for i, layer in reversed(list(enumerate(held)))}
    found: list[tuple[int, str, Part]] = []
    for name in names:
        key = file.read(f"{name}.digest").tobytes()
        if key not in layers:
            raise FileFormatError(f"{file.path}: the sparse layer {name} is none of its topologies: it is damaged")
        i, layer = layers[key]
        found.append((i, f"{name}.weight", _part(file, f"{name}.values", layer)))
    return {name: part for _, name, part in sorted(found, key=lambda entry: entry[:2])}


def _part(file: Stored, values: str, layer: Layer) -> Part:
    """A sparse layer as a weight with its mask: a number per edge, or a filter of numbers per edge of a convolution."""
    sources, targets = layer.shape
    (count,) = file.shapes[values]
    size = count // max(layer.edges, 1)
    if size * layer.edges != count:
        raise FileFormatError(f"{file.path}: {values} has {count} numbers for {layer.edges} edges: it is damaged")
    side = int(size**0.5)
    shape = (
        (targets, sources) if size <= 1 else (targets, sources, *((side, side) if side * side == size else (size, 1)))
    )

    def weight() -> NDArray[Any]:
        return _filled(file.read(values), layer, size).reshape(shape)

    def mask() -> NDArray[np.bool_]:
        made = as_mask(np.ascontiguousarray(layer.to_dense().T), shape)
        assert made is not None  # the shape was made of the layer's
        return made

    return Part(shape=shape, weight=weight, mask=mask)


def _filled(numbers: NDArray[Any], layer: Layer, size: int) -> NDArray[Any]:
    """The dense weights, shape (targets, sources, size), of numbers in canonical order: one edge's after another's."""
    sources, targets = layer.shape
    dense = np.zeros((targets, sources, max(size, 1)), numbers.dtype)
    dense[layer.indices.astype(np.intp), layer.sources.astype(np.intp)] = numbers.reshape(layer.edges, max(size, 1))
    return dense


READER = Reader(begins=lambda start: start[8:9] == b"{", read=read)
