"""Carrying out a sweep: runs that are not finished are given to an executor until none is left.

All that is known is on disk (see `SweepFolder`), so nothing has to be told between processes: whoever takes a run locks
its folder, goes on from its last checkpoint, and leaves result.json or error.json. If the executor breaks, because a
worker process was killed, what is unfinished goes to a new one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from topokit.errors import TopokitError, UnreachableError
from topokit_train.run_folder import RunBusyError
from topokit_train.sweeps.folder import ERROR, MOST_STARTS, RUN, State, SweepFolder, count_start, write_json
from topokit_train.sweeps.planned import Planned

LARGEST_STACK = 16  # networks in one program; more are slower, by network, than so many
LOG = "log.txt"
OPENED = Callable[[], AbstractContextManager[Executor | None]]


@dataclass(frozen=True)
class Task:
    """Runs that one process does at once: a stack of seeds, or a single run."""

    runs: tuple[Planned, ...]
    folder: Path  # of the sweep's runs

    def __call__(self) -> None:
        """Do them, or go on with them; what goes wrong with a run is written into its folder.

        Raises:
            OSError: a full disk: no run's fault.
            RunBusyError: another process does one of them.
        """
        from topokit_train.runs import train_all

        folders = [self.folder / run.name for run in self.runs]
        for run, folder in zip(self.runs, folders, strict=True):
            folder.mkdir(exist_ok=True)
            write_json(folder / RUN, run.identity)
        starts = max(map(count_start, folders))
        try:
            if starts > MOST_STARTS:
                raise TopokitError(f"its process died {MOST_STARTS} times: killed, or out of memory")
            with (folders[0] / LOG).open("a") as log, redirect_stderr(log):
                nets = [net for wiring in self.runs[0].wirings for net in wiring.open(self.folder)]
                train_all([run.config for run in self.runs], nets, folders, resume=True)
        except (RunBusyError, KeyboardInterrupt):
            raise
        except Exception as error:
            if _disk_is_full(error):
                raise
            for folder in folders:
                write_json(folder / ERROR, {"type": type(error).__name__, "message": str(error)})


def carry_out(
    runs: Sequence[Planned], folder: SweepFolder, opened: OPENED, told: Callable[[str, State], object]
) -> None:
    """Do all runs that have not ended; those that another program does at the moment are left to it.

    Args:
        runs: of a grid.
        folder: where they go.
        opened: opens an executor; where that gives None, this process does the work.
        told: called with the name and state of each run that ends.

    Raises:
        UnreachableError: the executor's scheduler is gone; what it did is kept.
        TopokitError: the workers die before they begin, or the disk is full; a later call goes on.
    """
    while waiting := due(runs, folder):
        before = _starts(waiting, folder)
        with opened() as executor:
            try:
                for task in _done(executor, _tasks(waiting, folder)):
                    for run in task.runs:
                        told(run.name, folder.state(run.name))
            except BrokenProcessPool:
                if _starts(waiting, folder) == before:
                    raise TopokitError(
                        "the worker processes died before they began a run: see that memory is free"
                    ) from None
            except CancelledError:
                raise UnreachableError(
                    "the scheduler is gone; nothing is lost: run the same command again to go on"
                ) from None


def due(runs: Iterable[Planned], folder: SweepFolder) -> list[Planned]:
    """The runs that can be begun: not ended, nobody does them, and the runs that they need are finished."""
    unique = {run.name: run for run in runs}
    return [
        run
        for run in unique.values()
        if folder.state(run.name) is State.WAITING and all(folder.state(name) is State.FINISHED for name in run.needs)
    ]


def _tasks(runs: Sequence[Planned], folder: SweepFolder) -> list[Task]:
    stacks: dict[str, list[Planned]] = {}
    for run in runs:
        stacks.setdefault(run.stack, []).append(run)
    return [
        Task(tuple(stack[start : start + LARGEST_STACK]), folder.runs)
        for stack in stacks.values()
        for start in range(0, len(stack), LARGEST_STACK)
    ]


def _done(executor: Executor | None, tasks: Sequence[Task]) -> Iterator[Task]:
    if executor is None:
        for task in tasks:
            task()
            yield task
        return
    futures: dict[Future[None], Task] = {executor.submit(task): task for task in tasks}
    for future in as_completed(futures):
        future.result()
        yield futures[future]


def _starts(runs: Iterable[Planned], folder: SweepFolder) -> int:
    places = (folder.run(run.name) / "starts" for run in runs)
    return sum(place.stat().st_size for place in places if place.exists())


def _disk_is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
