"""sweep: do or continue all runs of a grid, and write their tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from topokit.errors import InvalidSpecError, TopokitError
from topokit.executors import opened
from topokit.fields import integer
from topokit_train.datasets import load_dataset
from topokit_train.metrics import ACCURACY, shown
from topokit_train.runs.progress import bar
from topokit_train.sweeps.execution import carry_out
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.known import Known, read_known
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.summary import Summary, summary_of
from topokit_train.sweeps.tables import write_tables

Grid: TypeAlias = "str | PathLike[str] | Mapping[str, Any] | Sequence[Planned]"
"""A TOML file, a dictionary of the same contents, or runs."""


def sweep(
    grid: Grid,
    out: Path | str | None = None,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    retry: bool = False,
    known: Known | str | Path | Iterable[str | Path] | None = None,
    data_dir: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
    status: bool = False,
    quiet: bool = False,
) -> Summary:
    """Do all runs of a grid that have not ended, and write the tables.

    It can be stopped at any moment, in any way, and called again: finished runs are not repeated, and the others
    continue from their last epoch. Several programs may share one folder; each run is done by one.

    Args:
        grid: a TOML file, a dictionary of the same contents, or runs as `read_grid` returns them; see docs/sweeps.md.
        out: the sweep's folder; created if missing, but not its parents. The default for a file is the file's name.
        workers: number of processes on this machine. With several, write the call below
            `if __name__ == "__main__":`, because each process imports the program again.
        scheduler: address of a Dask scheduler to use instead; its workers need the same folders.
        retry: repeat the failed runs, from their last epoch.
        known: folders of tables of other sweeps, or the result of `read_known`. Their finished runs are not repeated,
            unless a remaining run needs their topologies, and the tables contain their rows.
        data_dir: folder of the datasets' files.
        device: "cpu", "cuda", "mps" or "auto".
        threads: of each process; 1 if there are several.
        status: only return the present states; nothing is run or written.
        quiet: print nothing to stderr.

    Returns:
        The states and results of all runs.

    Raises:
        FileFormatError: the folder contains something else, or a sweep of another version of topokit; or a file of a
            dataset is damaged.
        UnreachableError: the scheduler does not answer, or is gone.
        InvalidSpecError: this machine has no such device, and there is no scheduler.
        TopokitError: the disk is full, or workers die before they start a run; a later call continues. Or a dataset is
            missing, which is reported before any run starts.
        KeyboardInterrupt: Ctrl-C.
    """
    runs, out = _planned(grid, out, where_to_run(workers, scheduler, data_dir, device, threads))
    if known is not None and not isinstance(known, Mapping):
        known = read_known([Path(one) for one in ([known] if isinstance(known, str | Path) else known)])
    folder = SweepFolder(out, make=False)
    folder.know(known or {}, runs)
    if status:
        return summary_of(runs, folder)
    _require_devices_and_data(runs, folder, retry, here=scheduler is None)
    SweepFolder(out)  # creates it
    for run in runs if retry else ():
        if folder.state(run.name) is State.FAILED:
            folder.forget_failure(run.name)
    try:
        with Progress(runs, folder, quiet) as progress:
            carry_out(runs, folder, lambda: opened(workers, scheduler), progress.report)
    except BaseException:
        with suppress(TopokitError):  # the user must see the first error
            write_tables(runs, folder)
        raise
    write_tables(runs, folder)
    return summary_of(runs, folder)


def where_to_run(
    workers: int, scheduler: str | None, data_dir: Path | str | None, device: str, threads: int | None
) -> dict[str, Any]:
    """Return the settings of each run that do not change what it computes.

    Raises:
        InvalidSpecError: fewer than one worker.
    """
    threads = threads or (1 if integer(workers, "`workers`", 1) > 1 or scheduler else None)
    return {"data_dir": data_dir and str(Path(data_dir).resolve()), "device": device, "threads": threads}


def _planned(grid: Grid, out: Path | str | None, where: dict[str, Any]) -> tuple[Sequence[Planned], Path]:
    if isinstance(grid, str | PathLike | Mapping):
        runs: Sequence[Planned] = read_grid(grid, where)
    elif isinstance(grid, Sequence) and all(isinstance(run, Planned) for run in grid):
        runs = grid  # type: ignore[assignment]  # a text is read above
    else:
        raise InvalidSpecError(
            f"a grid must be a TOML file or a dictionary, not {type(grid).__name__}: {{'runs': [{{'epochs': 5}}]}}"
        )
    if out is None and not isinstance(grid, str | PathLike):
        raise InvalidSpecError("sweep needs `out`, the folder of the runs, unless the grid is a file")
    return runs, Path(Path(grid).stem if out is None else out)  # type: ignore[arg-type]  # a file, because of the check above


def _require_devices_and_data(runs: Iterable[Planned], folder: SweepFolder, retry: bool, here: bool) -> None:
    """Look for devices and datasets before any run starts, because otherwise all runs would fail, one after another."""
    ended = {State.FINISHED} if retry else {State.FINISHED, State.FAILED}
    left = [run.config for run in runs if folder.state(run.name) not in ended]
    for device in {config.device for config in left} - {"auto", "cpu"} if here else ():
        from topokit_train.machine import resolve_device  # which loads torch

        resolve_device(device)
    for name, data_dir in dict.fromkeys((config.dataset, config.data_dir) for config in left):
        load_dataset(name, data_dir)


class Progress:
    """Prints the runs of a sweep that end.

    Args:
        runs: of the grid.
        folder: of the sweep.
        quiet: print nothing.
    """

    def __init__(self, runs: Iterable[Planned], folder: SweepFolder, quiet: bool = False):
        self.folder, self.quiet = folder, quiet
        states = folder.states(runs)
        self.runs, self.done = len(states), sum(state.ended for state in states.values())
        self.bar = bar(total=self.runs, initial=self.done, unit="run", wanted=not quiet)
        if self.done:
            failed = list(states.values()).count(State.FAILED)
            known = f", {len(folder.known)} in other tables" if folder.known else ""
            self._print(f"{self.done} of {self.runs} runs are there already, {failed} of them failed{known}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if kind and issubclass(kind, KeyboardInterrupt):
            self._print(f"stopped after {self.done} of {self.runs} runs: the same command continues")

    def report(self, run: Planned, state: State) -> None:
        """Print the new state of a run."""
        if state is State.RUNNING:
            self._print(f"another program does {run.about}: waiting for it ({run.name})")
            return
        self.done += 1
        self.bar.update()
        if state is State.FINISHED:
            metric, value = self.folder.test_metric(run.name)
            text = f"{'' if metric == ACCURACY else f'{metric} '}{shown(metric, value)}"
        else:
            text = f"failed: {self.folder.error(run.name)} ({run.name})"
        self._print(f"[{self.done:>{len(str(self.runs))}}/{self.runs}] {run.about}: {text}")

    def _print(self, text: str) -> None:
        if not self.quiet:
            self.bar.write(text, file=sys.stderr)
