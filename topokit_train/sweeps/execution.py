"""Carrying out a sweep: runs that are not finished are given to an executor until none is left.

All that is known is on disk (see `SweepFolder`), so nothing has to be told between processes: whoever takes a run locks
its folder, goes on from its last checkpoint, and leaves result.json or error.json. A run whose process dies is given
out again; so is one that somebody else had begun and did not end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import AbstractContextManager

from topokit.errors import TopokitError, UnreachableError
from topokit.executors import lost_worker
from topokit_train.runs.folder import RunBusyError
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.task import Task, tasks_of

PAUSE = 1.0  # seconds between two looks at runs that another program does

Opened = Callable[[], AbstractContextManager[Executor | None]]
Told = Callable[[Planned, State], object]


def carry_out(runs: Sequence[Planned], folder: SweepFolder, opened: Opened, told: Told) -> None:
    """Do all runs that have not ended; where another program does some of them, wait until it has.

    Args:
        runs: of a grid.
        folder: where they go.
        opened: opens an executor; where that gives None, this process does the work.
        told: called with each run that ends, and with those that another program begins to be waited for.

    Raises:
        UnreachableError: the executor's scheduler is gone; what it did is kept.
        TopokitError: workers die before they begin, or the disk is full; a later call goes on.
        KeyboardInterrupt: Ctrl-C; what is under way keeps the checkpoint of its last epoch.
    """
    execution = _Execution(runs, folder, told)
    while left := execution.left():
        if due(left, folder):
            starts = folder.starts(left)
            try:
                with opened() as executor:
                    lost = execution.work(executor, left)
            except (KeyboardInterrupt, TopokitError):
                execution.forget_starts()
                raise
            if folder.starts(left) > starts:
                continue
            if lost:
                raise TopokitError("worker processes died before they began a run: see that memory is free")
            time.sleep(PAUSE)  # another program was faster
        elif any(folder.state(run.name) is State.RUNNING for run in left):
            execution.tell(left, State.RUNNING)
            time.sleep(PAUSE)
        else:
            return  # what is left waits for runs that failed


def due(runs: Iterable[Planned], folder: SweepFolder) -> list[Planned]:
    """The runs that can be begun: not ended, nobody does them, and the runs that they need are finished."""
    return [
        run
        for run in runs
        if folder.state(run.name) is State.WAITING and all(folder.state(name) is State.FINISHED for name in run.needs)
    ]


class _Execution:
    """The runs of a sweep, and what has been told of them. The arguments are those of `carry_out`."""

    def __init__(self, runs: Iterable[Planned], folder: SweepFolder, told: Told):
        self.runs = {run.name: run for run in runs}
        self.folder, self.told = folder, told
        self._under_way: dict[
            Future[None], tuple[Task, dict[str, int]]
        ] = {}  # and how often its runs were begun before
        states = {name: folder.state(name) for name in self.runs}
        self.known = {name: state if state.ended else State.WAITING for name, state in states.items()}

    def left(self) -> list[Planned]:
        """The runs that have not ended; those that have are told."""
        self.tell(self.runs.values(), State.FINISHED, State.FAILED)
        return [run for name, run in self.runs.items() if not self.known[name].ended]

    def tell(self, runs: Iterable[Planned], *states: State) -> None:
        """Tell of the runs that have come into one of these states."""
        for run in runs:
            state = self.folder.state(run.name)
            if state in states and state is not self.known[run.name]:
                self.known[run.name] = state
                self.told(run, state)

    def work(self, executor: Executor | None, runs: Sequence[Planned]) -> bool:
        """Do the runs that can be done, those included that wait for one of them.

        Returns:
            Whether there is a task whose worker died before it began; all others are given out again.
        """
        blocked, tasks = list(runs), list[Task]()
        lost = False
        while True:
            ready = due(blocked, self.folder)
            names = {run.name for run in ready}
            blocked = [run for run in blocked if run.name not in names]
            tasks += tasks_of(ready, self.folder)
            next_ones, tasks = (tasks[:1], tasks[1:]) if executor is None else (tasks, [])
            for task in next_ones:
                starts = {run.name: self.folder.starts([run]) for run in task.runs}
                future: Future[None] = executor.submit(task) if executor else Future()
                self._under_way[future] = task, starts
                if executor is None:
                    _do_here(task, future)
            if not self._under_way:
                return lost
            for future in wait(self._under_way, return_when=FIRST_COMPLETED).done:
                is_lost = _is_lost(future)
                task, starts = self._under_way.pop(future)
                if is_lost:
                    begun = self.folder.starts(task.runs) > sum(starts.values())
                    blocked += task.runs if begun else ()
                    lost = lost or not begun
                self.tell(task.runs, State.FINISHED, State.FAILED)

    def forget_starts(self) -> None:
        """Count no start of runs that are ended from outside: by Ctrl-C, a full disk or a scheduler that is gone.

        What a cluster's workers still do counts for nothing either: they may be ended too before it is done.
        """
        for task, starts in self._under_way.values():
            for run in task.runs:
                if not self.folder.state(run.name).ended and self.folder.starts([run]) > starts[run.name]:
                    self.folder.forget_start(run.name)
        self._under_way.clear()


def _do_here(task: Task, future: Future[None]) -> None:
    """Do what an executor would: errors of any kind are kept for whoever asks for the result."""
    try:
        task()
        future.set_result(None)
    except Exception as error:
        future.set_exception(error)


def _is_lost(future: Future[None]) -> bool:
    """Whether the worker was lost that did a task; what else went wrong, and is no run's fault, is raised."""
    try:
        future.result()
    except RunBusyError:
        return False  # another program was faster
    except CancelledError:
        raise UnreachableError("the scheduler is gone; nothing is lost: run the same command again") from None
    except Exception as error:
        if not lost_worker(error):
            raise
        return True
    return False
