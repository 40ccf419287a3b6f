"""The tables of a sweep: runs.csv, epochs.csv and prunings.csv, for spreadsheets and data frames, and runs.jsonl."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from topokit.descriptions import DENSE
from topokit.errors import TopokitError
from topokit.formats import replacing
from topokit_train.datasets import load_dataset
from topokit_train.functions import short_name
from topokit_train.metrics import with_metric
from topokit_train.runs.folder import METRICS
from topokit_train.sweeps.columns import BEFORE_TAGS, EPOCHS, PRUNINGS, RESULTS, SETTINGS, WIRING, tags_of
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.wirings import Pruned, Twin, Wiring

Row = dict[str, Any]


def write_tables(runs: Sequence[Planned], folder: SweepFolder) -> Path:
    """Write the tables of what is known by now, each in place of an older one, all of it or nothing.

    Args:
        runs: of a grid; the rows are in their order, and a run that two entries ask for has a row in each.
        folder: of the sweep; what it knows from other tables is copied from them, and is not in runs.jsonl.

    Returns:
        The folder of the tables.

    Raises:
        TopokitError: they cannot be written.

    Cost: reads each run's few small files, and each wiring that a pruning run left.
    """
    try:
        folder.tables.mkdir(exist_ok=True)
    except OSError as error:
        raise TopokitError(f"cannot make {folder.tables}: {error.strerror}") from None
    table = run_rows(runs, folder)
    finished = _finished(runs, folder)
    columns = (*BEFORE_TAGS, *tags_of(runs), *SETTINGS, *WIRING, *RESULTS)
    _write_csv(folder.tables / "runs.csv", columns, table)
    _write_csv(folder.tables / "epochs.csv", EPOCHS, _epoch_rows(finished, folder))
    _write_csv(folder.tables / "prunings.csv", PRUNINGS, _pruning_rows(finished, folder))
    lines = (
        json.dumps(_everything(run, row, folder)) + "\n"
        for run, row in zip(runs, table, strict=True)
        if run.name not in folder.known
    )
    _write(folder.tables / "runs.jsonl", lines)
    return folder.tables


def run_rows(runs: Sequence[Planned], folder: SweepFolder) -> list[Row]:
    """What is known of each run, by the columns of runs.csv; None where there is nothing to say."""
    wirings: dict[str, Row] = {}
    rows = []
    for run in runs:
        state = folder.state(run.name)
        settings = run.config.to_json()
        about: Row = {
            "run": run.name,
            "label": run.label,
            "axes": run.axes,
            "state": state.value,
            "command": run.command,
        }
        about |= dict(run.tags) | {name: _shown(settings.get(name)) for name in SETTINGS}
        if run.name in folder.known:
            told = folder.known[run.name].row
            rows.append(about | {name: told[name] for name in (*WIRING, *RESULTS)})
            continue
        wired = json.dumps([wiring.identity for wiring in run.wirings])
        if wired not in wirings:
            wirings[wired] = _wiring_row(run.wirings, folder)
        rows.append(
            about
            | wirings[wired]
            | dict.fromkeys(RESULTS)
            | (_result_row(run, folder) if state is State.FINISHED else {})
            | ({"error": folder.error(run.name)} if state is State.FAILED else {})
        )
    return rows


def _wiring_row(wirings: Sequence[Wiring], folder: SweepFolder) -> Row:
    """What the sparse topologies of a run are; of a pruned one, nothing is measured before its run has left it."""
    row: Row = dict.fromkeys(WIRING)
    row["topology"] = " + ".join(wiring.title for wiring in wirings) or DENSE
    for wiring in wirings:
        source = wiring.of if isinstance(wiring, Twin) else wiring
        if isinstance(source, Pruned):
            row |= {"pruned_from": source.run, "pruned_sparsity": source.sparsity}
    try:
        nets = [net for wiring in wirings for net in wiring.open(folder.runs)]
    except TopokitError:
        return row
    if nets:
        edges = sum(net.edges for net in nets)
        cells = sum(net.possible_edges for net in nets)
        widths = " + ".join("-".join(map(str, net.widths)) for net in nets)
        row |= {"widths": widths, "edges": edges, "topology_density": edges / cells}
    return row


def _result_row(run: Planned, folder: SweepFolder) -> Row:
    result = folder.result(run.name)
    sparsity, last = result["effective_sparsity"] or {}, _metrics(folder.run(run.name))[-1]
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


def _epoch_rows(finished: Iterable[Planned], folder: SweepFolder) -> Iterable[Row]:
    for run in finished:
        if run.name in folder.known:
            yield from folder.known[run.name].epochs
            continue
        for metrics in _metrics(folder.run(run.name)):
            old = {f"{part}_metric": metrics.get(f"{part}_accuracy") for part in ("test", "validation")}
            yield {"run": run.name} | old | metrics


def _pruning_rows(finished: Iterable[Planned], folder: SweepFolder) -> Iterable[Row]:
    for run in finished:
        if run.name in folder.known:
            yield from folder.known[run.name].prunings
            continue
        for saved in folder.result(run.name).get("topologies", ()):
            yield {"run": run.name, "epoch": _epoch_of(saved["step"], run)} | saved


def _epoch_of(step: int, run: Planned) -> int | None:
    """The epoch, counted from 1, that a step belongs to; None where the dataset is not at hand to be counted."""
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
        return None  # remembered, too: each try is one to download them


def _everything(run: Planned, row: Row, folder: SweepFolder) -> Row:
    """A line of runs.jsonl: all settings, and the result as result.json has it."""
    return {
        **{name: row[name] for name in BEFORE_TAGS},
        "tags": dict(run.tags),
        "settings": run.config.to_json(),
        "topologies": [wiring.identity for wiring in run.wirings],
        "wiring": {name: row[name] for name in WIRING},
        "result": folder.result(run.name) if row["state"] == State.FINISHED else None,
        "error": row["error"],
    }


def _finished(runs: Iterable[Planned], folder: SweepFolder) -> list[Planned]:
    unique = {run.name: run for run in runs}
    return [run for run in unique.values() if folder.state(run.name) is State.FINISHED]


def _metrics(run: Path) -> list[Row]:
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with replacing(path, force=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """A value as a cell: lists with semicolons, switches as true and false; None is an empty cell."""
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(map(str, value)) if isinstance(value, list | tuple) else value


def _shown(value: Any) -> Any:
    """A setting without the folders of a user's file."""
    return short_name(value) if isinstance(value, str) else value


def _write(path: Path, lines: Iterable[str]) -> None:
    with replacing(path, force=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(lines)
