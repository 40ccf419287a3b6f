"""Executors: work in parts is done in this process, in worker processes, or on a Dask cluster.

All are `concurrent.futures.Executor`, so the code that uses one does not depend on its kind. If a worker dies, its own
task fails and no other: that task's future has an exception that `lost_worker` recognises.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread, main_thread
from types import TracebackType
from typing import Any

from topokit._signals import uninterrupted
from topokit.errors import InvalidSpecError, UnreachableError, needing

LAST_SECONDS = 5  # seconds that a task may take to remove incomplete files
PATIENCE = 10  # seconds to wait for a scheduler


@contextmanager
def opened(workers: int = 1, scheduler: str | None = None) -> Iterator[Executor | None]:
    """Yield an executor for a `with` block, or None if the work is done in this process.

    If the block ends with an exception, Ctrl-C included, worker processes end at once, as they do if this process is
    killed. The workers of a cluster finish the tasks that they have started.

    Args:
        workers: number of processes on this machine; with 1 there is no executor.
        scheduler: address of a Dask scheduler, such as tcp://host:8786, whose workers have topokit installed.

    Raises:
        InvalidSpecError: fewer than one worker, or both workers and a scheduler.
        MissingDependencyError: a scheduler is given, and dask.distributed is not installed.
        UnreachableError: nothing answers at the scheduler's address within ten seconds.

    Warns:
        RuntimeWarning: the scheduler has no workers yet.
    """
    if workers < 1:
        raise InvalidSpecError(f"workers must be at least 1, not {workers}")
    if scheduler is not None and workers > 1:
        raise InvalidSpecError("give a number of workers or a scheduler, not both")
    if scheduler is None and workers == 1:
        yield None
        return
    with Workers(workers) if scheduler is None else _cluster(scheduler) as executor:
        yield executor


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lost_worker(error: BaseException) -> bool:
    """Whether a task failed because the process that did it died."""
    if isinstance(error, BrokenExecutor):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("distributed")}
    return "KilledWorker" in kinds


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    with needing("a scheduler"):
        from distributed import Client
    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong comes as an exception too
    try:
        asyncio.run(_knock(address))
        client: Any = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        why = str(error) or f"silence for {PATIENCE} seconds"
        raise UnreachableError(f"no Dask scheduler answers at {address}: {why}: start one there") from None
    with client:
        if not client.scheduler_info()["workers"]:
            said = f"the Dask scheduler at {address} has no workers yet: the work waits until one joins it"
            warnings.warn(said, RuntimeWarning, stacklevel=2)
        executor: Executor = client.get_executor(pure=False)  # equal tasks are none the less two
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False)
            raise
        executor.shutdown()


async def _knock(address: str) -> None:
    """Connect once: `Client` waits for ever for a scheduler that accepts the connection and does not answer."""
    from distributed import Security
    from distributed.comm import connect

    async with asyncio.timeout(PATIENCE):
        arguments = Security().get_connection_args("client")
        comm = await connect(address, timeout=PATIENCE, **arguments)
        await comm.close()


class Left(SystemExit):
    """The process that submitted the tasks has ended, or ends."""


class Workers(Executor):
    """Worker processes, each with a thread that gives it one task after another.

    A `ProcessPoolExecutor` of many processes breaks as a whole if one of them dies, and does not report which task
    killed it. Here the task's own future raises BrokenProcessPool, the other tasks continue, and a new process starts.

    Each worker holds one end of a pipe, and this process the other. The operating system closes the latter however this
    process ends; then the workers end at once. An exception ends their tasks first, which can remove incomplete files.

    Args:
        count: of processes; each is started when it is first needed.
    """

    def __init__(self, count: int):
        # spawned and not forked: GraphBLAS and BLAS have threads, which a fork would lose
        self._context = get_context("spawn")
        self._watched, self._held = self._context.Pipe(duplex=False)
        self._threads = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        with uninterrupted():
            for _ in range(count):
                self._idle.put(self._process())

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._elsewhere, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; with `wait` not before all tasks are done, else at once."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures or not wait)
        if not wait:
            self._held.close()
            self._threads.shutdown()
        with uninterrupted():  # else the semaphores of a pool may stay
            while not self._idle.empty():
                self._idle.get().shutdown()
            self._held.close()
            self._watched.close()

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=kind is None)

    def _process(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, initializer=_begin, initargs=(self._watched,))

    def _elsewhere(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        process = self._idle.get()
        try:
            return process.submit(_do, fn, *args, **kwargs).result()
        except BrokenProcessPool:
            process.shutdown()
            process = self._process()
            raise
        finally:
            self._idle.put(process)


def _begin(watched: Connection) -> None:
    def leave(*_: object) -> None:
        # Ctrl-C reaches every process of a terminal, and SIGTERM every one of a job; the first ends the others
        if watched.poll():
            for number in signals:
                signal.signal(number, signal.SIG_IGN)
            raise Left

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in signals:
            signal.signal(number, leave)
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy, GraphBLAS or torch are there: one core a process
        Thread(target=_leave_with, args=(watched,), daemon=True).start()
    except Left:
        os._exit(1)  # an exception of an initializer is printed


def _leave_with(watched: Connection) -> None:
    """Wait until the other end of the pipe is closed, and leave."""
    watched.poll(None)
    signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM)  # wakes it, whatever it waits for
    time.sleep(LAST_SECONDS)
    os._exit(1)


def _do(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except Left:
        os._exit(1)  # no process waits for the pool's answer
