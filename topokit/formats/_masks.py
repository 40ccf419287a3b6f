"""Mask files: safetensors whose tensors `<parameter>_mask` are 0 or 1, as torch.nn.utils.prune names them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Shape
from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError, reading
from topokit.fields import path_of
from topokit.formats._tensors import MASK, SCHEMA, TensorFile, header
from topokit.formats._writing import replacing
from topokit.masking import LAYOUTS, MASK_DIMENSIONS, MASK_SHAPES, Masks, Parameter, channels_of, checked_masks

_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64"}


def save_masks(
    masks: Mapping[str, ArrayLike],
    path: str | Path,
    *,
    force: bool = False,
) -> None:
    """Write masks to a safetensors file, which `load_masks` reads, and `load` if they chain.

    Args:
        masks: parameter name -> 0 or 1 in the shape of the parameter, with two to five dimensions; the layers in order.
            (out, in, ...) unless they record another layout or groups, as what `topokit.masks` returns does.
        path: the file to write, which ends in .safetensors or has no suffix.
        force: overwrite an existing file.

    Raises:
        InvalidGraphError: a mask is empty, has other dimensions, or has values other than 0 and 1.
        InvalidSpecError: the name of a mask instead of its parameter, or a path with the suffix of another format.
        OutputExistsError: the file exists, and `force` is not set.
        TopokitError: the file cannot be written.
    """
    require_safetensors(path)
    arrays = checked_masks(masks)
    for name in arrays:
        if name.endswith(MASK):
            raise InvalidSpecError(f"{name} is a mask's name: give its parameter's, {name.removesuffix(MASK)}")
    about = {"topokit.kind": "masks", "topokit.schema": str(SCHEMA), "names": json.dumps(list(arrays))}
    known = masks.parameters if isinstance(masks, Masks) else {}
    stored = {name: {"layout": one.layout, "groups": one.groups} for name, one in known.items() if name in arrays}
    about |= {"stored": json.dumps(stored)} if stored else {}
    tensors = [(name + MASK, "BOOL", mask.shape) for name, mask in arrays.items()]
    with replacing(path, force=force) as temporary, temporary.open("wb") as file:
        file.write(header(tensors, about))
        for mask in arrays.values():
            file.write(mask.tobytes())


def require_safetensors(path: str | Path) -> None:
    """Refuse to write safetensors under the suffix of another format.

    Raises:
        InvalidSpecError: the path has another suffix than .safetensors.
    """
    suffix = path_of(path).suffix
    if suffix not in ("", ".safetensors"):
        raise InvalidSpecError(f"{path}: a safetensors file does not end in {suffix}: end it in .safetensors")


def load_masks(path: str | Path) -> Masks:
    """Return the masks in a safetensors file by parameter name, in the order of the layers.

    Other tensors are ignored, and in files of other programs the masks of biases too: a state dict with pairs of
    `_orig` and `_mask` can be read. The masks need not chain.

    Raises:
        FileFormatError: the file contains no masks, or is damaged.
        TooLargeError: not enough free memory.
        TopokitError: the file cannot be read.
    """
    file = TensorFile(path)
    if not file.masked:
        raise FileFormatError(
            f"{path} holds no masks (tensors named like fc1.weight_mask); the masks of a topology need names: "
            "`names`, or `model`"
        )
    with reading(path):
        return Masks(checked_masks(read_masks(file)), read_parameters(path))


def read_parameters(path: str | Path) -> dict[str, Parameter]:
    """Return the parameters of which a file of masks records the layout or groups; the others are (out, in, ...).

    Raises:
        FileFormatError: damaged, or not a safetensors file.
    """
    file = TensorFile(path)
    stored = file.json("stored") if file.kind == "masks" and "stored" in file.metadata else {}
    if not isinstance(stored, dict) or not {*stored} <= {*file.masked} or not all(map(_is_stored, stored.values())):
        raise FileFormatError(
            f'{path}: stored must be a JSON object of parameters\' names and {{"layout": ..., "groups": ...}}'
        )
    shapes = {name: file.entries[name + MASK].shape for name in stored}
    if bad := [name for name, one in stored.items() if not _fits(shapes[name], **one)]:
        raise FileFormatError(f"{path}: the mask of {bad[0][:80]} has a shape that does not fit its layout or groups")
    return {name: Parameter.of(shapes[name], **one) for name, one in stored.items()}


def _is_stored(one: object) -> bool:
    if not isinstance(one, dict) or one.keys() != {"layout", "groups"} or one["layout"] not in LAYOUTS:
        return False
    return type(one["groups"]) is int and one["groups"] > 0


def _fits(shape: Shape, layout: str, groups: int) -> bool:
    return len(shape) in MASK_DIMENSIONS and 0 not in shape and channels_of(shape, layout) % groups == 0


def is_of_masks(path: str | Path) -> bool:
    """Return whether a file is one that `save_masks` wrote."""
    try:
        return TensorFile(path).kind == "masks"
    except TopokitError:
        return False


def read_masks(file: TensorFile) -> dict[str, NDArray[Any]]:
    """Return the masks of a file with the types that they have there.

    Raises:
        FileFormatError: a mask of another type or, in a file of ours, of other dimensions.
        TooLargeError: not enough free memory.
    """
    names = file.masked
    if file.kind != "masks":  # torch.nn.utils.prune masks biases too
        names = [name for name in names if len(file.entries[name + MASK].shape) != 1] or names
    size = 0
    for name in names:
        dtype, shape, _ = file.entries[name + MASK]
        if dtype not in _DTYPES or len(shape) not in MASK_DIMENSIONS:
            raise FileFormatError(
                f"{file.path}: the mask of {name[:80]} is {dtype} of shape {list(shape)}; it must be {MASK_SHAPES}"
            )
        size += 10 * math.prod(shape)  # in the file at most 8 bytes a cell, then as bool, then compared
    require_memory(size, f"reading {file.path}")
    return {name: file.read(name + MASK) for name in names}
