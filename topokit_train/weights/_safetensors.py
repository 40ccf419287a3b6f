"""Safetensors files: state dicts of any program, masks, and checkpoints of ours. Tensors are read when asked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Shape, as_mask
from topokit.errors import FileFormatError
from topokit.extraction.weights import Part, Weights, state_dict
from topokit.formats import TensorFile, load_all
from topokit.layered import Layer
from topokit.topologies import layer_digest
from topokit_train.models import MODELS, STACKED
from topokit_train.weights import Reader

_MASKS = ("method.mask.", "pruning.")  # and a weight's name: its mask, in bits; the latter in checkpoints of 0.1.0
_OURS = re.compile(r"(optimizer|method|pruning)\..*|(topology\.\d+\.)?layer\.\d+\.(indptr|indices)")
"""What a checkpoint holds beside the weights."""


def read(path: Path) -> Weights:
    """The weights of a safetensors file. Of a checkpoint of ours the sparse layers are the default, where it has any.

    Raises:
        FileFormatError: damaged, or a topology, which holds no weights.
        TooLargeError: not enough free memory.
    """
    file = TensorFile(path)
    if file.kind == "topology":
        raise FileFormatError(f"{path} is a topology already, and holds no weights")
    if file.kind != "checkpoint":
        return state_dict(file.shapes, file.read)
    shapes = {name: shape for name, shape in file.shapes.items() if not _OURS.fullmatch(name)}
    found = state_dict(shapes, file.read)
    found = replace(found, parts={name: _with_mask(file, name, part) for name, part in found.parts.items()})
    if not found.edgeless:
        return found
    sparse = _sparse_layers(file, found.edgeless)
    dense = [name for name in found.default if name not in sparse]
    left_out = f"left out are the dense layers {', '.join(dense)}: layers takes them too"
    return replace(
        found,
        parts={**sparse, **found.parts},
        default=tuple(sparse),
        edgeless=(),
        notes=(left_out,) if dense else (),
    )


def _with_mask(file: TensorFile, name: str, part: Part) -> Part:
    """A weight with the mask that a pruning run holds it by, where it does: a weight may be zero by chance."""
    packed = next((mask + name for mask in _MASKS if mask + name in file.entries), None)
    if packed is None:
        return part
    size = prod(part.shape)
    if file.entries[packed].shape != (-(-size // 8),):
        raise FileFormatError(f"{file.path}: {packed} is no mask of {size} weights: it is damaged")
    return replace(part, mask=lambda: np.unpackbits(file.read(packed), count=size).reshape(part.shape))


def _sparse_layers(file: TensorFile, names: tuple[str, ...]) -> dict[str, Part]:
    """The sparse layers of a checkpoint, in the order of its topologies, which are beside them."""
    held = [layer for topology in load_all(file.path) for layer in topology.stream()]
    layers = {layer_digest(layer): (i, layer) for i, layer in reversed(list(enumerate(held)))}
    windows = _windows(file)
    found: list[tuple[int, str, Part]] = []
    for name in names:
        key = file.read(f"{name}.digest").tobytes()
        if key not in layers:
            raise FileFormatError(f"{file.path}: the sparse layer {name} is none of its topologies: it is damaged")
        i, layer = layers[key]
        found.append((i, f"{name}.weight", _part(file, f"{name}.values", layer, windows.get(name))))
    return {name: part for _, name, part in sorted(found, key=lambda entry: entry[:2])}


def _windows(file: TensorFile) -> dict[str, Shape]:
    """Rows and columns of the filters of each convolution, as the model has them that the checkpoint is of."""
    try:
        model = json.loads(file.metadata["state"])["origin"]["config"]["model"]
    except (KeyError, TypeError, ValueError):
        return {}
    if model not in MODELS or model in STACKED:  # a user's model is not imported here
        return {}
    from topokit_train.models.networks import MNIST, model_source  # which load torch

    table = model_source(model).weights(MNIST)
    return {name.removesuffix(".weight"): weight.shape[2:] for name, weight in table.items() if len(weight.shape) == 4}


def _part(file: TensorFile, values: str, layer: Layer, window: Shape | None) -> Part:
    """A sparse layer as a weight with its mask: a number per edge, or a filter of numbers per edge of a convolution.

    Args:
        file: the checkpoint.
        values: the name of its numbers.
        layer: its edges.
        window: rows and columns of its filters; None for a linear layer, and where nobody knows.
    """
    (count,) = file.entries[values].shape
    size = count // max(layer.edges, 1)
    if size * layer.edges != count:
        raise FileFormatError(f"{file.path}: {values} has {count} numbers for {layer.edges} edges: it is damaged")
    shape = _shape(layer, size, window)

    def weight() -> NDArray[Any]:
        return _filled(file.read(values), layer, size).reshape(shape)

    def mask() -> NDArray[np.bool_]:
        return as_mask(layer, shape)

    return Part(shape=shape, weight=weight, mask=mask)


def _shape(layer: Layer, size: int, window: Shape | None) -> Shape:
    """The shape of the weight of a layer with so many numbers per edge; see `_part`."""
    sources, targets = layer.shape
    if window is not None and size == prod(window):  # by channel
        return targets, sources, *window
    if window is not None and size <= 1 and sources % prod(window) == 0:  # by weight
        return targets, sources // prod(window), *window
    if size <= 1:
        return targets, sources
    side = int(size**0.5)
    return targets, sources, *((side, side) if side * side == size else (size, 1))


def _filled(numbers: NDArray[Any], layer: Layer, size: int) -> NDArray[Any]:
    """The dense weights, shape (targets, sources, size), of numbers in canonical order: one edge's after another's."""
    sources, targets = layer.shape
    dense = np.zeros((targets, sources, max(size, 1)), numbers.dtype)
    dense[layer.targets, layer.sources] = numbers.reshape(layer.edges, max(size, 1))
    return dense


READER = Reader(begins=lambda start: start[8:9] == b"{", read=read)
