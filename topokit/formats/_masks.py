"""Mask files: safetensors whose tensors `<parameter>_mask` are 0 or 1, as torch.nn.utils.prune names them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError, TopokitError
from topokit.fields import path_of
from topokit.formats._format import damaged
from topokit.formats._tensors import SCHEMA, header, opened, require_known_schema
from topokit.formats._writing import replacing
from topokit.masking import MASK_SHAPES, checked_masks

_SUFFIX = "_mask"
_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64"}


def save_masks(masks: Mapping[str, ArrayLike], path: str | Path, *, force: bool = False) -> None:
    """Write masks to a safetensors file, which `load_masks` reads, and `load` as a topology if they are a chain.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in) or, of a convolution, (out, in, rows, columns); the
            layers in order.
        path: the file to write, which ends in .safetensors or has no suffix.
        force: overwrite it where it exists.

    Raises:
        InvalidGraphError: a mask that is empty, of other dimensions, or not of 0 and 1.
        InvalidSpecError: a mask's name instead of its parameter's, or a path that is of another format.
        OutputExistsError: the file exists, and `force` is not set.
        TopokitError: it cannot be written.
    """
    require_safetensors(path)
    arrays = checked_masks(masks)
    for name in arrays:
        if name.endswith(_SUFFIX):
            raise InvalidSpecError(f"{name} is a mask's name: give its parameter's, {name.removesuffix(_SUFFIX)}")
    about = {"topokit.kind": "masks", "topokit.schema": str(SCHEMA), "names": json.dumps(list(arrays))}
    tensors = [(f"{name}{_SUFFIX}", "BOOL", mask.shape) for name, mask in arrays.items()]
    with replacing(path, force=force) as temporary, temporary.open("wb") as file:
        file.write(header(tensors, about))
        for mask in arrays.values():
            file.write(mask.tobytes())


def require_safetensors(path: str | Path) -> None:
    """Refuse to write safetensors under the name of another format.

    Raises:
        InvalidSpecError: the path has another suffix than .safetensors.
    """
    suffix = Path(path).suffix
    if suffix not in ("", ".safetensors"):
        raise InvalidSpecError(f"{path}: a safetensors file is written, and no {suffix}: end it in .safetensors")


def holds_masks(file: Any) -> bool:
    """Whether an opened safetensors file has a tensor named like a mask."""
    return any(name.endswith(_SUFFIX) for name in file.keys())  # noqa: SIM118 (safe_open is no mapping)


def load_masks(path: str | Path) -> dict[str, NDArray[np.bool_]]:
    """The masks in a safetensors file, by their parameters' names, in the order of the layers.

    Other tensors are passed over, and so are the masks of biases in files of others; so a state dict with pairs of
    `_orig` and `_mask` will do. Whether the masks are a chain is not asked: `topokit.from_masks` does that.

    Raises:
        FileFormatError: it holds no masks, or is damaged.
        TooLargeError: not enough free memory.
        TopokitError: it cannot be read.
    """
    path = path_of(path)
    try:
        with opened(path) as file:
            if not holds_masks(file):
                raise FileFormatError(
                    f"{path} holds no masks (tensors named like fc1.weight_mask); the masks of a topology need names: "
                    "`names`, or `model`"
                )
            return checked_masks(read_masks(path, file, file.metadata() or {}))
    except InvalidGraphError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except OSError as error:
        raise TopokitError(f"cannot read {path}: {error.strerror or error}") from error


def read_masks(path: Path, file: Any, metadata: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The masks of an opened file, as they are in it; its other tensors are left alone.

    Raises:
        FileFormatError: a mask of another type or, in a file of ours, of other dimensions.
        TooLargeError: not enough free memory.
    """
    names = mask_names(path, file, metadata)
    if metadata.get("topokit.kind") != "masks":  # torch.nn.utils.prune masks biases too
        names = [name for name in names if len(file.get_slice(name + _SUFFIX).get_shape()) != 1] or names
    size = 0
    for name in names:
        tensor = file.get_slice(name + _SUFFIX)
        dtype, shape = tensor.get_dtype(), tensor.get_shape()
        if dtype not in _DTYPES or len(shape) not in (2, 4):
            raise FileFormatError(
                f"{path}: the mask of {name[:80]} is {dtype} of shape {shape}; it must be {MASK_SHAPES}"
            )
        size += 10 * math.prod(shape)  # as it is in the file, at most 8 bytes a cell, as bool, and compared
    require_memory(size, f"reading {path}")
    return {name: file.get_tensor(name + _SUFFIX) for name in names}


def mask_names(path: Path, file: Any, metadata: Mapping[str, str]) -> list[str]:
    """The parameters of an opened file's masks, in the order of the layers: as it says, or by their names.

    Raises:
        FileFormatError: it says so wrongly.
    """
    found = [name.removesuffix(_SUFFIX) for name in file.keys() if name.endswith(_SUFFIX)]  # noqa: SIM118
    if metadata.get("topokit.kind") != "masks":
        return sorted(found, key=natural)
    require_known_schema(metadata, path)
    with damaged(path, ValueError, RecursionError):
        names = json.loads(metadata.get("names", ""))
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or sorted(names) != sorted(found)
    ):
        raise FileFormatError(f"{path}: names must list the masks' parameters, each once, in the order of the layers")
    return names


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts fc2 before fc10: the longer of two numbers is the larger one."""
    parts = re.split("([0-9]+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if k % 2 else (0, part) for k, part in enumerate(parts)]
