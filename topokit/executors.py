"""Executors: where work that can be done in parts is done: here, in worker processes, or on a Dask cluster.

All are `concurrent.futures.Executor`, so what uses one knows nothing of the others. A worker that dies takes its own
task with it and no other: that task's future has an exception that `lost_worker` knows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from typing import Any

from topokit._workers import Workers
from topokit.errors import InvalidSpecError, UnreachableError, needing

PATIENCE = 10  # seconds to wait for a scheduler


@contextmanager
def opened(workers: int = 1, scheduler: str | None = None) -> Iterator[Executor | None]:
    """An executor for a `with` block; None where the work is to be done in this process.

    Where the block is left by an exception, Ctrl-C included, what is under way is given up: worker processes end at
    once, as they do when this process is killed. What a cluster's workers have begun they bring to its end.

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
    if scheduler is not None:
        if workers > 1:
            raise InvalidSpecError("give a number of workers or a scheduler, not both")
        with _cluster(scheduler) as executor:
            yield executor
    elif workers == 1:
        yield None
    else:
        with Workers(workers) as pool:
            yield pool


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
    """See whether a scheduler talks at all: `Client` waits for ever for one that takes the call and is silent."""
    from distributed import Security
    from distributed.comm import connect

    async with asyncio.timeout(PATIENCE):
        arguments = Security().get_connection_args("client")
        comm = await connect(address, timeout=PATIENCE, **arguments)
        await comm.close()
