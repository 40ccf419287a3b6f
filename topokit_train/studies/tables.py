"""The tables that the runs of a study leave, read and checked: all that its report is made of.

runs.csv has a row for each run of each entry of the grid, epochs.csv one for each epoch of each finished run, and
prunings.csv one for each topology that a pruning run saved. An empty cell is a value that there is none of; accuracies
are fractions. study.json says where and when they were made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from topokit.errors import FileFormatError
from topokit_train.sweeps.reading import read_rows

ABOUT = "study.json"
FORMAT = 1
STATES = ("finished", "failed", "running", "waiting")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A row of runs.csv: the columns that the report reads."""

    run: str
    label: str
    state: str
    experiment: str
    arm: str
    density: float | None
    times: float | None
    network: str
    model: str
    dataset: str
    recipe: str
    epochs: int
    seed: int
    validation: int | None
    pruned_from: str
    test_accuracy: float | None
    dead_classes: int | None
    error: str


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A row of epochs.csv."""

    run: str
    epoch: int
    test_accuracy: float | None
    sparsity: float | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """A row of prunings.csv."""

    run: str
    target: float | None
    sparsity: float
    accuracy_before: float | None
    test_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All tables of a study.

    Args:
        study: study.json.
        runs: all of them, whatever became of them.
        epochs: run -> its epochs, in order.
        prunings: run -> the topologies that it saved, in order.
    """

    study: Mapping[str, Any]
    runs: tuple[Run, ...]
    epochs: Mapping[str, tuple[Epoch, ...]]
    prunings: Mapping[str, tuple[Pruning, ...]]

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that have come to an end."""
        return tuple(run for run in self.runs if run.state == "finished" and run.test_accuracy is not None)


Row = TypeVar("Row", Run, Epoch, Pruning)


def read_tables(folder: Path) -> Tables:
    """Read a study's tables; prunings.csv may be missing where nothing was pruned.

    Raises:
        FileFormatError: a file or a column is missing, a cell is no such value, or the tables are of a later release.
    """
    study = read_about(folder)
    runs = _rows(folder / "runs.csv", Run)
    for run in runs:
        if run.state not in STATES:
            raise FileFormatError(f"{folder / 'runs.csv'}: run {run.run} is {run.state!r}, not {', '.join(STATES)}")
    pruned = folder / "prunings.csv"
    return Tables(
        study=study,
        runs=tuple(runs),
        epochs=_by_run(sorted(_rows(folder / "epochs.csv", Epoch), key=lambda row: (row.run, row.epoch))),
        prunings=_by_run(_rows(pruned, Pruning) if pruned.exists() else []),
    )


def _by_run(rows: list[Row]) -> dict[str, tuple[Row, ...]]:
    grouped: dict[str, list[Row]] = {}
    for row in dict.fromkeys(rows):  # a run of two entries of the grid may be told twice
        grouped.setdefault(row.run, []).append(row)
    return {run: tuple(members) for run, members in grouped.items()}


def read_about(folder: Path) -> dict[str, Any]:
    """What a study's study.json says, beside its tables.

    Raises:
        FileFormatError: it is missing or damaged, or of a later release.
    """
    path = folder / ABOUT
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(f"{path} is missing: give the folder that a study's tables were written to") from None
    except ValueError as error:
        raise FileFormatError(f"{path} is no JSON ({error}): write the study's tables again") from None
    if not isinstance(study, dict):
        raise FileFormatError(f"{path} must hold one JSON object: write the study's tables again")
    if study.get("format", FORMAT) != FORMAT:
        raise FileFormatError(
            f"{path} is of format {study['format']}, and this release reads {FORMAT}: take the release that wrote it"
        )
    return study


def _rows(path: Path, kind: type[Row]) -> list[Row]:
    kinds = get_type_hints(kind)
    rows = read_rows(path, [field.name for field in fields(kind)])
    return [kind(**dict(_values(path, line, row, kinds))) for line, row in enumerate(rows, 2)]


def _values(path: Path, line: int, row: Mapping[str, str], kinds: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, kind in kinds.items():
        text = row[name]
        if text == "" and kind is not str:
            if "None" not in str(kind):
                raise FileFormatError(f"{path}, row {line}: {name} is empty, and must be given")
            yield name, None
            continue
        convert: Callable[[str], Any] = str if kind is str else int if "int" in str(kind) else float
        try:
            yield name, convert(text)
        except ValueError:
            raise FileFormatError(f"{path}, row {line}: {name} is {text!r}, which is no number") from None
