"""The safetensors container: a reader, and a header for files that are written layer by layer.

A safetensors file is an 8-byte length, a JSON header with the type, shape and place of each tensor, and the tensors
one after another. The safetensors library writes it only from arrays in memory.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from topokit.csr import require_memory
from topokit.errors import FileFormatError, TooLargeError, reading
from topokit.fields import path_of
from topokit.formats._format import damaged
from topokit.reprs import described

SCHEMA = 1
"""The newest version of topokit's metadata that this release reads, and the one that it writes."""

MAX_HEADER = 100_000_000
"""Bytes of the longest header that the library reads."""

MASK = "_mask"
"""The ending that torch.nn.utils.prune gives to the names of masks."""

DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "BF16": "<u2",  # the upper half of a float32, a type that NumPy lacks
}
"""Safetensors type -> type of the array that holds it."""


class Entry(NamedTuple):
    """A tensor's line in the header: its safetensors type, its shape, and its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class TensorFile:
    """A safetensors file: its header is read at once, each tensor when it is asked for.

    Args:
        path: the file.

    Attributes:
        metadata: texts by name.
        entries: name -> `Entry`.

    Raises:
        FileFormatError: the file is damaged or not a safetensors file.
        TopokitError: it cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = path = path_of(path)
        with reading(path), path.open("rb") as file:
            size, brace = file.read(8), file.read(1)
            if brace not in (b"", b"{"):
                raise FileFormatError(
                    f"{path} is not a safetensors file: topokit writes its checkpoints as such, and "
                    "safetensors.torch.save_file(model.state_dict(), ...) does"
                )
            with damaged(path, SafetensorError), safe_open(path, framework="numpy"):
                pass  # the library has now checked the header
            start = 8 + int.from_bytes(size, "little")
            header = json.loads(brace + file.read(start - 9))
        self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
        self.entries = {
            name: Entry(one["dtype"], tuple(one["shape"]), start + one["data_offsets"][0])
            for name, one in header.items()
        }

    def __repr__(self) -> str:
        return described("TensorFile", {"path": str(self.path), "shapes": self.shapes})

    @property
    def kind(self) -> str | None:
        """What topokit wrote: "topology", "checkpoint" or "masks"; None for a file of another program."""
        return self.metadata.get("topokit.kind")

    @cached_property
    def masked(self) -> list[str]:
        """The parameters that have masks, in the order of the layers: the recorded one, or that of their names.

        Raises:
            FileFormatError: the recorded names are not those of the masks.
        """
        found = sorted((name.removesuffix(MASK) for name in self.entries if name.endswith(MASK)), key=_natural)
        if self.kind != "masks":
            return found
        self.require_known_schema()
        names = self.json("names")
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(found):
            raise FileFormatError(f"{self.path}: names must list the parameters of the masks, each once")
        return names

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name, fc2 before fc10: a safetensors file has no order of its own. topokit's masks keep theirs."""
        first = self.masked if self.kind == "masks" else ()
        order = dict.fromkeys([*(name + MASK for name in first), *sorted(self.entries, key=_natural)])
        return {name: self.entries[name].shape for name in order}

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor; BF16 as float32.

        Raises:
            FileFormatError: NumPy has no such type.
            TooLargeError: not enough free memory.
        """
        dtype, shape, start = self.entries[name]
        if dtype not in DTYPES:
            raise FileFormatError(
                f"{self.path}: {name} has the type {dtype}, which topokit does not read: save it as F32"
            )
        require_memory(8 * math.prod(shape), f"reading {name}")
        array: NDArray[Any] = np.empty(math.prod(shape), DTYPES[dtype])
        with self.path.open("rb") as file:  # np.fromfile takes three times as long for a small tensor
            file.seek(start)
            if file.readinto(array.view(np.uint8).data) < array.nbytes:
                raise FileFormatError(f"{self.path} was cut off while it was read: save it again")
        if dtype == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.reshape(shape)

    def json(self, key: str) -> Any:
        """Return a metadata text that holds JSON; None if it is missing.

        Raises:
            FileFormatError: it is not JSON.
        """
        with damaged(self.path, ValueError, RecursionError):
            return json.loads(self.metadata.get(key, "null"))

    def require_known_schema(self) -> None:
        """Refuse a file that a later release of topokit wrote.

        Raises:
            FileFormatError: a newer version, or none.
        """
        schema = self.metadata.get("topokit.schema", "")
        if not re.fullmatch("[0-9]{1,9}", schema):
            raise FileFormatError(f"{self.path}: topokit.schema is {schema[:20]!r} instead of a version number")
        if not 1 <= int(schema) <= SCHEMA:
            raise FileFormatError(f"{self.path} has schema {schema}; this topokit reads up to {SCHEMA}: update topokit")


def header(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """Return the start of a file that holds `tensors` in this order, without gaps, right after it.

    Args:
        tensors: (name, safetensors type, shape) of each; the widest types first, so that all are aligned.
        metadata: texts by name.

    Raises:
        TooLargeError: the header is longer than the library reads.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in tensors:
        start, end = end, end + np.dtype(DTYPES[dtype]).itemsize * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise TooLargeError(
            f"the header of a safetensors file may have {MAX_HEADER:,} bytes; the recipe of this topology needs "
            f"{len(text):,}: permute by a seed instead of lists, or save as npz, which keeps no recipe"
        )
    return len(text).to_bytes(8, "little") + text


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts fc2 before fc10: of two numbers the longer one is larger."""
    parts = re.split("([0-9]+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if k % 2 else (0, part) for k, part in enumerate(parts)]
