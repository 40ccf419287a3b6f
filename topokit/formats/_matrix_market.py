"""Matrix Market: a folder with a coordinate file per layer, or one such file for a single layer.

scipy.io.mmread is not used: a damaged file can end the whole process in its C++ code.

Source: Boisvert, Pozo & Remington 1996, "The Matrix Market Exchange Formats: Initial Design", NISTIR 5935.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from topokit.errors import FileFormatError
from topokit.formats._format import Format, require_room
from topokit.formats._layer_files import layer_of, numbered, read_table
from topokit.layered import Layer, Layered
from topokit.topologies import Topology, fingerprint

_BANNER = b"%%MatrixMarket matrix coordinate pattern general"
_COLUMNS = {b"pattern": 2, b"real": 3, b"integer": 3}


def write(net: Layered, folder: Path) -> str:
    """Write layer-1.mtx and so on, entries sorted by row and then by column; one layer in memory."""
    for i, layer in enumerate(net.stream(), start=1):
        with (folder / f"layer-{i}.mtx").open("wb") as file:
            file.write(_BANNER + b"\n%d %d %d\n" % (*layer.shape, layer.edges))
            file.writelines(_lines(layer))
    return fingerprint(net)


def _lines(layer: Layer) -> Iterator[bytes]:
    numbers = [b"%d\n" % v for v in range(1, layer.shape[1] + 1)]
    for u, (start, end) in enumerate(pairwise(layer.indptr.tolist()), start=1):
        if start < end:
            row = b"%d " % u
            yield row + row.join([numbers[v] for v in layer.indices[start:end].tolist()])


def read(path: Path) -> Topology:
    """Read a folder of layers, or one file as a network of one layer. For errors see `layer_of`."""
    if path.is_dir():
        return Topology([_read(file) for file, _ in numbered(path, r"layer-(?P<layer>\d{1,9})\.mtx", "layer-1.mtx")])
    return Topology([_read(path, "layer 0")])


def _read(path: Path, where: str = "") -> Layer:
    require_room(path, (), path.stat().st_size)
    file = io.BytesIO(path.read_bytes())
    first = file.readline()
    banner = first.lower().split()
    if len(banner) != 5 or banner[:3] != _BANNER.lower().split()[:3] or banner[3] not in _COLUMNS:
        raise FileFormatError(
            f"the first line of {path} is {first.decode(errors='replace').strip():.120}; it must be "
            f"{_BANNER.decode()}, or real or integer instead of pattern"
        )
    if banner[4] != b"general":
        raise FileFormatError(f"{path} holds one half of a symmetric matrix: write it as general")
    line = file.readline()
    while line.startswith(b"%") or line.isspace():
        line = file.readline()
    size = line.split()
    if len(size) != 3 or not all(number.isdigit() and len(number) < 20 for number in size):
        raise FileFormatError(
            f"{path}: the line after the comments must be rows, columns and entries, not {line!r:.80}"
        )
    rows, columns, entries = map(int, size)
    text = file.getvalue()
    above, rest = text[: file.tell()], text[file.tell() :]
    table = read_table(rest, _COLUMNS[banner[3]], path, first=above.count(b"\n") + 1)
    if len(table) != entries:
        raise FileFormatError(f"{path} has {len(table)} entries, but its header says {entries}: it is damaged")
    return layer_of(table, (rows, columns), path, where)


FORMAT = Format(
    suffix=".mtx", begins=lambda start: start[:14].lower() == b"%%matrixmarket", read=read, write=write, folder=True
)
