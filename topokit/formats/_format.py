"""What a file format is, and the refusals that all readers share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from topokit.csr import MAX_WIDTH, require_memory
from topokit.errors import FileFormatError, InvalidGraphError, TopokitError
from topokit.reprs import counted
from topokit.topologies import Topology

EXTRACT = "take a topology out of it with `topokit extract`"
"""What to do with a file of weights."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format; each module of this package with a leading underscore and a `FORMAT` holds one.

    Args:
        suffix: what its files are named like; `save` goes by it where no format is named.
        begins: whether a file that starts with these bytes (up to 512) may be of this format.
        read: makes the topology of a file or folder, and validates all of it.
        write: writes a network to a new file, or into a new, empty folder; returns its fingerprint.
        folder: a network is a folder with one file per layer.
        edge_bytes: what an edge takes in a file at least, in bytes; 0 if files are compressed.
        read_all: makes the topologies of a file, where it can hold several.
    """

    suffix: str
    begins: Callable[[bytes], bool]
    read: Callable[[Path], Topology]
    write: Callable[..., str]
    folder: bool = False
    edge_bytes: int = 4
    read_all: Callable[[Path], tuple[Topology, ...]] | None = None


def require_room(path: Path, widths: Sequence[int], edge_bytes: int) -> None:
    """Refuse a network that is too wide or does not fit into memory, before anything is allocated.

    Args:
        path: the file, for messages.
        widths: nodes in each node layer that is about to be read.
        edge_bytes: what reading the edges takes, in bytes.

    Raises:
        FileFormatError: a width of 0, or of 2^32 or more.
        TooLargeError: not enough free memory.
    """
    for width in widths:
        if not 0 < width < MAX_WIDTH:
            raise FileFormatError(f"{path} says {counted(width, 'node')} in a layer; 1 to 2^32 - 1 are allowed")
    require_memory(edge_bytes + 48 * sum(widths), f"reading {path}")


def parse_widths(text: object) -> tuple[int, ...]:
    """The widths in a JSON list of at least two integers from 1 to 2^32 - 1.

    Raises:
        InvalidGraphError: anything else.
    """
    try:
        widths = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        widths = None
    if isinstance(widths, list) and len(widths) > 1 and all(type(w) is int and 0 < w < MAX_WIDTH for w in widths):
        return tuple(widths)
    raise InvalidGraphError("widths must be a JSON list of two or more integers from 1 to 2^32 - 1")


@contextmanager
def damaged(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Say that `path` is damaged where the library that reads it raises one of `errors`.

    Raises:
        FileFormatError: with the library's reason, on one line.
    """
    try:
        yield
    except TopokitError:
        raise
    except errors as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FileFormatError(f"{path} is damaged: {reason}: get it again from where it came from") from error
