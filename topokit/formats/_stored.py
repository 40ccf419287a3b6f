"""Any safetensors file of weights: what it holds, and one tensor of it at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import FileFormatError, TopokitError
from topokit.fields import path_of
from topokit.formats._masks import holds_masks, mask_names, natural
from topokit.formats._tensors import bfloat16, opened, places
from topokit.reprs import short_repr

_READABLE = {"BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64", "BF16"}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The tensors of a safetensors file.

    Args:
        path: the file.
        metadata: what it says about itself.
        shapes: of each tensor, by its name, in the natural order of the names (fc2 before fc10), as the file has no
            order of its own; masks of ours come first, in the order that the file says.
    """

    path: Path
    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    __repr__ = short_repr

    def read(self, name: str) -> NDArray[Any]:
        """A tensor; BF16 as float32.

        Raises:
            FileFormatError: of a type that is not read, or damaged.
            TooLargeError: not enough free memory.
        """
        dtype, shape, place = places(self.path)[name]
        if dtype not in _READABLE:
            raise FileFormatError(f"{self.path}: {name} is of the type {dtype}, which is not read: save it as F32")
        require_memory(8 * math.prod(shape), f"reading {name}")
        if dtype == "BF16":
            return bfloat16(self.path, place, shape)
        with opened(self.path) as file:
            array: NDArray[Any] = file.get_tensor(name)
        return array


def stored(path: str | Path) -> Stored:
    """Look into a safetensors file; no tensor is read.

    Raises:
        FileFormatError: damaged.
        TopokitError: it cannot be read.
    """
    path = path_of(path)
    try:
        with opened(path) as file:
            metadata: dict[str, str] = file.metadata() or {}
            masks = mask_names(path, file, metadata) if holds_masks(file) and "topokit.kind" in metadata else []
        shapes = {name: shape for name, (_, shape, _) in places(path).items()}
    except OSError as error:
        raise TopokitError(f"cannot read {path}: {error.strerror or error}") from error
    order = dict.fromkeys([*(f"{name}_mask" for name in masks), *sorted(shapes, key=natural)])
    return Stored(path=path, metadata=metadata, shapes={name: shapes[name] for name in order})


def is_of_masks(path: str | Path) -> bool:
    """Return whether a file is one of masks that `save_masks` wrote."""
    try:
        return stored(path).metadata.get("topokit.kind") == "masks"
    except (TopokitError, ValueError):
        return False
