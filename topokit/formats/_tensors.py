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

from safetensors import SafetensorError, safe_open

from topokit.errors import FileFormatError
from topokit.formats._format import damaged

SCHEMA = 1
"""The newest version of our metadata that this release knows, and the one it writes."""

_ITEM_SIZES = {"U64": 8, "U32": 4, "BOOL": 1}


def header(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The start of a file that holds `tensors` in this order, without gaps, right after it.

    Args:
        tensors: (name, safetensors dtype, shape) of each; the widest types first, so that all are aligned.
        metadata: what the file says about itself.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in tensors:
        start, end = end, end + _ITEM_SIZES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as the safetensors library sees it, tensors as NumPy arrays.

    Raises:
        FileFormatError: the library refuses the header or a tensor.
    """
    with damaged(path, SafetensorError), safe_open(path, framework="numpy") as file:
        yield file


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
