"""Safetensors files: state dicts of any program, masks, and checkpoints of topokit. Tensors are read when needed."""

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
from topokit.extraction import Part, Weights, state_dict
from topokit.formats import TensorFile, load_all
from topokit.layered import Layer
from topokit.reprs import counted
from topokit.topologies import layer_digest
from topokit_train.models import MODELS, STACKED
from topokit_train.weights import Reader

_MASKS = ("method.mask.", "pruning.")  # before a weight's name: its mask, in bits; the latter in 0.1.0
_OURS = re.compile(r"(optimizer|method|pruning)\..*|(topology\.\d+\.)?layer\.\d+\.(indptr|indices)")
"""The tensors of a checkpoint that are not weights."""


def read(path: Path) -> Weights:
    """Read the weights of a safetensors file. In a checkpoint with sparse layers, these are the default.

    Raises:
        FileFormatError: damaged, or a topology, which has no weights.
        TooLargeError: not enough free memory.
    """
    file = TensorFile(path)
    if file.kind == "topology":
        raise FileFormatError(f"{path} is a topology, and has no weights")
    if file.kind != "checkpoint":
        found = state_dict(file.shapes, file.read)
        if file.kind != "masks":
            return replace(found, order="")
        # whatever their names say: masks of ours are (out, in)
        parts = {name: replace(part, layout="out-in", known=True) for name, part in found.parts.items()}
        return replace(found, parts=parts, default=tuple(parts), skipped={}, order="the model")
    shapes = {name: shape for name, shape in file.shapes.items() if not _OURS.fullmatch(name)}
    found = state_dict(shapes, file.read)
    found = replace(found, parts={name: _with_mask(file, name, part) for name, part in found.parts.items()})
    if not found.edgeless:
        return replace(found, order="the model")
    sparse = _sparse_layers(file, found.edgeless)
    dense = [name for name in found.default if name not in sparse]
    note = f"not extracted: the dense layers {', '.join(dense)}; to extract them, select all layers by name"
    return replace(
        found,
        parts={**sparse, **found.parts},
        default=tuple(sparse),
        order="the model",
        edgeless=(),
        notes=(note,) if dense else (),
    )


def _with_mask(file: TensorFile, name: str, part: Part) -> Part:
    """Return a weight with the mask of its pruning run, if there is one: a weight may be zero by chance."""
    packed = next((mask + name for mask in _MASKS if mask + name in file.entries), None)
    if packed is None:
        return part
    size = prod(part.shape)
    if file.entries[packed].shape != (-(-size // 8),):
        raise FileFormatError(f"{file.path}: {packed} is not a mask of {size} weights: the file is damaged")
    return replace(part, mask=lambda: np.unpackbits(file.read(packed), count=size).reshape(part.shape))


def _sparse_layers(file: TensorFile, names: tuple[str, ...]) -> dict[str, Part]:
    """Return the sparse layers of a checkpoint, in the order of the topologies in it."""
    layers = [layer for topology in load_all(file.path) for layer in topology.stream()]
    digests = [layer_digest(layer) for layer in layers]
    windows = _windows(file)
    found: dict[str, tuple[int, Part]] = {}
    for name in names:
        digest = file.read(f"{name}.digest").tobytes()
        if digest not in digests:
            raise FileFormatError(f"{file.path}: the sparse layer {name} is not in its topologies: the file is damaged")
        i = digests.index(digest)
        found[f"{name}.weight"] = (i, _part(file, f"{name}.values", layers[i], windows.get(name)))
    return {name: part for name, (i, part) in sorted(found.items(), key=lambda entry: (entry[1][0], entry[0]))}


def _windows(file: TensorFile) -> dict[str, Shape]:
    """Return rows and columns of the filters of each convolution in the model of a checkpoint."""
    try:
        model = json.loads(file.metadata["state"])["origin"]["config"]["model"]
    except (KeyError, TypeError, ValueError):
        return {}
    if model not in MODELS or model in STACKED:  # a user's model is not imported
        return {}
    from topokit_train.models.networks import weights_on_images  # which loads torch

    table = weights_on_images(model)
    return {name.removesuffix(".weight"): weight.shape[2:] for name, weight in table.items() if len(weight.shape) == 4}


def _part(file: TensorFile, values: str, layer: Layer, window: Shape | None) -> Part:
    """Return a sparse layer as a weight with its mask.

    Args:
        file: the checkpoint.
        values: name of its numbers: one per edge or, in a convolution by channel, a filter per edge.
        layer: its edges.
        window: rows and columns of its filters; None for a linear layer, and if the model is unknown.
    """
    (count,) = file.entries[values].shape
    size = count // max(layer.edges, 1)  # numbers per edge
    if size * layer.edges != count:
        raise FileFormatError(
            f"{file.path}: {values} has {counted(count, 'number')} for {counted(layer.edges, 'edge')}: it is damaged"
        )
    shape = _shape(layer, max(size, 1), window)

    def weight() -> NDArray[Any]:
        numbers = file.read(values)
        dense = np.zeros((*layer.shape[::-1], max(size, 1)), numbers.dtype)
        dense[layer.targets, layer.sources] = numbers.reshape(layer.edges, max(size, 1))
        return dense.reshape(shape)

    return Part(shape=shape, weight=weight, mask=lambda: as_mask(layer, shape))


def _shape(layer: Layer, size: int, window: Shape | None) -> Shape:
    """Return the shape of the weight of a layer with `size` numbers per edge; see `_part`."""
    sources, targets = layer.shape
    if window is not None and size == prod(window):  # by channel
        return targets, sources, *window
    if window is not None and size == 1 and sources % prod(window) == 0:  # by weight
        return targets, sources // prod(window), *window
    if size == 1:
        return targets, sources
    side = int(size**0.5)
    return targets, sources, *((side, side) if side * side == size else (size, 1))


READER = Reader(begins=lambda start: start[8:9] == b"{", read=read)
