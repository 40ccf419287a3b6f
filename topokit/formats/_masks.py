"""Mask files: safetensors whose tensors `<parameter>_mask` are 0 or 1, as torch.nn.utils.prune names them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from topokit.csr import require_memory
from topokit.errors import FileFormatError
from topokit.formats._format import damaged
from topokit.formats._tensors import SCHEMA, header, require_known_schema
from topokit.formats._writing import replacing
from topokit.masking import checked_masks, from_masks
from topokit.topology import Topology

_SUFFIX = "_mask"
_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64"}


def save_masks(masks: Mapping[str, ArrayLike], path: str | Path, *, force: bool = False) -> None:
    """Write masks to a safetensors file that `load` reads as a topology.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in), the layers in order.
        path: the file to write.
        force: overwrite it where it exists.

    Raises:
        InvalidGraphError: not a chain of 0-1 matrices.
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


def read_masks(path: Path, file: Any, metadata: Mapping[str, str]) -> Topology:
    """The topology of an opened file's masks; its other tensors are left alone.

    Raises:
        FileFormatError: a mask of another type, or not two-dimensional.
        InvalidGraphError: the masks are no chain of 0-1 matrices.
        TooLargeError: not enough free memory.
    """
    names = _names(path, file, metadata)
    size = 0
    for name in names:
        tensor = file.get_slice(name + _SUFFIX)
        dtype, shape = tensor.get_dtype(), tensor.get_shape()
        if dtype not in _DTYPES or len(shape) != 2:
            raise FileFormatError(f"{path}: the mask of {name[:80]} is {dtype} of shape {shape}; it must be (out, in)")
        size += 10 * shape[0] * shape[1]  # as it is in the file, at most 8 bytes a cell, as bool, and compared
    require_memory(size, f"reading {path}")
    return from_masks({name: file.get_tensor(name + _SUFFIX) for name in names})


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
