"""What the formats that write a text file per layer share: the files' names, and the edges in them."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.edges import from_edges
from topokit.errors import FileFormatError
from topokit.formats._format import damaged, require_room
from topokit.layered import Layer
from topokit.reprs import counted


def numbered(folder: Path, pattern: str, example: str) -> list[tuple[Path, re.Match[str]]]:
    """The layers' files in order, each with the match of its name; files of other suffixes are left alone.

    Args:
        folder: holds the files.
        pattern: what their names match; the group "layer" is the layer's number, from 1.
        example: the first file's name, for messages.

    Raises:
        FileFormatError: a file of another name, a number missing or given twice.
    """
    found: dict[int, tuple[Path, re.Match[str]]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix != Path(example).suffix:
            continue
        match = re.fullmatch(pattern, path.name, re.ASCII)
        if match is None or not path.is_file():
            raise FileFormatError(f"{path} is no layer: name layers {example} and so on, and move other files away")
        number = int(match["layer"])
        if number in found:
            raise FileFormatError(f"{found[number][0].name} and {path.name} in {folder} are both layer {number}")
        found[number] = (path, match)
    for number in range(1, len(found) + 1):
        if number not in found:
            raise FileFormatError(
                f"{folder} lacks layer {number}: its {counted(len(found), 'layer')} must be numbered from 1"
            )
    return [found[number] for number in sorted(found)]


def read_table(
    text: bytes, columns: int, path: Path, delimiter: str | None = None, first: int = 1
) -> NDArray[np.float64]:
    """The numbers of a text with a line per edge, shape (lines, columns). About 60 bytes a line while it is read.

    Args:
        text: the lines; blank ones do not count.
        columns: how many numbers a line has.
        path: the file, for messages.
        delimiter: what separates columns; None for blanks.
        first: number of the first line in the file, for messages.

    Raises:
        FileFormatError: something else than numbers, or another count of columns.
        TooLargeError: not enough free memory.
    """
    if not text or text.isspace():
        return np.empty((0, columns))
    require_memory(64 * (text.count(b"\n") + 1) + 8 * len(text), f"reading {path}")
    with damaged(path, ValueError):
        try:
            table = np.loadtxt(io.BytesIO(text), delimiter=delimiter, comments=None, encoding="ascii", ndmin=2)
        except ValueError:
            _require_numbers(text.decode("ascii"), columns, path, delimiter, first)
            raise
    if table.shape[1] != columns:
        raise FileFormatError(f"{path} has {counted(table.shape[1], 'column')} instead of {columns}")
    return table


def _require_numbers(text: str, columns: int, path: Path, delimiter: str | None, first: int) -> None:
    """Refuse a line of readable characters that is not numbers; arguments as for `read_table`.

    A last line that ends too early, and characters that no text has, are left: such a file is damaged.
    """
    lines = text.split("\n")
    for i, line in enumerate(lines):
        words = line.strip().split(delimiter)
        is_cut = i == len(lines) - 1 and len(words) < columns
        if is_cut or not line.strip() or not line.strip().replace("\t", " ").isprintable():
            continue
        if len(words) != columns or not all(map(_is_number, words)):
            blanks = "tabs" if delimiter == "\t" else "blanks"
            raise FileFormatError(
                f"{path}: line {first + i} is {line.strip()[:80]!r}; it must be {counted(columns, 'number')} such as 1 "
                f"or 1.5e-3, separated by {blanks}: correct the line, or remove it"
            )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def layer_of(table: NDArray[np.float64], shape: tuple[int, int], path: Path, where: str = "") -> Layer:
    """The layer of a table whose rows are source and target, both from 1, and maybe a value.

    Where the value is 0 there is no edge. O(edges log edges) time, 80 bytes an edge while it is made.

    Args:
        table: shape (edges, 2 or 3).
        shape: (sources, targets).
        path: the file, for messages.
        where: names the layer in messages; by default the name of its file.

    Raises:
        FileFormatError: a number out of range, a value that is not a number.
        InvalidGraphError: an edge given twice.
        TooLargeError: not enough free memory.
    """
    require_room(path, shape, 80 * len(table))
    for k, (what, width) in enumerate(zip(("row", "column"), shape, strict=True)):
        bad = ~((table[:, k] >= 1) & (table[:, k] <= width) & (table[:, k] == np.floor(table[:, k])))
        if bad.any():
            entry = int(np.argmax(bad))
            raise FileFormatError(
                f"{path}: entry {entry + 1} is in {what} {table[entry, k]:.17g}; {what}s are numbered from 1 to {width}"
            )
    values = table[:, 2:]
    if np.isnan(values).any():
        raise FileFormatError(f"{path}: the value of entry {int(np.argmax(np.isnan(values))) + 1} is not a number")
    kept = (values != 0).all(axis=1)
    sources, targets = (table[kept, k].astype(np.int64) - 1 for k in (0, 1))
    return Layer(from_edges(sources, targets, shape, where or path.name, first=1))
