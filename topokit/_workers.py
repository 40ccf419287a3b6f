"""Workers: processes that do tasks, each by itself: one that dies takes its own task with it and no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread, main_thread
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from topokit._signals import uninterrupted

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 5  # seconds that a task may take to remove what it has half written


class Left(SystemExit):
    """The process that gave the tasks is gone, or leaves."""


class Workers(Executor):
    """Processes, each behind a thread that gives it one task after another.

    One `ProcessPoolExecutor` of many processes is broken as a whole when one of them dies, and cannot tell whose task
    killed it. Here the task's own future raises BrokenProcessPool, the others go on, and a new process follows.

    Each process holds the end of a pipe whose other end is here. When that end is closed, which the operating system
    does however this process ends, the processes leave at once, whatever they are doing; an exception ends their tasks,
    which can remove what they have half written.

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

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
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
    for number in signals:
        signal.signal(number, leave)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy, GraphBLAS or torch are there: one core a process
    Thread(target=_leave_with, args=(watched,), daemon=True).start()


def _leave_with(watched: Connection) -> None:
    """Wait until the other end of the pipe is closed, and leave."""
    watched.poll(None)
    signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM)  # wakes it, whatever it waits for
    time.sleep(PATIENCE)
    os._exit(1)


def _do(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except Left:
        os._exit(1)  # nobody waits for what the pool would answer
