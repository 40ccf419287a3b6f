"""How many CPU threads a run is trained with, where its settings leave that open."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from topokit.layered import Layered
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.models.networks import ModelSource

SMALL_STEP = 10**8  # products of a weight and a number, in one step forward


def suitable_threads(
    config: TrainConfig, source: ModelSource, topologies: Sequence[Layered], dataset: Dataset, networks: int = 1
) -> int:
    """How many CPU threads to train with: one for a small model, torch's own choice for others.

    Sharing out a millisecond's work gains nothing, and where other programs use the cores as well, waiting
    for the slowest thread makes a step ten times as long.

    Args:
        config: the settings.
        source: where the model is from.
        topologies: that fill the model's weights; none for a dense model.
        dataset: what to train on.
        networks: how many are stacked.
    """
    pixels = prod(dataset.input_shape[1:])  # a convolution multiplies by its weights for each of them
    shapes = [weight.shape for weight in source.weights(dataset, topologies).values() if weight.obstacle is None]
    weights = sum(prod(shape) * (pixels if len(shape) > 2 else 1) for shape in shapes)
    products = networks * config.batch_size * weights
    return 1 if products < SMALL_STEP else torch.get_num_threads()
