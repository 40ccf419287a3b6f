"""sweep: all runs of a grid, done or gone on with, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from topokit.errors import TopokitError
from topokit.executors import opened
from topokit_train.datasets import load_dataset
from topokit_train.sweeps.execution import carry_out
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.known import Known
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.progress import Progress
from topokit_train.sweeps.summary import Summary, summary_of
from topokit_train.sweeps.tables import write_tables


def sweep(
    runs: Sequence[Planned],
    out: Path | str,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    retry: bool = False,
    known: Known | None = None,
    quiet: bool = False,
) -> Summary:
    """Do all runs of a grid that have not ended, and write the tables.

    It can be stopped at any moment, in any way, and called again: runs that are finished are not done again, and the
    others go on from their last epoch. Several programs may do so in one folder; each run is done by one.

    Args:
        runs: as `read_grid` gives them.
        out: the sweep's folder; made if missing, but not the folders above it.
        workers: processes on this machine.
        scheduler: address of a Dask scheduler instead; its workers must see the same folders.
        retry: do the failed runs again, from their last epoch.
        known: runs that other tables tell of (`read_known`); they are not done again, unless a run that is left
            needs their topologies, and the tables have their rows.
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


def status(runs: Sequence[Planned], out: Path | str, known: Known | None = None) -> Summary:
    """What became of a grid's runs by now. Reads a few small files of each, and writes nothing.

    Args:
        runs: as `read_grid` gives them.
        out: the sweep's folder; a missing one is as one without runs.
        known: runs that other tables tell of.

    Raises:
        FileFormatError: the folder holds something else, or a sweep of another version of this program.
    """
    return summary_of(runs, _opened(runs, out, known, make=False))


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
