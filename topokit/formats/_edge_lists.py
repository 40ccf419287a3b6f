"""Edge lists: tables with the columns source, target and layer, as CSV files and pandas data frames."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.edges import from_edges
from topokit.errors import FileFormatError, InvalidGraphError, reading
from topokit.fields import path_of
from topokit.formats._format import damaged
from topokit.layered import Layer
from topokit.reprs import counted
from topokit.spec import integers
from topokit.topologies import Topology

if TYPE_CHECKING:
    import pandas

_KNOWN = ("source", "target", "layer")
_FROM_1 = "no edge has node 0 as its source or target: if the nodes are counted from 1, subtract 1"


def from_pandas(frame: pandas.DataFrame, widths: Sequence[int]) -> Topology:
    """The topology of a data frame with one row for each edge. O(edges log edges).

    Args:
        frame: columns of integers, all from 0: `source` and `target`, the nodes' numbers in their own node layers, and
            `layer`, the number of the edge layer, which is optional if there is only one.
        widths: number of nodes in each node layer. The edges do not say it: the last nodes may have none.

    Returns:
        The topology. If no edge has node 0 as its source or target, a note says so: the nodes may be counted from 1.

    Raises:
        InvalidGraphError: other columns, values that are not integers, an edge out of range or given twice.
        InvalidSpecError: widths that are not integers of at least 1.
    """
    if not hasattr(frame, "columns"):
        raise InvalidGraphError(f"an edge list must be a pandas.DataFrame, not {type(frame).__name__}")
    names = list(frame.columns)
    widths = _checked(widths, names)
    for name in names:
        if frame[name].isna().any():
            raise InvalidGraphError(f"column {name} has missing values: remove these rows, or fill in node numbers")
    return _topology({name: frame[name].to_numpy() for name in names}, widths)


def from_csv(path: str | Path, widths: Sequence[int]) -> Topology:
    """The topology of a CSV file with one line for each edge, separated by commas, below a line of column names.

    Args:
        path: the file, in UTF-8.
        widths: as for `from_pandas`, which says what the columns are.

    Raises:
        FileFormatError: other columns, lines that are not integers, an edge out of range or given twice.
        InvalidSpecError: widths that are not integers of at least 1.
        TooLargeError: not enough free memory.
        TopokitError: the file cannot be read.
    """
    path = path_of(path)
    with reading(path):
        require_memory(10 * path.stat().st_size, f"reading {path}")
        with path.open(encoding="utf-8-sig", newline="") as file, damaged(path, ValueError, Warning, csv.Error):
            names = [name.strip() for name in next(csv.reader([file.readline()]), [])]
            widths = _checked(widths, names)
            with warnings.catch_warnings(action="error", category=DeprecationWarning):  # of 1.5 read as 1
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                try:
                    table = np.loadtxt(file, np.int64, comments=None, delimiter=",", quotechar='"', ndmin=2)
                except (ValueError, DeprecationWarning) as error:
                    if isinstance(error, UnicodeError):
                        raise
                    raise FileFormatError(f"{path} must hold integers alone, such as 3 and not 3.0: {error}") from None
            if table.size and table.shape[1] != len(names):
                raise FileFormatError(
                    f"{path} has {counted(len(names), 'column name')}, but {counted(table.shape[1], 'column')}"
                )
            return _topology(dict(zip(names, table.reshape(-1, len(names)).T, strict=True)), widths)


def _checked(given: Sequence[int], names: Sequence[object]) -> tuple[int, ...]:
    """Return the widths, once they and the names of the columns are those of an edge list."""
    widths = integers(given, "widths", 1)
    if len(widths) < 2:
        raise InvalidGraphError(f"widths has {counted(len(widths), 'node layer')}: a network needs at least 2")
    wanted = _KNOWN if len(widths) > 2 or "layer" in names else _KNOWN[:2]
    if sorted(map(str, names)) != sorted(wanted):
        raise InvalidGraphError(
            f"the columns are {', '.join(map(str, names)) or 'not named'}; those of an edge list of {len(widths)} node "
            f"layers must be {', '.join(wanted)} and no others: rename them, or take these three alone"
        )
    return widths


def _topology(columns: Mapping[str, NDArray[Any]], widths: Sequence[int]) -> Topology:
    for name, values in columns.items():
        if values.dtype.kind not in "iu":
            raise InvalidGraphError(f"column {name} holds {values.dtype}: convert it to integers")
    from_1 = len(columns["source"]) > 0 and min(columns[name].min() for name in _KNOWN[:2]) > 0
    try:
        return Topology(_layers(columns, widths), notes=(_FROM_1,) if from_1 else ())
    except InvalidGraphError as error:
        raise InvalidGraphError(f"{error}; {_FROM_1}" if from_1 else str(error)) from None


def _layers(columns: Mapping[str, NDArray[Any]], widths: Sequence[int]) -> list[Layer]:
    number = columns.get("layer", np.zeros(len(columns["source"]), np.int64))
    outside = (number < 0) | (number > len(widths) - 2)
    if outside.any():
        raise InvalidGraphError(
            f"an edge has layer {number[outside][0]}; {counted(len(widths), 'width')} have edge layers 0 to "
            f"{len(widths) - 2}"
        )
    layers = []
    for i in range(len(widths) - 1):
        sources, targets = (columns[name][number == i] for name in ("source", "target"))
        layers.append(Layer(from_edges(sources, targets, (widths[i], widths[i + 1]), f"layer {i}")))
    return layers
