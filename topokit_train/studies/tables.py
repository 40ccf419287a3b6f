"""The tables of a study's runs as pandas DataFrames, checked: the only input of its report.

runs.csv has a row for each run of each entry of the grid, epochs.csv one for each epoch of each finished run, and
prunings.csv one for each topology that a pruning run saved. An empty cell is an unknown value; accuracies are
fractions. study.json says where and when the tables were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from topokit.errors import FileFormatError
from topokit_train.studies.study import read_about
from topokit_train.studies.words import TEXTS
from topokit_train.sweeps.known import read_rows

STATES = ("finished", "failed", "running", "waiting")
TRAINED = ("retrained", "same-size", "same-edges")
"""Experiments whose runs are compared, arm by arm."""
EXPERIMENTS = ("one-time", "iterative", *TRAINED)
CASE = ["model", "dataset", "recipe", "epochs"]
"""Columns that the arms of a comparison share; a larger network counts as the model that it enlarges."""
NETWORKS = (("lenet-300-100", "mnist"), ("lenet-5", "mnist"), ("lenet-5", "cifar10"))
"""(model, dataset) of the paper, in its order."""
_TEXTS = ("run", "label", "state", "experiment", "arm", "network", "model", "dataset", "recipe", "pruned_from", "error")
_RUNS = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("epochs", "seed"), int),
    **dict.fromkeys(("density", "times", "validation", "test_accuracy", "dead_classes"), float),
}
_EPOCHS = {"run": str, "epoch": int, **dict.fromkeys(("test_accuracy", "sparsity", "threshold"), float)}
_PRUNINGS = {"run": str, **dict.fromkeys(("target", "sparsity", "accuracy_before", "test_accuracy"), float)}


Arms = dict[tuple[str, float], Any]
"""(arm, density or size) -> Series of test accuracies, indexed by seed."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All tables of a study.

    Args:
        study: study.json.
        runs: runs.csv, in any state.
        finished: the finished runs, once for each experiment and arm, in the report's order. Beside
            the columns of runs.csv: `on`, the network and dataset by name; `case`; `x`, the density, or for same-edges
            the multiple of the dense network's weights; `order`, the place of the case.
        epochs: epochs.csv, in order.
        prunings: prunings.csv, with the `density` that each topology was saved for.
    """

    study: Mapping[str, Any]
    runs: Any
    finished: Any
    epochs: Any
    prunings: Any

    @cached_property
    def arms(self) -> dict[tuple[str, str], Arms]:
        """(experiment, case) -> its arms, in the report's order; those of a case ascend."""
        found: dict[tuple[str, str], Arms] = {}
        for (experiment, case, *arm), runs in self.finished.groupby(["experiment", "case", "arm", "x"], sort=False):
            found.setdefault((experiment, case), {})[arm[0], arm[1]] = runs.set_index("seed").test_accuracy
        return found


def network(model: str, dataset: str) -> str:
    """Return the name of a model on a dataset.

    >>> network("lenet-5", "cifar10")
    'LeNet-5 on CIFAR-10'
    """
    return f"{TEXTS['names'].get(model, model)} on {TEXTS['names'].get(dataset, dataset)}"


def read_tables(folder: Path) -> Tables:
    """Read a study's tables; prunings.csv may be missing if nothing was pruned.

    Raises:
        FileFormatError: a column is missing, a cell is not a number, two runs have the same arm and seed, or the tables
            are of a later release.
        NotFoundError: a file is missing.
    """
    runs = _read(folder / "runs.csv", _RUNS)
    for run, state in zip(runs.run, runs.state, strict=True):
        if state not in STATES:
            raise FileFormatError(f"{folder / 'runs.csv'}: run {run} is {state!r}, not one of {', '.join(STATES)}")
    path = folder / "prunings.csv"
    prunings = _read(path, _PRUNINGS) if path.exists() else pd.DataFrame(columns=[*_PRUNINGS]).astype(_PRUNINGS)
    return Tables(
        study=read_about(folder),
        runs=runs,
        finished=_finished(runs),
        epochs=_read(folder / "epochs.csv", _EPOCHS).sort_values(["run", "epoch"]),
        prunings=prunings.assign(density=(1 - prunings.target.fillna(prunings.sparsity)).round(6)),
    )


def _read(path: Path, columns: Mapping[str, Any]) -> Any:
    rows = read_rows(path, [*columns])
    return pd.DataFrame({name: _column(path, rows, name, kind) for name, kind in columns.items()}).drop_duplicates()


def _column(path: Path, rows: list[dict[str, str]], name: str, kind: Any) -> Any:
    values = []
    for line, row in enumerate(rows, 2):
        try:
            values.append(kind(row[name] or "nan" if kind is float else row[name]))
        except ValueError:
            what = {int: "an integer", float: "a number"}[kind]
            raise FileFormatError(f"{path}, row {line}: {name} must be {what}, not {row[name]!r}") from None
    return pd.Series(values, dtype=kind)


def _finished(runs: Any) -> Any:
    found = runs[(runs.state == "finished") & runs.test_accuracy.notna()]
    found = found.assign(
        model=found.network.where(found.network != "", found.model),
        x=found.times.where(found.experiment == "same-edges", found.density).fillna(1).round(6),
    )
    found["on"] = [network(*names) for names in zip(found.model, found.dataset, strict=True)]
    found["case"] = [f"{on}, {recipe} recipe, {n} epochs" for on, recipe, n in found[["on", "recipe", "epochs"]].values]
    order = {name: place for place, name in enumerate(NETWORKS)}
    found = found.assign(
        place=[order.get(names, len(order)) for names in zip(found.model, found.dataset, strict=True)],
        other_recipe=found.recipe != "paper",
        rank=found.experiment.map({name: rank for rank, name in enumerate(EXPERIMENTS)}),
    )
    ordered = found.sort_values(["place", "model", "dataset", "other_recipe", "recipe", "epochs", "arm", "x"])
    ordered = ordered.drop_duplicates(["run", "experiment", "arm", "x"])
    ordered["order"] = ordered.groupby("case", sort=False).ngroup()
    ordered = ordered.sort_values("rank", kind="stable")
    _require_one_run_a_seed(ordered[ordered.experiment.isin(TRAINED)])
    return ordered


def _require_one_run_a_seed(runs: Any) -> None:
    keys = ["experiment", "case", "arm", "x", "seed"]
    same = runs[runs.duplicated(keys, keep=False)].sort_values(keys)
    if len(same):
        one, other = same.head(2).itertuples()
        raise FileFormatError(
            f"runs {one.run} and {other.run} are both {one.experiment}, {one.arm} {one.x:g}, seed {one.seed} of "
            f"{one.case}: give them different tags in the grid"
        )
