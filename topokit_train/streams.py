"""What a seed is spent on: each use has a random stream of its own."""

from __future__ import annotations

import numpy as np
import torch

WEIGHTS, ORDER, AUGMENTATION, METHOD, FORWARD = 0, 1, 2, 3, 4


def numpy_stream(seed: int, *key: int) -> np.random.Generator:
    """The stream of a seed for one use, such as (ORDER, epoch)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def torch_stream(seed: int, *key: int) -> torch.Generator:
    """The same for torch, on the CPU."""
    start = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(start))
