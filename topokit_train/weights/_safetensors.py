"""Safetensors files: state dicts of any program, masks, and checkpoints of topokit. Tensors are read when needed."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Shape, as_mask
from topokit.errors import FileFormatError
from topokit.extraction import Part, Weights, state_dict
from topokit.extraction.choosing import Chosen
from topokit.extraction.series import series
from topokit.formats import TensorFile, load_all, read_parameters
from topokit.layered import Layer
from topokit.masking import Parameter
from topokit.placement.weights import by_feature, thirds
from topokit.reprs import counted
from topokit.topologies import layer_digest
from topokit_train.models import MODELS, STACKED
from topokit_train.weights import Reader

_MASKS = ("method.mask.", "pruning.")
"""Prefixes of a weight's name that give the name of its mask, which is packed into bits; 0.1.0 wrote the second one."""
_OURS = re.compile(r"(optimizer|method|pruning)\..*|(topology\.\d+\.)?layer\.\d+\.(indptr|indices)")
"""The tensors of a checkpoint that are not weights."""


def read(path: Path) -> Weights:
    """Read the weights of a safetensors file. The default layers of a checkpoint with sparse layers are these.

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
        stored = read_parameters(path)  # the other masks are (out, in), whatever their names say
        known = {name: stored.get(name, Parameter(part.shape)) for name, part in found.parts.items()}
        parts = {
            name: replace(part, layout=known[name].layout, groups=known[name].groups, known=True)
            for name, part in found.parts.items()
        }
        return replace(found, parts=parts, default=tuple(parts), skipped={}, order="the model")
    shapes = {name: shape for name, shape in file.shapes.items() if not _OURS.fullmatch(name)}
    found = state_dict(shapes, file.read)
    found = replace(found, parts={name: _with_mask(file, name, part) for name, part in found.parts.items()})
    if not found.edgeless:
        return replace(found, order="the model")
    chains = _chains(file, found.edgeless)
    sparse = {one.name: one.part for chain in chains for one in chain}
    dense = [name for name in found.default if name not in sparse]
    return replace(
        found,
        parts={**sparse, **found.parts},
        default=tuple(sparse),
        order="the model",
        edgeless=(),
        skipped={**found.skipped, **dict.fromkeys(dense, "a dense layer; to extract it, select all layers by name")},
        # the layers of a user's model, which is not imported, are in series in the recorded topologies only
        graph=None if _model(file) in MODELS else series(*chains),
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


def _chains(file: TensorFile, names: tuple[str, ...]) -> list[list[Chosen]]:
    """Return the sparse layers of each topology in a checkpoint, by the names of the model's parameters."""
    windows, left = _windows(file), list(names)
    chains: list[list[Chosen]] = []
    for net in load_all(file.path):
        chains.append([])
        for layer, recorded in zip(net.stream(), net.names or [""] * len(net), strict=True):
            owners = _owners(file, recorded, layer, left)
            parts = [_part(file, f"{own}.values", edges, windows.get(own)) for own, edges in owners.items()]
            left = [name for name in left if name not in owners]
            if len(parts) == 1:
                chains[-1].append(Chosen(f"{next(iter(owners))}.weight", parts[0]))
            elif parts:
                chains[-1].append(Chosen(recorded, _packed(parts, layer)))
    if left:
        raise FileFormatError(f"{file.path}: the sparse layer {left[0]} is not in its topologies: the file is damaged")
    return [chain for chain in chains if chain]


def _owners(file: TensorFile, recorded: str, layer: Layer, names: list[str]) -> dict[str, Layer]:
    """Return the sparse layers of the model that a layer of a topology fills, with their edges; none if it fills none.

    It is one layer, if possible the one of the recorded name, or q, k and v of attention with a packed in_proj_weight.
    """
    prefix, packed, _ = recorded.rpartition("in_proj_weight")
    if packed and layer.shape[1] % 3 == 0:
        split = {f"{prefix}{own}": third for own, third in zip("qkv", thirds(layer), strict=True)}
        if all(own in names and _edges(file, own, third) for own, third in split.items()):
            return split
    bare = recorded.removesuffix(".weight").removesuffix("_proj_weight")
    for own in sorted(names, key=lambda name: name != bare):
        if (edges := _edges(file, own, layer)) is not None:
            return {own: edges}
    return {}


def _edges(file: TensorFile, own: str, layer: Layer) -> Layer | None:
    """Return the edges of a sparse layer if they are those of a topology's layer, or several for each; else None."""
    digest = file.read(f"{own}.digest").tobytes()
    if layer_digest(layer) == digest:
        return layer
    (count,) = file.entries[f"{own}.values"].shape
    features, rest = divmod(count, max(layer.edges, 1))
    if features > 1 and not rest:  # a linear layer that reads several features of each channel
        wide = by_feature(layer, features)
        return wide if layer_digest(wide) == digest else None
    return None


def _packed(parts: list[Part], layer: Layer) -> Part:
    """Return the weights of q, k and v as one part."""
    shape = layer.shape[::-1]
    weights = [part.weight for part in parts if part.weight]
    return Part(
        shape=shape,
        weight=lambda: np.concatenate([read() for read in weights]),
        mask=lambda: as_mask(layer, shape),
    )


def _model(file: TensorFile) -> str:
    """Return the name of the model that a run has trained; "" if it is not recorded."""
    try:
        return str(json.loads(file.metadata["state"])["origin"]["config"]["model"])
    except (KeyError, TypeError, ValueError):
        return ""


def _windows(file: TensorFile) -> dict[str, Shape]:
    """Return rows and columns of the filters of each convolution in the model of a checkpoint."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        shapes = json.loads(file.metadata["state"])["shapes"]
        return {name: (int(shape[2]), int(shape[3])) for name, shape in shapes.items()}
    model = _model(file)
    if model not in MODELS or model in STACKED:  # a checkpoint of 0.1.0; a user's model is not imported
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
