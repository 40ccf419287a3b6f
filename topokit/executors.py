"""Executors: where work that can be done in parts is done: here, in worker processes, or on a Dask cluster.

All are `concurrent.futures.Executor`, so what uses one knows nothing of the others.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from topokit.errors import InvalidSpecError, MissingDependencyError, UnreachableError

PATIENCE = 10  # seconds to wait for a scheduler


@contextmanager
def opened(workers: int = 1, scheduler: str | None = None) -> Iterator[Executor | None]:
    """An executor for a `with` block; None where the work is to be done in this process.

    Args:
        workers: number of processes on this machine; with 1 there is no executor.
        scheduler: address of a Dask scheduler, such as tcp://host:8786, whose workers have topokit installed.

    Raises:
        InvalidSpecError: fewer than one worker, or both workers and a scheduler.
        MissingDependencyError: a scheduler is given, and dask.distributed is not installed.
        UnreachableError: nothing answers at the scheduler's address within ten seconds.
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
        # spawned and not forked: GraphBLAS and BLAS have threads, which a fork would lose
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_interrupts)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError("a scheduler needs dask: pip install 'topokit[cluster]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong comes as an exception too
    try:
        asyncio.run(_knock(address))
        client: Any = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise UnreachableError(f"no Dask scheduler answers at {address}: {error or 'silence'}") from None
    with client, client.get_executor() as executor:
        yield executor


async def _knock(address: str) -> None:
    """See whether a scheduler talks at all: `Client` waits for ever for one that takes the call and is silent."""
    from distributed import Security
    from distributed.comm import connect

    async with asyncio.timeout(PATIENCE):
        arguments = Security().get_connection_args("client")
        comm = await connect(address, timeout=PATIENCE, **arguments)
        await comm.close()
