"""Reading and writing topologies. A new format is one module here and one line in FORMATS.

What a file is, is read from the file and never from its name. docs/format.md describes the formats.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from topokit._registry import Registry
from topokit.errors import FileFormatError, InvalidSpecError, reading
from topokit.fields import path_of
from topokit.formats._challenge import read_categories, read_images
from topokit.formats._edge_lists import from_csv, from_pandas
from topokit.formats._format import CHECKPOINT, EXTRACT, Format, chain_key, chain_of, in_run
from topokit.formats._graphml import from_networkx, to_networkx
from topokit.formats._masked import parameter_shapes, save_masked
from topokit.formats._masks import is_of_masks, load_masks, read_parameters, save_masks
from topokit.formats._safetensors import as_tensors, holds_several, read_joints, save_all
from topokit.formats._tensors import TensorFile
from topokit.formats._writing import free_bytes, replacing, require_disk
from topokit.layered import Layered, Source, network
from topokit.topologies import Topology

__all__ = [
    "CHECKPOINT",
    "FORMATS",
    "TensorFile",
    "as_tensors",
    "chain_key",
    "free_bytes",
    "from_csv",
    "from_networkx",
    "from_pandas",
    "holds_several",
    "in_run",
    "is_of_masks",
    "least_bytes",
    "load",
    "load_all",
    "load_masks",
    "parameter_shapes",
    "read_categories",
    "read_images",
    "read_joints",
    "read_parameters",
    "replacing",
    "save",
    "save_all",
    "save_masked",
    "save_masks",
    "to_networkx",
]

_LOGGER = logging.getLogger("topokit")

FORMATS = Registry(
    "format",
    {
        "safetensors": "topokit.formats._safetensors:FORMAT",
        "npz": "topokit.formats._npz:FORMAT",
        "matrix-market": "topokit.formats._matrix_market:FORMAT",
        "tsv": "topokit.formats._tsv:FORMAT",
        "graphml": "topokit.formats._graphml:FORMAT",
    },
)


def load(path: str | Path, *, chain: int | str | None = None) -> Topology:
    """Read a topology from a file or folder of any of the FORMATS, or from a file of masks.

    Masks of convolutions are read by channel, as topokit.from_masks reads them.

    Everything is validated. Whether the edges are those that the file's fingerprint and recipe say is
    left to the soundness check.

    Args:
        path: what to read; of a run's folder its checkpoint, or what it has pruned to.
        chain: which one of those that `load_all` reads: its number, or the name of one of its layers. A text of digits
            is either, and an integer is a number.

    Raises:
        FileFormatError: it holds no topology, or several and no `chain` is given, or is damaged.
        InvalidSpecError: it has no such chain, or a text of digits means two of them.
        TooLargeError: not enough free memory; nothing was allocated.
        TopokitError: it cannot be read.
    """
    path = in_run(path_of(path))
    if chain is not None:
        return chain_of(load_all(path), chain, path)
    with reading(path):
        topology: Topology = _format_of(path).read(path)
        return topology


def load_all(path: str | Path) -> tuple[Topology, ...]:
    """Read the topologies that a model is wired by, from whatever `load` reads.

    There are several in the checkpoint of a model of several topologies, and in a file of masks whose layers do not
    chain; masks of convolutions are read by weight. Topologies of masks know the parameters that they belong to.

    Args:
        path: what to read; of a run's folder its checkpoint, or what it has pruned to.

    Raises:
        FileFormatError: it holds no topology, or is damaged.
        TooLargeError: not enough free memory; nothing was allocated.
        TopokitError: it cannot be read.
    """
    path = in_run(path_of(path))
    with reading(path):
        kind = _format_of(path)
        return kind.read_all(path) if kind.read_all else (kind.read(path),)


def _format_of(path: Path) -> Format:
    formats: list[Format] = [FORMATS[name] for name in FORMATS]
    if path.is_dir():
        suffixes = {entry.suffix for entry in path.iterdir()}
        kinds = [kind for kind in formats if kind.folder]
        found = [kind for kind in kinds if kind.suffix in suffixes]
        if len(found) != 1:
            held = " and ".join(kind.suffix for kind in found) or "no layer"
            wanted = " or ".join(kind.suffix for kind in kinds)
            raise FileFormatError(f"{path} holds {held} files; a folder must hold one network, as {wanted} files")
        return found[0]
    if path.exists() and not path.is_file():
        raise FileFormatError(f"{path} is no file and no folder: copy what it gives to a file first")
    with path.open("rb") as file:
        start = file.read(512)
    for kind in formats:
        if kind.begins(start):
            return kind
    if path.suffix in (FORMATS[name].suffix for name in _names(folder=True)):
        raise FileFormatError(
            f"{path} is not read alone: give the folder of all layers, {path.parent}, or a Matrix Market file, which "
            "starts with %%MatrixMarket"
        )
    other = f"; if it is of weights, {EXTRACT}; topokit.from_csv reads a CSV file of edges" if start else ""
    raise FileFormatError(
        f"{path} {'is none of the formats' if start else 'is empty: give a file of one of the formats'} "
        f"that topokit reads ({', '.join(FORMATS)}){other}"
    )


def save(
    net: Source, path: str | Path, *, to: str | None = None, force: bool = False, weight: float | None = None
) -> str:
    """Write a network, layer by layer where the format allows; all of it or nothing. Returns its fingerprint.

    Args:
        net: a topology, its description or its file.
        path: the file to write, or the folder for formats with a file per layer.
        to: one of FORMATS; by default the one of the suffix, or safetensors for a name without a suffix.
        force: overwrite what exists.
        weight: of every edge in a TSV; by default 2 / in-degree of its target.

    Raises:
        OutputExistsError: something is there, and `force` is not set.
        InvalidSpecError: an unknown format, no format for this path, or two.
        TooLargeError: too many nodes or edges for the format.
        TopokitError: the disk is full, or the folder above is missing or read-only.
    """
    net = network(net)
    path_of(path)  # a str may end in a separator, which a Path loses
    name = _format_to_write(path, to)
    kind: Format = FORMATS[name]
    options: dict[str, Any] = {}
    if weight is not None:
        if name != "tsv":
            raise InvalidSpecError(f"weight is for tsv only: {name} holds no weights")
        options["weight"] = weight
    require_disk(path, least_bytes(net, path, to=to))
    _LOGGER.debug(f"writing {path} as {name}")
    with replacing(path, force=force, folder_of=kind.suffix if kind.folder else None) as temporary:
        return kind.write(net, temporary, **options)


def least_bytes(net: Layered, path: str | Path, *, to: str | None = None) -> int:
    """Return the least size of the file or folder that `save` would write; 0 if its format compresses."""
    kind: Format = FORMATS[_format_to_write(path, to)]
    return kind.edge_bytes * net.edges


def _format_to_write(path: str | Path, to: str | None) -> str:
    """The format of a file to write: `to`, or else that of its suffix."""
    named = {FORMATS[name].suffix: name for name in FORMATS}
    ending = Path(path).name[1:]  # a file that is named .npz has no suffix
    suffix = max(filter(ending.endswith, named), key=len, default=Path(path).suffix)
    if to is not None:
        if to in FORMATS and named.get(suffix, to) != to:
            raise InvalidSpecError(f"{path} ends as {named[suffix]} does, but `to` is {to}: give one of the two")
        return to
    if os.path.isdir(path) or os.fspath(path).endswith(os.sep):  # noqa: PTH112 (pathlib's raises if a name is too long)
        folders = " or ".join(_names(folder=True))
        raise InvalidSpecError(f"{path} is a folder: give a file's name, or choose `to`={folders} of topokit convert")
    if suffix and suffix not in named:
        suffixes = ", ".join(FORMATS[name].suffix for name in _names(folder=False))
        raise InvalidSpecError(
            f"{path}: unknown extension {suffix}: end it in {suffixes}, or choose `to`=FORMAT of topokit convert"
        )
    name = named.get(suffix, "safetensors")
    if FORMATS[name].folder:
        raise InvalidSpecError(
            f"{path}: {name} is a folder with a {suffix} file for each layer: give the folder's name, such as "
            f"{Path(path).with_suffix('')}, and choose `to`={name} of topokit convert"
        )
    return name


def _names(*, folder: bool) -> list[str]:
    return [name for name in FORMATS if FORMATS[name].folder == folder]
