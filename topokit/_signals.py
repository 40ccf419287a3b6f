"""Signals: Ctrl-C and SIGTERM wait until a block is done."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 5.0  # seconds after which another signal is handled inside the block


@contextmanager
def uninterrupted() -> Iterator[Callable[[], None]]:
    """In the block, SIGINT and SIGTERM are recorded; their handlers run at its end.

    The handlers raise an exception wherever the main thread is. In Python code that C++ calls, such as the hooks of
    autograd, this may abort the process; between two steps of releasing a semaphore, it leaves the semaphore.
    A signal that comes more than PATIENCE seconds after the first is handled at once, so that a user can end a block
    that takes minutes. Handlers run in the main thread only, so in other threads the block is an ordinary one.

    Yields:
        A function that runs the handler of a recorded signal. A loop calls it where it can be stopped: it costs less
        than a block for each turn.
    """
    handlers: dict[int, Any] = {}
    arrived: list[tuple[int, float]] = []

    def handle() -> None:
        if arrived:
            (number, _), *_ = arrived
            arrived.clear()
            handlers[number](number, None)

    def record(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        arrived.append((number, now))
        if now > arrived[0][1] + PATIENCE:
            handlers[number](number, frame)

    if current_thread() is main_thread():
        handlers |= {number: handler for number in STOPPING if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, record)
        yield handle
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is record:
                signal.signal(number, handler)
        handle()
