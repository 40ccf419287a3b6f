"""TrainConfig: its defaults, and what it refuses."""

import subprocess
import sys

import pytest

from topokit.errors import InvalidSpecError
from topokit_train.config import TrainConfig


def test_defaults_depend_on_the_other_settings():
    assert TrainConfig().to_json() == {
        "model": "lenet-300-100",
        "dataset": "digits",
        "data_dir": None,
        "weights": None,
        "epochs": 40,
        "batch_size": 100,
        "optimizer": "adam",
        "lr": 0.004,
        "schedule": "one-cycle",
        "validation": 0,
        "seed": 0,
        "order_seed": None,
        "kernel": "auto",
        "device": "auto",
        "threads": None,
    }
    assert TrainConfig(dataset="mnist").epochs == TrainConfig(dataset="idx:digits").epochs == 10
    assert TrainConfig(optimizer="sgd").lr == 0.1
    assert (TrainConfig(epochs=3).epochs, TrainConfig(lr=1).lr) == (3, 1.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "lenet-300"}, "--model: no model named 'lenet-300': did you mean lenet-300-100"),
        ({"dataset": "minst"}, "no dataset named 'minst': did you mean mnist"),
        ({"dataset": "idx"}, "idx:FOLDER"),
        ({"dataset": "mnist:folder"}, "takes no folder"),
        ({"kernel": "cs"}, "--kernel: no kernel named 'cs': did you mean csr"),
        ({"optimizer": "Adam"}, "--optimizer must be one of adam, sgd, not 'Adam'"),
        ({"schedule": "cosine"}, "--schedule must be one of one-cycle, constant"),
        ({"device": "gpu"}, "--device must be one of auto, cpu, cuda, mps"),
        ({"device": "cuda:x"}, "--device"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"epochs": 2.5}, "--epochs"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"validation": -1}, "--validation must be at least 0"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"threads": 0}, "--threads must be at least 1"),
        ({"threads": 10**9}, "--threads must be at most 1024"),
        ({"lr": 0}, "--lr must be a number above 0, not 0"),
        ({"lr": float("nan")}, "--lr must be a number above 0, not nan"),
        ({"lr": float("inf")}, "--lr"),
        ({"lr": "fast"}, "--lr"),
        ({"lr": True}, "--lr"),
        ({"model": 3}, "--model must be a text, not 3"),
    ],
)
def test_what_is_refused_and_how(setting, message):
    with pytest.raises(InvalidSpecError) as refused:
        TrainConfig(**setting)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_json_there_and_back():
    config = TrainConfig(dataset="idx:here", optimizer="sgd", seed=10**30, device="cuda:1", data_dir="there")
    assert TrainConfig.from_json(config.to_json()) == config
    with pytest.raises(InvalidSpecError, match="no setting is named depth, width; there are model, dataset"):
        TrainConfig.from_json({"width": 1, "depth": 2, "seed": 3})


def test_settings_datasets_and_slots_load_no_torch():
    code = (
        "import sys; from topokit_train.config import TrainConfig; from topokit_train.models import slots\n"
        "from topokit_train.datasets import load_dataset\n"
        "TrainConfig(kernel='csr'); slots('lenet-300-100'); load_dataset('digits'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
