"""Known: finished runs in the tables of other sweeps, which a sweep does not repeat."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError, NotFoundError
from topokit_train.metrics import ACCURACY, with_metric
from topokit_train.sweeps.columns import COLUMNS, EPOCHS, NEW, PRUNINGS
from topokit_train.sweeps.planned import Planned

AGAIN = "take the folder of tables whole, as it was written"

Row = dict[str, Any]
"""Column -> cell; a text if it is read from a table."""


@dataclass(frozen=True, kw_only=True)
class RunRows:
    """The rows of a finished run in the tables of another sweep.

    Args:
        row: of runs.csv.
        epochs: of epochs.csv, in order.
        prunings: of prunings.csv, in order.
    """

    row: Row
    epochs: Sequence[Row]
    prunings: Sequence[Row]


Known = Mapping[str, RunRows]
"""Name of a finished run -> its rows in the tables of another sweep."""


def read_known(folders: Iterable[Path]) -> Known:
    """Read the finished runs in folders of tables; of a run in several folders, the rows of the first.

    Args:
        folders: each with the runs.csv, epochs.csv and prunings.csv that `sweep` writes.

    Raises:
        FileFormatError: a table is damaged or of another version, or has no epochs of a run.
        NotFoundError: a table is missing.
    """
    known: dict[str, RunRows] = {}
    for folder in folders:
        known = _read(folder) | known
    return known


def _read(folder: Path) -> dict[str, RunRows]:
    runs = {row["run"]: row for row in _rows(folder / "runs.csv", COLUMNS) if row["state"] == "finished"}
    epochs = _by_run(_rows(folder / "epochs.csv", EPOCHS))
    prunings = _by_run(read_rows(folder / "prunings.csv", PRUNINGS))
    for name, row in runs.items():
        if name not in epochs:
            raise FileFormatError(f"{folder / 'epochs.csv'} has nothing of run {name}, which runs.csv has: {AGAIN}")
        _require_metric(folder / "runs.csv", row)
    return {name: RunRows(row=row, epochs=epochs[name], prunings=prunings.get(name, ())) for name, row in runs.items()}


def _rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table, with the columns that earlier releases lack."""
    rows = map(with_metrics, read_rows(path, [name for name in columns if name not in NEW]))
    return [dict.fromkeys(NEW, "") | (with_metric(row) if "state" in row else {}) | row for row in rows]


def with_metrics(row: Row) -> Row:
    """Return a row with the values of the first metric; release 0.1.0 wrote accuracies only."""
    return {f"{part}_metric": row.get(f"{part}_accuracy") for part in ("test", "validation")} | row


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read the rows of a table, every cell as text.

    Args:
        path: a CSV file with a header line.
        columns: the required columns; others are allowed.

    Raises:
        FileFormatError: it is not a table, lacks one of these columns, or a row has more cells or fewer.
        NotFoundError: it is missing.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise FileFormatError(
                    f"{path} has no column {', '.join(missing)}: write the tables again with this release"
                )
            rows = list(reader)
    except FileNotFoundError:
        raise NotFoundError(f"{path} is missing: give the folder that the tables were written to") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not a table ({error}): write the tables again") from None
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():  # how csv marks cells without a column, and columns without a cell
            raise FileFormatError(f"{path}, row {line}: not as many cells as columns; write the tables again")
    return rows


def _require_metric(path: Path, row: Row) -> None:
    name = "test_accuracy" if row["metric"] == ACCURACY else "test_metric"
    try:
        value = float(row[name])
        plausible = 0 <= value <= 1 if row["metric"] == ACCURACY else isfinite(value)
    except ValueError:
        plausible = False
    if not plausible:
        raise FileFormatError(f"{path}: run {row['run']} is finished, but its {name} is {row[name]!r}: {AGAIN}")


def _by_run(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["run"], []).append(row)
    return grouped


def spared(known: Known, runs: Sequence[Planned], finished: Iterable[str]) -> Known:
    """Return the known runs that a sweep need not repeat; tables contain no topologies, so some must be repeated.

    Args:
        known: as `read_known` returns them.
        runs: of the grid.
        finished: the names of the runs that are finished in the sweep's own folder, which takes precedence.

    Returns:
        The runs in `known` that are in the grid, not in `finished`, and whose topologies no remaining run needs.
    """
    planned = {run.name: run for run in runs}
    here = set(finished)
    kept = {name for name in planned if name in known and name not in here}
    left = set(planned) - kept - here
    while left:  # a pruning run that is repeated may need the topologies of others
        left = {name for run in left for name in planned[run].needs} & kept
        kept -= left
    return {name: known[name] for name in planned if name in kept}
