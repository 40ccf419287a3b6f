"""Execution of a sweep: an executor gets the unfinished runs until none is left.

The whole state is on disk (see `SweepFolder`), so processes need no messages: a process locks the folder of its run,
continues from the last checkpoint, and writes result.json or error.json. A run whose process dies is submitted again,
and so is one that another program started and did not finish.
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

PAUSE = 1.0  # seconds between two checks of the runs of another program

Opened = Callable[[], AbstractContextManager[Executor | None]]
Report = Callable[[Planned, State], object]


def carry_out(runs: Sequence[Planned], folder: SweepFolder, opened: Opened, report: Report) -> None:
    """Do all runs that have not ended; wait for those that another program does.

    Args:
        runs: of a grid.
        folder: of the sweep.
        opened: opens an executor; if it returns None, this process does the work.
        report: called with each run that ends, and with each run of another program that this one waits for.

    Raises:
        UnreachableError: the executor's scheduler is gone; the results so far are kept.
        TopokitError: workers die before they start a run, or the disk is full; a later call continues.
        KeyboardInterrupt: Ctrl-C; the current runs keep the checkpoints of their last epochs.
    """
    execution = _Execution(runs, folder, report)
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
                raise TopokitError("worker processes died before they started a run: free some memory")
            time.sleep(PAUSE)  # another program was faster
        elif any(folder.state(run.name) is State.RUNNING for run in left):
            execution.update(left, State.RUNNING)
            time.sleep(PAUSE)
        else:
            return  # the remaining runs need runs that failed


def due(runs: Iterable[Planned], folder: SweepFolder) -> list[Planned]:
    """Return the runs that can start: not ended, not running, and the runs that they need are finished."""
    return [
        run
        for run in runs
        if folder.state(run.name) is State.WAITING and all(folder.state(name) is State.FINISHED for name in run.needs)
    ]


class _Execution:
    """The runs of a sweep, and their last reported states. The arguments are those of `carry_out`."""

    def __init__(self, runs: Iterable[Planned], folder: SweepFolder, report: Report):
        self.runs = {run.name: run for run in runs}
        self.folder, self.report = folder, report
        self._submitted: dict[Future[None], tuple[Task, dict[str, int]]] = {}  # with the earlier starts of its runs
        states = folder.states(self.runs.values())
        self.reported = {name: state if state.ended else State.WAITING for name, state in states.items()}

    def left(self) -> list[Planned]:
        """Return the runs that have not ended; report those that have."""
        self.update(self.runs.values(), State.FINISHED, State.FAILED)
        return [run for name, run in self.runs.items() if not self.reported[name].ended]

    def update(self, runs: Iterable[Planned], *states: State) -> None:
        """Report the runs whose state has changed to one of these."""
        for run in runs:
            state = self.folder.state(run.name)
            if state in states and state is not self.reported[run.name]:
                self.reported[run.name] = state
                self.report(run, state)

    def work(self, executor: Executor | None, runs: Sequence[Planned]) -> bool:
        """Do the runs that can start, and then those that need them.

        Returns:
            Whether a worker died before it started its task; the tasks of other dead workers are submitted again.
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
                self._submitted[future] = task, starts
                if executor is None:
                    _do_here(task, future)
            if not self._submitted:
                return lost
            for future in wait(self._submitted, return_when=FIRST_COMPLETED).done:
                is_lost = _is_lost(future)
                task, starts = self._submitted.pop(future)
                if is_lost:
                    started = self.folder.starts(task.runs) > sum(starts.values())
                    blocked += task.runs if started else ()
                    lost = lost or not started
                self.update(task.runs, State.FINISHED, State.FAILED)

    def forget_starts(self) -> None:
        """Discount the starts of runs that end from outside: by Ctrl-C, a full disk or a scheduler that is gone.

        This includes runs that the workers of a cluster still do, because these workers may be ended too.
        """
        for task, starts in self._submitted.values():
            for run in task.runs:
                if not self.folder.state(run.name).ended and self.folder.starts([run]) > starts[run.name]:
                    self.folder.forget_start(run.name)
        self._submitted.clear()


def _do_here(task: Task, future: Future[None]) -> None:
    """Do a task in this process; as with an executor, the future holds its errors."""
    try:
        task()
        future.set_result(None)
    except Exception as error:
        future.set_exception(error)


def _is_lost(future: Future[None]) -> bool:
    """Whether a task lost its worker; other errors, which no run causes, are raised."""
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
