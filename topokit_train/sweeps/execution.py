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
from topokit_train.run_folder import RunBusyError
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
    unique = list({run.name: run for run in runs}.values())
    awaited: set[str] = set()
    while left := [run for run in unique if not folder.state(run.name).ended]:
        ready = due(left, folder)
        busy = [run for run in left if folder.state(run.name) is State.RUNNING]
        if ready:
            starts = folder.starts(left)
            with opened() as executor:
                lost = _work(executor, left, folder, told)
            if lost and folder.starts(left) == starts:
                raise TopokitError("worker processes died before they began a run: see that memory is free")
        elif busy:
            for run in busy:
                if run.name not in awaited:
                    told(run, State.RUNNING)
            awaited |= {run.name for run in busy}
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


def _work(executor: Executor | None, runs: Sequence[Planned], folder: SweepFolder, told: Told) -> bool:
    """Do the runs that can be done, those included that wait for one of them; returns whether workers were lost."""
    blocked, tasks = list(runs), list[Task]()
    under_way: dict[Future[None], Task] = {}
    lost = False
    while True:
        ready = due(blocked, folder)
        tasks += tasks_of(ready, folder)
        names = {run.name for run in ready}
        blocked = [run for run in blocked if run.name not in names]
        if executor is None:
            under_way = {_done_here(task): task for task in tasks[:1]}
        else:
            under_way |= {executor.submit(task): task for task in tasks}
        tasks = tasks[1:] if executor is None else []
        if not under_way:
            return lost
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            task = under_way.pop(future)
            lost |= _outcome(future)
            for run in task.runs:
                if folder.state(run.name).ended:
                    told(run, folder.state(run.name))


def _done_here(task: Task) -> Future[None]:
    future: Future[None] = Future()
    try:
        task()
        future.set_result(None)
    except Exception as error:
        future.set_exception(error)
    return future


def _outcome(future: Future[None]) -> bool:
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
