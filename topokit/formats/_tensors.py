"""The safetensors container: laying down a header of our own, and opening a file with the library.

A safetensors file is an 8-byte length, a JSON header that names each tensor's type, shape and place, and
the tensors one after another. The library writes it from arrays in memory. Our header is for networks
that are written layer by layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from topokit.errors import FileFormatError, TooLargeError
from topokit.formats._format import damaged

SCHEMA = 1
"""The newest version of our metadata that this release knows, and the one it writes."""

MAX_HEADER = 100_000_000
"""Bytes of a header that the library reads; it refuses longer ones."""

_ITEM_SIZES = {"U64": 8, "U32": 4, "BOOL": 1}


def header(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The start of a file that holds `tensors` in this order, without gaps, right after it.

    Args:
        tensors: (name, safetensors dtype, shape) of each; the widest types first, so that all are aligned.
        metadata: what the file says about itself.

    Raises:
        TooLargeError: nobody could read the file, as the header would be too long.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in tensors:
        start, end = end, end + _ITEM_SIZES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise TooLargeError(
            f"a safetensors file's header holds {MAX_HEADER:,} bytes at most, and what is known of this network takes "
            f"{len(text):,}: permute by a seed and not by lists, or save it as npz, which keeps no recipe"
        )
    return len(text).to_bytes(8, "little") + text


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as the safetensors library sees it, tensors as NumPy arrays.

    Raises:
        FileFormatError: it begins like another kind of file, or the library refuses the header or a tensor.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if len(start) == 9 and start[8:] != b"{":
        raise FileFormatError(
            f"{path} is no safetensors file, as is needed here: topokit writes its checkpoints so, and "
            "safetensors.torch.save_file(model.state_dict(), ...) does"
        )
    with damaged(path, SafetensorError), safe_open(path, framework="numpy") as file:
        yield file


def places(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Type, shape and place in the file, in bytes from its start, of each tensor.

    For types that NumPy lacks, and for changing some bytes of a copy. The library has looked at the header first.

    Raises:
        FileFormatError: the library refuses it.
    """
    with opened(path), path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(start - 8))
    return {
        name: (entry["dtype"], tuple(entry["shape"]), start + entry["data_offsets"][0])
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def bfloat16(path: Path, place: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A tensor of type BF16, which NumPy lacks: the upper halves of float32 numbers.

    Args:
        path: a safetensors file.
        place: where in it the tensor begins, as `places` says.
        shape: of the tensor.
    """
    halves = np.fromfile(path, "<u2", count=math.prod(shape), offset=place)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)


def require_known_schema(metadata: Mapping[str, str], path: Path) -> None:
    """Refuse a file of ours that a later release has written.

    Raises:
        FileFormatError: a newer version, or none.
    """
    schema = metadata.get("topokit.schema", "")
    if not (schema.isascii() and schema.isdigit() and len(schema) < 10):
        raise FileFormatError(f"{path}: topokit.schema is {schema[:20]!r} instead of a version number")
    if not 1 <= int(schema) <= SCHEMA:
        raise FileFormatError(f"{path} has schema {schema}; this topokit reads up to {SCHEMA}: update topokit")
