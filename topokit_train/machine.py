"""The machine a run uses: its device, and how many CPU threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch

from topokit.errors import InvalidSpecError
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.models import Wiring, slots_for

SMALL_STEP = 10**8  # products of a weight and a number, in one step forward


def resolve_device(name: str) -> torch.device:
    """The device that `--device` means; "auto" takes the first of cuda, mps and cpu that is there.

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
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise InvalidSpecError(f"--device {name} is not there: this machine has {', '.join(there)}")
    return torch.device(wanted)


def suitable_threads(config: TrainConfig, wiring: Wiring, dataset: Dataset, networks: int = 1) -> int:
    """How many CPU threads to train with: one for a small model, torch's own choice for others.

    Sharing out a millisecond's work gains nothing, and where other programs use the cores as well, waiting
    for the slowest thread makes a step ten times as long.

    Args:
        config: the settings.
        wiring: topologies that fill the model's slots; none for a dense model.
        dataset: what to train on.
        networks: how many are stacked.
    """
    table = slots_for(config.model, wiring, image=dataset.input_shape, classes=dataset.classes)
    _, rows, columns = dataset.input_shape
    weights = sum(prod(shape) * (rows * columns if len(shape) == 4 else 1) for shape in table.values())
    products = networks * config.batch_size * weights
    return 1 if products < SMALL_STEP else torch.get_num_threads()


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads; puts the number back at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
