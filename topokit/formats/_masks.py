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
from topokit.errors import FileFormatError, InvalidGraphError, TopokitError
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
        path: the file to write.
        force: overwrite it where it exists.

    Raises:
        InvalidGraphError: a mask that is empty, of other dimensions, or not of 0 and 1.
        OutputExistsError: the file exists, and `force` is not set.
        TopokitError: it cannot be written.
    """
    arrays = checked_masks(masks)
    about = {"topokit.kind": "masks", "topokit.schema": str(SCHEMA), "names": json.dumps(list(arrays))}
    tensors = [(f"{name}{_SUFFIX}", "BOOL", mask.shape) for name, mask in arrays.items()]
    with replacing(path, force=force) as temporary, temporary.open("wb") as file:
        file.write(header(tensors, about))
        for mask in arrays.values():
            file.write(mask.tobytes())


def holds_masks(file: Any) -> bool:
    """Whether an opened safetensors file has a tensor named like a mask."""
    return any(name.endswith(_SUFFIX) for name in file.keys())  # noqa: SIM118 (safe_open is no mapping)


def load_masks(path: str | Path) -> dict[str, NDArray[np.bool_]]:
    """The masks in a safetensors file, by their parameters' names, in the order of the layers.

    Other tensors are passed over, so a state dict with pairs of `_orig` and `_mask` will do. Whether the masks are
    a chain is not asked: `topokit.from_masks` does that.

    Raises:
        FileFormatError: it holds no masks, or is damaged.
        TooLargeError: not enough free memory.
        TopokitError: it cannot be read.
    """
    path = Path(path)
    try:
        with opened(path) as file:
            if not holds_masks(file):
                raise FileFormatError(f"{path} holds no masks (tensors named like fc1.weight_mask)")
            return checked_masks(read_masks(path, file, file.metadata() or {}))
    except InvalidGraphError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except OSError as error:
        raise TopokitError(f"cannot read {path}: {error.strerror or error}") from error


def read_masks(path: Path, file: Any, metadata: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The masks of an opened file, as they are in it; its other tensors are left alone.

    Raises:
        FileFormatError: a mask of another type or of other dimensions.
        TooLargeError: not enough free memory.
    """
    names = _names(path, file, metadata)
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


def _names(path: Path, file: Any, metadata: Mapping[str, str]) -> list[str]:
    found = [name.removesuffix(_SUFFIX) for name in file.keys() if name.endswith(_SUFFIX)]  # noqa: SIM118
    if metadata.get("topokit.kind") != "masks":
        return sorted(found, key=_natural)
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


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts fc2 before fc10: the longer of two numbers is the larger one."""
    parts = re.split("([0-9]+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if k % 2 else (0, part) for k, part in enumerate(parts)]
