"""A step that does not fit into memory."""

import numpy as np
import pytest
import torch

from topokit.errors import TooLargeError
from topokit_train.config import TrainConfig
from topokit_train.runs.memory import is_shortage
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_seeds
from topokit_train.training import Trainer


@pytest.fixture
def room(monkeypatch):
    """A function that leaves room for a batch of so many images."""

    def leave(most, error=torch.OutOfMemoryError):
        own = Trainer.own_gradients

        def gradients(self, images, labels):
            if len(images) > most:
                raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return own(self, images, labels)

        monkeypatch.setattr(Trainer, "own_gradients", gradients)

    return leave


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_the_error_names_a_batch_that_fits(room, tmp_path, error):
    room(30, error)
    with pytest.raises(TooLargeError, match=r"batch of 100 does not fit into the memory of cpu: batch_size 25 fits$"):
        train(TrainConfig(epochs=1, kernel="csr"), default_topology(), run=tmp_path / "run")
    assert (
        train(TrainConfig(epochs=1, batch_size=25, kernel="csr"), default_topology(), run=tmp_path / "smaller").epochs
        == 1
    )


def test_stacked_networks_may_be_fewer(room, tmp_path):
    room(0)
    with pytest.raises(TooLargeError, match=r"not even a batch of 1 fits: .*, or train fewer than 3 seeds at once$"):
        train_seeds(TrainConfig(epochs=1, kernel="csr"), default_topology(), [0, 1, 2], run=tmp_path / "runs")


def test_other_errors_stay_as_they_are(monkeypatch, tmp_path):
    def wrong(*_):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Trainer, "own_gradients", wrong)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        train(TrainConfig(epochs=1, kernel="csr"), default_topology(), run=tmp_path / "run")


def test_torchs_own_error_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_shortage(caught.value)
    with pytest.raises(MemoryError) as caught:
        np.empty(2**62, np.uint8)
    assert is_shortage(caught.value)
