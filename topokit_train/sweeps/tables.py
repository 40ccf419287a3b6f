"""The tables of a sweep: runs.csv, epochs.csv and prunings.csv, for spreadsheets and data frames, and runs.jsonl."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from topokit.descriptions import DENSE
from topokit.errors import TopokitError
from topokit.formats import replacing
from topokit_train.datasets import load_dataset
from topokit_train.functions import short_name
from topokit_train.metrics import with_metric
from topokit_train.runs.folder import METRICS
from topokit_train.sweeps.columns import BEFORE_TAGS, EPOCHS, PRUNINGS, RESULTS, SETTINGS, TOPOLOGY
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.known import Row, with_metrics
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.planned_topologies import PlannedTopology


def write_tables(runs: Sequence[Planned], folder: SweepFolder) -> Path:
    """Write the tables of all runs in their present states; each replaces an older one as a whole.

    Args:
        runs: of a grid; the rows are in their order, and a run of two entries has a row for each.
        folder: of the sweep; the rows of known runs are copied from the other tables, and are not in runs.jsonl.

    Returns:
        The folder of the tables.

    Raises:
        TopokitError: they cannot be written.

    Cost: reads each run's few small files, and each topology that a pruning run saved; one run's epochs at a time.
    """
    try:
        folder.tables.mkdir(exist_ok=True)
    except OSError as error:
        raise TopokitError(f"cannot make {folder.tables}: {error.strerror}") from None
    states = folder.states(runs)
    topologies: dict[str, Row] = {}
    table = [_entry(run, states[run.name]) | _row(run, states[run.name], folder, topologies) for run in runs]
    tags = dict.fromkeys(tag for run in runs for tag in run.tags)
    _write_csv(folder.tables / "runs.csv", (*BEFORE_TAGS, *tags, *SETTINGS, *TOPOLOGY, *RESULTS), table)
    finished = {run.name: run for run in runs if states[run.name] is State.FINISHED}.values()
    _write_csv(folder.tables / "epochs.csv", EPOCHS, (row for run in finished for row in _epochs(run, folder)))
    _write_csv(folder.tables / "prunings.csv", PRUNINGS, (row for run in finished for row in _prunings(run, folder)))
    with _replaced(folder.tables / "runs.jsonl") as file:
        for run, row in zip(runs, table, strict=True):
            if run.name not in folder.known:
                file.write(json.dumps(_everything(run, row, folder)) + "\n")
    return folder.tables


def _entry(run: Planned, state: State) -> Row:
    """The cells of a run in runs.csv that the grid determines, and its state."""
    cells = {"run": run.name, "label": run.label, "axes": run.axes, "state": state.value, "command": run.command}
    settings = run.config.to_json()
    shown = {name: short_name(value) if isinstance(value, str) else value for name, value in settings.items()}
    return cells | dict(run.tags) | {name: shown.get(name) for name in SETTINGS}


def _row(run: Planned, state: State, folder: SweepFolder, topologies: dict[str, Row]) -> Row:
    """The cells of a run in runs.csv that the grid does not determine; those of a known run are from other tables.

    Args:
        run: of the grid.
        state: of the run.
        folder: of the sweep.
        topologies: the cells of the topologies of earlier runs, by their identities; grows.
    """
    if run.name in folder.known:
        return {name: folder.known[run.name].row[name] for name in (*TOPOLOGY, *RESULTS)}
    key = json.dumps([one.identity for one in run.topologies])
    if key not in topologies:
        topologies[key] = _topology_row(run.topologies, folder)
    row = topologies[key] | dict.fromkeys(RESULTS)
    if state is State.FINISHED:
        row |= _result_row(folder.result(run.name), _metrics(run, folder)[-1])
    elif state is State.FAILED:
        row["error"] = folder.error(run.name)
    return row


def _metrics(run: Planned, folder: SweepFolder) -> list[Row]:
    return [json.loads(line) for line in (folder.run(run.name) / METRICS).read_text().splitlines()]


def _epochs(run: Planned, folder: SweepFolder) -> Iterable[Row]:
    """The rows of a finished run in epochs.csv."""
    if run.name in folder.known:
        return folder.known[run.name].epochs
    return ({"run": run.name} | with_metrics(one) for one in _metrics(run, folder))


def _prunings(run: Planned, folder: SweepFolder) -> Iterable[Row]:
    """The rows of a finished run in prunings.csv."""
    if run.name in folder.known:
        return folder.known[run.name].prunings
    saved = folder.result(run.name).get("topologies", ())
    return ({"run": run.name, "epoch": _epoch_of(one["step"], run)} | one for one in saved)


def _topology_row(topologies: Sequence[PlannedTopology], folder: SweepFolder) -> Row:
    """The cells of a run's topologies; without the measures of those that a pruning run has not saved yet."""
    row: Row = dict.fromkeys(TOPOLOGY)
    row["topology"] = " + ".join(one.title for one in topologies) or DENSE
    for one in topologies:
        if one.pruned:
            row |= {"pruned_from": one.pruned.run, "pruned_sparsity": one.pruned.sparsity}
    try:
        nets = [net for one in topologies for net in one.open(folder.runs)]
    except TopokitError:
        return row
    if nets:
        edges = sum(net.edges for net in nets)
        cells = sum(net.possible_edges for net in nets)
        widths = " + ".join("-".join(map(str, net.widths)) for net in nets)
        row |= {"widths": widths, "edges": edges, "topology_density": edges / cells}
    return row


def _result_row(result: Row, last: Row) -> Row:
    """The cells of a finished run, from its result and the metrics of its last epoch."""
    sparsity = result["effective_sparsity"] or {}
    return {
        "total_parameters": result["parameters"]["total"],
        "nonzero_parameters": result["parameters"]["nonzero"],
        **with_metric(result),
        "test_metrics": [f"{name}={value}" for name, value in result.get("test_metrics", {}).items()],
        "validation_metric": last.get("validation_metric", last.get("validation_accuracy")),
        "test_accuracy": result["test_accuracy"],
        "validation_accuracy": last.get("validation_accuracy"),
        "dead_classes": None if result["dead_classes"] is None else len(result["dead_classes"]),
        "dead_units": sum(result["dead_units"].values()) if result["dead_units"] else None,
        "effective_sparsity_before": sparsity.get("before"),
        "effective_sparsity_after": sparsity.get("after"),
        "train_seconds": result["train_seconds"],
    }


def _epoch_of(step: int, run: Planned) -> int | None:
    """The epoch of a step, counted from 1; None if the dataset, whose size is needed, is not available."""
    config = run.config
    images = _training_images(config.dataset, config.data_dir)
    if images is None:
        return None
    steps_per_epoch = -(-(images - config.validation) // config.batch_size)
    return -(-step // steps_per_epoch)


@cache
def _training_images(dataset: str, data_dir: str | None) -> int | None:
    try:
        return len(load_dataset(dataset, data_dir).train_targets)
    except TopokitError:
        return None  # cached too: each attempt may be a download


def _everything(run: Planned, row: Row, folder: SweepFolder) -> Row:
    """A line of runs.jsonl: all settings, and the contents of result.json."""
    return {
        **{name: row[name] for name in BEFORE_TAGS},
        "tags": dict(run.tags),
        "settings": run.config.to_json(),
        "topologies": [one.identity for one in run.topologies],
        "wiring": {name: row[name] for name in TOPOLOGY},
        "result": folder.result(run.name) if row["state"] == State.FINISHED else None,
        "error": row["error"],
    }


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    with replacing(path, force=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with _replaced(path) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """A value as a cell: lists with semicolons, switches as true and false; None is an empty cell."""
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(map(str, value)) if isinstance(value, list | tuple) else value
