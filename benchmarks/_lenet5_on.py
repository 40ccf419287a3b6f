"""LeNet-5 on a device, dense and with a tenth of the weights of conv2 and fc1: its losses, and its step times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from topokit import Bernoulli
from topokit_train import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.training import Trainer


def trainer(device: str, sparse: bool) -> Trainer:
    """A network on the embedded digits."""
    wiring = [Bernoulli(widths=widths, density=".1", seed=0) for widths in ((500, 50), (2450, 384))] if sparse else []
    config = TrainConfig(model="lenet-5", epochs=1)
    digits = load_dataset("digits", None)
    return Trainer(config, wiring, digits, device=torch.device(device), kernel="auto")


def losses(device: str, sparse: bool, dtype: torch.dtype, steps: int) -> list[float]:
    """Of the first training steps, all with one batch."""
    made = trainer(device, sparse)
    made.model.to(dtype)
    images, labels = next(made.batches())
    return [made.step(images.to(dtype), labels).item() for _ in range(steps)]


def check(device: str, steps: int = 10) -> list[dict[str, Any]]:
    """The losses in float32 on the device beside those in float64 on the CPU."""
    rows = []
    for sparse in (False, True):
        kinds = (device, torch.float32), ("cpu", torch.float64)
        pairs = zip(*(losses(where, sparse, dtype, steps) for where, dtype in kinds), strict=True)
        apart = max(abs(a / b - 1) for a, b in pairs)
        rows.append({"sparse": sparse, "relative loss difference": apart, "right": apart < 1e-2})
    return rows


def time(device: str, milliseconds: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Milliseconds of a training step with a batch of 100 images, optimizer included."""
    taken = {}
    for name, sparse in (("dense", False), ("sparse", True)):
        made = trainer(device, sparse)
        images, labels = next(made.batches())
        taken[name] = milliseconds(lambda made=made, images=images, labels=labels: made.step(images, labels))
    return taken
