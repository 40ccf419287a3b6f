"""What is said before a pruning run."""

import pytest

from topokit_train.models.networks import MNIST, model_source
from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.pruner import notes
from topokit_train.runs.train import train, train_seeds

NOTE = (
    "to 0.99 leaves 10 of 1,000 weights of fc3, fewer than 3 for each class, and classes may be lost: "
    "add keep fc3 or scope global"
)


def shapes(model):
    return {name: weight.shape for name, weight in model_source(model).weights(MNIST).items()}


@pytest.mark.parametrize("settings", [{}, {"keep": ("fc1",)}, {"method": "one-time"}])
def test_few_weights_for_each_class_are_noted(settings):
    assert notes(PruneConfig(to=(0.5, 0.99), **settings), shapes("lenet-300-100")) == (NOTE,)


@pytest.mark.parametrize(
    "settings",
    [
        {"to": (0.97,)},
        {"to": (0.99,), "keep": ("fc3",)},
        {"to": (0.99,), "keep": ("fc3.weight",)},
        {"to": (0.99,), "scope": "global"},
        {"threshold": 0.1, "method": "one-time"},
        {"to": (0.99,), "model": "lenet-5"},
    ],
)
def test_nothing_is_noted_where_enough_are_left(settings):
    config = PruneConfig(**settings)
    assert notes(config, shapes(config.model)) == ()


def test_it_is_said_once_on_stderr_and_not_again(tmp_path, capsys):
    config = PruneConfig(epochs=1, batch_size=500, to=0.99, begin=0, end=1)
    train_seeds(config, None, [0, 1], run=tmp_path)
    assert capsys.readouterr().err.splitlines()[0] == f"note: {NOTE}"
    train(config, run=tmp_path / "seed0", resume=True)
    assert "note" not in capsys.readouterr().err
