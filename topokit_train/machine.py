"""The machine: its devices, its processor, and how many of its threads torch uses."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from topokit.errors import InvalidSpecError


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the first of cuda, mps and cpu that the machine has.

    Raises:
        InvalidSpecError: this machine has no such device.
    """
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there = [f"cuda:{number}" for number in range(torch.cuda.device_count())] + there
    if name == "auto":
        return torch.device(there[0])
    wanted = "cuda:0" if name == "cuda" else str(name)
    if wanted not in there:
        raise InvalidSpecError(f"`device` {name} does not exist: this machine has {', '.join(there)}")
    return torch.device(wanted)


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def now(device: torch.device) -> float:
    """Return the time in seconds once a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads in the block, then the previous number again."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
