"""sweep: all runs of a grid, done or gone on with, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from topokit.errors import InvalidSpecError, TopokitError
from topokit.executors import opened
from topokit_train.datasets import load_dataset
from topokit_train.sweeps.execution import carry_out
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.known import Known, read_known
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.progress import Progress
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

    It can be stopped at any moment, in any way, and called again: runs that are finished are not done again, and the
    others go on from their last epoch. Several programs may do so in one folder; each run is done by one.

    Args:
        grid: a TOML file, a dictionary of the same contents, or runs as `read_grid` gives them. docs/sweeps.md has all.
        out: the sweep's folder; made if missing, but not the folders above it. Of a file by default the file's name.
        workers: processes on this machine. A program that asks for several must not run again when it is imported:
            write the call below `if __name__ == "__main__":`.
        scheduler: address of a Dask scheduler instead; its workers must see the same folders.
        retry: do the failed runs again, from their last epoch.
        known: folders of tables of other sweeps, or what `read_known` gives of them; their finished runs are not done
            again, unless a run that is left needs their topologies, and the tables have their rows.
        data_dir: folder of the datasets' files.
        device: "cpu", "cuda", "mps" or "auto".
        threads: of each process; 1 if there are several.
        status: only return what became of the runs by now; nothing is run or written.
        quiet: say nothing on stderr.

    Returns:
        What became of all runs.

    Raises:
        FileFormatError: the folder holds something else, or a sweep of another version of this program; or a file of
            a dataset is damaged.
        UnreachableError: the scheduler does not answer, or is gone.
        InvalidSpecError: this machine has no such device, and there is no scheduler.
        TopokitError: a full disk, or workers that die before they begin. A later call goes on. Or a dataset is not to
            be had, which is seen before a run begins.
        KeyboardInterrupt: Ctrl-C.
    """
    runs, out = _planned(grid, out, where_to_run(workers, scheduler, data_dir, device, threads))
    if known is not None and not isinstance(known, Mapping):
        known = read_known([Path(one) for one in ([known] if isinstance(known, str | Path) else known)])
    if status:
        return summary_of(runs, _opened(runs, out, known, make=False))
    _require_what_is_needed(runs, _opened(runs, out, known, make=False), retry, here=scheduler is None)
    folder = _opened(runs, out, known)
    for run in runs if retry else ():
        if folder.state(run.name) is State.FAILED:
            folder.forget_failure(run.name)
    try:
        with Progress(runs, folder, quiet) as progress:
            carry_out(runs, folder, lambda: opened(workers, scheduler), progress.told)
    except BaseException:
        with suppress(TopokitError):  # what went wrong before is what the user is told
            write_tables(runs, folder)
        raise
    write_tables(runs, folder)
    return summary_of(runs, folder)


def status(runs: Grid, out: Path | str, known: Known | None = None) -> Summary:
    """What became of a grid's runs by now: `sweep` with `status`."""
    return sweep(runs, out, known=known, status=True)


def where_to_run(
    workers: int, scheduler: str | None, data_dir: Path | str | None, device: str, threads: int | None
) -> dict[str, Any]:
    """Return the settings of each run that say where it is done."""
    threads = threads or (1 if scheduler or workers > 1 else None)
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
        raise InvalidSpecError("sweep needs `out`, the folder of the runs: only a file's name gives one")
    return runs, Path(Path(grid).stem if out is None else out)  # type: ignore[arg-type]  # a file, as said above


def _opened(runs: Sequence[Planned], out: Path | str, known: Known | None, *, make: bool = True) -> SweepFolder:
    folder = SweepFolder(Path(out), make=make)
    folder.know(known or {}, runs)
    return folder


def _require_what_is_needed(runs: Iterable[Planned], folder: SweepFolder, retry: bool, here: bool) -> None:
    """See that the devices and all datasets are there: better that one call fails than all runs, one after another."""
    ended = {State.FINISHED} if retry else {State.FINISHED, State.FAILED}
    left = [run.config for run in runs if folder.state(run.name) not in ended]
    for device in {config.device for config in left} - {"auto", "cpu"} if here else ():
        from topokit_train.machine import resolve_device  # which loads torch

        resolve_device(device)
    for name, data_dir in dict.fromkeys((config.dataset, config.data_dir) for config in left):
        load_dataset(name, data_dir)
