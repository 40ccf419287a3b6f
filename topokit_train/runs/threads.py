"""How many CPU threads a run is trained with, where its settings leave that open."""

from __future__ import annotations

from math import prod

import torch

from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.models import Wiring, slots_for

SMALL_STEP = 10**8  # products of a weight and a number, in one step forward


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
    table = slots_for(config.model, wiring, image=dataset.input_shape, classes=dataset.outputs)
    rows, columns = (*dataset.input_shape, 1, 1)[1:3]
    weights = sum(prod(shape) * (rows * columns if len(shape) == 4 else 1) for shape in table.values())
    products = networks * config.batch_size * weights
    return 1 if products < SMALL_STEP else torch.get_num_threads()
