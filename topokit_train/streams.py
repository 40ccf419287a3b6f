"""Random streams of a seed, one for each use."""

from __future__ import annotations

import numpy as np
import torch

WEIGHTS, ORDER, AUGMENTATION, METHOD, FORWARD = 0, 1, 2, 3, 4


def numpy_stream(seed: int, *key: int) -> np.random.Generator:
    """Return the stream of a seed for one use, such as (ORDER, epoch)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def torch_stream(seed: int, *key: int) -> torch.Generator:
    """Return such a stream for torch, on the CPU."""
    start = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(start))
