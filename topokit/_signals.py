"""Signals: Ctrl-C and SIGTERM wait until a block is done."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 5.0  # seconds after which another signal is handled inside the block


@contextmanager
def uninterrupted() -> Iterator[None]:
    """In the block, SIGINT and SIGTERM are recorded; their handlers run at its end.

    The handlers raise an exception wherever the main thread is. In Python code that C++ calls, such as the hooks of
    autograd, this may abort the process; between two steps of releasing a semaphore, it leaves the semaphore.
    A signal that comes more than PATIENCE seconds after the first is handled at once, so that a user can end a block
    that takes minutes. Handlers run in the main thread only, so in other threads the block is an ordinary one.
    """
    if current_thread() is not main_thread():
        yield
        return
    handlers = {number: handler for number in STOPPING if callable(handler := signal.getsignal(number))}
    arrived: list[tuple[int, float]] = []

    def record(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        arrived.append((number, now))
        if now > arrived[0][1] + PATIENCE:
            handlers[signal.Signals(number)](number, frame)

    try:
        for number in handlers:
            signal.signal(number, record)
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is record:
                signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0][0])
