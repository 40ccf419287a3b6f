"""What a file format is, and the refusals that all readers share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened

from topokit.csr import MAX_WIDTH, require_memory
from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError, TopokitError, reason_of
from topokit.layered import Layered
from topokit.reprs import counted
from topokit.topologies import Topology

EXTRACT = "take a topology out of it with `topokit extract`"
"""What to do with a file of weights."""

CHECKPOINT = "checkpoint.safetensors"
"""The file of a run's folder that holds its network."""

_LISTED = 12  # chains in a message


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


def in_run(path: Path) -> Path:
    """Return the file of a run's folder that holds its topologies; other paths as they are.

    Raises:
        FileFormatError: the run has saved several, or the folder holds several runs.
    """
    saved = sorted((*path.glob("topology*.safetensors"), *path.glob(f"seed*/{CHECKPOINT}"))) if path.is_dir() else []
    if len(saved) > 1:
        names = ", ".join(str(one.relative_to(path)) for one in saved)
        raise FileFormatError(f"{path} holds several topologies: give one of its files {names}")
    if not (path / CHECKPOINT).is_file():
        return path
    return saved[0] if saved else path / CHECKPOINT


def chain_of(nets: Sequence[Topology], chain: int | str, path: Path) -> Topology:
    """Return the topology of a number, counted from 0, or the one with a layer of a name: fc1 is fc1.weight too.

    An integer is a number. A text of digits is a number or the name of a layer.

    Raises:
        InvalidSpecError: there is none, several have a layer of this name, or one has this number and another one a
            layer of this name; the message lists them.
    """
    wanted = str(chain)
    numbered = [i for i in range(len(nets)) if str(i) == wanted]
    named = _named(nets, wanted) if isinstance(chain, str) else []
    found = sorted({*numbered, *named})
    if len(found) == 1:
        return nets[found[0]]
    if numbered:
        other = next(i for i in found if i not in numbered)
        name = next(one for one in (wanted, f"{wanted}.weight") if one in nets[other].names)
        raise InvalidSpecError(
            f"{path}: {wanted} is the number of a chain, and chain {other} has a layer {name}: give the whole name "
            f"of a layer, {name} or one of chain {wanted}: {listed(nets)}"
        )
    number = "several chains" if found else "no chain"
    raise InvalidSpecError(f"{path} has {number} {shortened(wanted)}: give one of {listed(nets)}")


def _named(nets: Sequence[Layered], name: str) -> list[int]:
    """Return the numbers of the topologies that have a layer of this name."""
    return [i for i, net in enumerate(nets) if {name, f"{name}.weight"} & {*net.names}]


def chain_key(nets: Sequence[Layered], number: int) -> str:
    """Return the text that chooses a topology: its number, or a layer's name if another one has a layer of the number.

    >>> from topokit import from_dense
    >>> nets = [from_dense([[[1]]], names=[name]) for name in ("stem.weight", "0.weight")]
    >>> [chain_key(nets, i) for i in range(2)]
    ['stem.weight', '1']
    """
    names = nets[number].names
    return names[0] if names and {*_named(nets, str(number))} - {number} else str(number)


def listed(nets: Sequence[Topology]) -> str:
    """The number, the widths and the names of the layers of each topology of a file, as part of a message."""
    lines = []
    for i, net in enumerate(nets[:_LISTED]):
        widths = "-".join(map(str, net.widths[:8])) + ("-..." if len(net.widths) > 8 else "")
        names = ", ".join(net.names[:4]) + (", ..." if len(net.names) > 4 else "")
        lines.append(f"chain={chain_key(nets, i)} ({': '.join(filter(None, (widths, names)))})")
    more = f"; and {len(nets) - _LISTED} more" if len(nets) > _LISTED else ""
    return "; ".join(lines) + more


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
        raise FileFormatError(
            f"{path} is damaged: {reason_of(error, 200)}: get it again from where it came from"
        ) from error
