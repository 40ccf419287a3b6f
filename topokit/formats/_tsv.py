"""Graph Challenge TSV: a folder with a file per layer, as the Sparse DNN Graph Challenge publishes its networks.

Source: Kepner et al. 2019, "Sparse Deep Neural Network Graph Challenge", arXiv:1909.05631.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats._format import Format, require_room
from topokit.formats._layer_files import layer_of, numbered, read_table
from topokit.layered import Layer, Layered
from topokit.reprs import counted
from topokit.topologies import Topology, fingerprint

_WEIGHT = 1 / 16  # of the official networks, and of inference
_OTHERS = "weights other than 1/16 are not kept, as a topology has edges alone: `challenge` takes 1/16 for all"

_NAME = r"n(?P<sources>\d{1,10})(x(?P<targets>\d{1,10}))?-l(?P<layer>\d{1,9})\.tsv"


def write(net: Layered, folder: Path, weight: float | None = None) -> str:
    """Write n1024-l1.tsv and so on, or n784x300-l1.tsv where a layer is not square; one layer in memory.

    A line per edge, `source<TAB>target<TAB>weight`, numbered from 1, sorted by target and then by source.

    Args:
        net: any layered graph.
        folder: an empty folder.
        weight: of every edge; by default 2 / in-degree of its target, as in the official networks.

    Raises:
        InvalidSpecError: a weight that reads as no edge.
    """
    if weight is not None and not (math.isfinite(weight) and float(f"{weight:.6e}")):
        raise InvalidSpecError(f"a weight must be a finite number other than 0, not {weight}")
    for i, layer in enumerate(net.stream(), start=1):
        sources, targets = layer.shape
        size = f"{sources}" if sources == targets else f"{sources}x{targets}"
        with (folder / f"n{size}-l{i}.tsv").open("wb") as file:
            file.writelines(_lines(layer, weight))
    return fingerprint(net)


def _lines(layer: Layer, weight: float | None) -> Iterator[bytes]:
    columns = layer.to_scipy().tocsc()
    numbers = [b"%d" % u for u in range(1, layer.shape[0] + 1)]
    for v, (start, end) in enumerate(pairwise(columns.indptr.tolist()), start=1):
        if start < end:
            rest = b"\t%d\t%.6e\n" % (v, weight or 2 / (end - start))
            yield rest.join([numbers[u] for u in columns.indices[start:end].tolist()]) + rest


def read(folder: Path) -> Topology:
    """Read a folder; the widths are in the files' names. Edges in any order, a weight of 0 is no edge.

    Notes say that weights other than those of the official networks are not kept, and name files with weights of 0 or
    without edges.

    Raises:
        FileFormatError: a file with another name, a missing layer, widths that do not chain, or a bad table.
        InvalidGraphError: an edge given twice.
        TooLargeError: not enough free memory.
    """
    layers: list[Layer] = []
    notes: dict[str, None] = {}
    for path, name in numbered(folder, _NAME, "n784x300-l1.tsv"):
        shape = int(name["sources"]), int(name["targets"] or name["sources"])
        require_room(path, shape, path.stat().st_size)
        if layers and layers[-1].shape[1] != shape[0]:
            raise FileFormatError(
                f"{path} starts from {counted(shape[0], 'node')}, but the layer before ends in {layers[-1].shape[1]}"
            )
        table = read_table(path.read_bytes(), 3, path, delimiter="\t")
        layers.append(layer_of(table, shape, path))
        zeros = int((table[:, 2] == 0).sum())
        if zeros:
            notes[f"a weight of 0 is no edge: {path.name} has {counted(zeros, 'such line')}"] = None
        if not len(table):
            notes[f"{path.name} is empty: a layer without edges"] = None
        if not np.isin(table[:, 2], (0, _WEIGHT)).all():
            notes[_OTHERS] = None
    return Topology(layers, notes=tuple(notes))


FORMAT = Format(suffix=".tsv", begins=lambda start: False, read=read, write=write, folder=True)  # noqa: ARG005
