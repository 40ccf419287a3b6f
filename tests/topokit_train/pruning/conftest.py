"""Fixtures of the pruning tests: a short run, and trainers that prune."""

import pytest
import torch

from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.pruner import Pruner
from topokit_train.runs.train import train
from topokit_train.training import Trainer


@pytest.fixture(scope="session")
def gradual():
    """Settings of a short gradual run: 15 steps, pruned after steps 4 to 10."""
    return PruneConfig(epochs=3, batch_size=300, to=(0.5, 0.9, 0.95), rewind="initial")


@pytest.fixture(scope="module")
def straight(gradual, tmp_path_factory):
    """A finished short run: (its folder, its result)."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, train(gradual, run=folder)


@pytest.fixture
def pruning(digits, tmp_path):
    """A function that makes a trainer and its pruner, of one network or of several."""

    def make(*seeds, **settings):
        config = PruneConfig(**{"epochs": 3, "batch_size": 300, **settings})
        seeds, pruner = seeds or (0,), Pruner(config)
        folders = [tmp_path / f"network{k}" for k in range(len(seeds))]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        about = {"seeds": seeds, "method": pruner, "folders": folders}
        return Trainer(config, None, digits, device=torch.device("cpu"), kernel="auto", **about), pruner

    return make
