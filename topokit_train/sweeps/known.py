"""Known: runs that the tables of other sweeps tell of, so that they need not be done again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from topokit.errors import FileFormatError
from topokit_train.metrics import ACCURACY, with_metric
from topokit_train.sweeps.columns import COLUMNS, EPOCHS, NEW, PRUNINGS
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.reading import Row, read_rows

AGAIN = "take the folder of tables whole, as it was written"


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A finished run as tables tell of it: every cell as it stands there.

    Args:
        row: of runs.csv.
        epochs: its rows of epochs.csv, in order.
        prunings: its rows of prunings.csv, in order.
    """

    row: Row
    epochs: tuple[Row, ...]
    prunings: tuple[Row, ...]


Known = Mapping[str, KnownRun]
"""Run -> what is known of it."""


def read_known(folders: Iterable[Path]) -> Known:
    """The finished runs that folders of tables tell of, the first that has a run.

    Args:
        folders: each with the runs.csv, epochs.csv and prunings.csv that `sweep` writes.

    Raises:
        FileFormatError: a table is missing, damaged or of another version, or has nothing of a run's epochs.
    """
    known: dict[str, KnownRun] = {}
    for folder in folders:
        known = _read(folder) | known
    return known


def _read(folder: Path) -> dict[str, KnownRun]:
    runs = {row["run"]: row for row in _rows(folder / "runs.csv", COLUMNS) if row["state"] == "finished"}
    epochs = _by_run(_rows(folder / "epochs.csv", EPOCHS))
    prunings = _by_run(read_rows(folder / "prunings.csv", PRUNINGS))
    for name, row in runs.items():
        if name not in epochs:
            raise FileFormatError(f"{folder / 'epochs.csv'} has nothing of run {name}, which runs.csv has: {AGAIN}")
        _require_metric(folder / "runs.csv", row)
    return {
        name: KnownRun(row=row, epochs=tuple(epochs[name]), prunings=tuple(prunings.get(name, ())))
        for name, row in runs.items()
    }


def _rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table; what earlier releases did not write is filled in."""
    rows = read_rows(path, [name for name in columns if name not in NEW])
    old = {f"{part}_metric": f"{part}_accuracy" for part in ("test", "validation")}
    return [
        dict.fromkeys(NEW, "")
        | {name: row[accuracy] for name, accuracy in old.items()}
        | (with_metric(row) if "state" in row else {})
        | row
        for row in rows
    ]


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
    """The known runs of a grid without those that must be done nevertheless, as tables hold no topologies.

    Args:
        known: as `read_known` gives them.
        runs: of the grid.
        finished: the names of the runs that are finished in the sweep's own folder, which tells more of them.

    Returns:
        Those of `known` that are of the grid, not in `finished`, and left no topology that a run still waits for.
    """
    planned = {run.name: run for run in runs}
    here = set(finished)
    kept = {name for name in planned if name in known and name not in here}
    left = set(planned) - kept - here
    while left:  # a run that is done after all may need others itself
        left = {name for run in left for name in planned[run].needs} & kept
        kept -= left
    return {name: known[name] for name in planned if name in kept}
