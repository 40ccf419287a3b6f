"""TrainConfig: its defaults, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
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
        "recipe": "modern",
        "optimizer": "adam",
        "momentum": None,
        "lr": 0.004,
        "schedule": "one-cycle",
        "init": "he",
        "l2": 0.0,
        "weight_decay": None,
        "relu_logits": False,
        "shuffle": True,
        "pixels": "standardised",
        "augment": "auto",
        "validation": 0,
        "loss": None,
        "metric": None,
        "better": None,
        "seed": 0,
        "order_seed": None,
        "method": None,
        "kernel": "auto",
        "device": "auto",
        "threads": None,
    }
    assert TrainConfig(dataset="mnist").epochs == TrainConfig(dataset="idx:digits").epochs == 10
    assert (TrainConfig(optimizer="sgd").lr, TrainConfig(optimizer="sgd").momentum) == (0.1, 0.9)
    for recipe in ("modern", "paper"):
        adamw = TrainConfig(optimizer="adamw", recipe=recipe)
        assert (adamw.lr, adamw.momentum, adamw.l2, adamw.weight_decay) == (0.004, None, 0.0, 0.01)
    assert TrainConfig(model="nets/mine.py:net").init == TrainConfig(model="package.nets:net").init == "own"
    assert TrainConfig(model="nets/mine.py:net", init="he").init == "he"
    assert TrainConfig(dataset="cifar10").pixels == TrainConfig(dataset="cifar10", recipe="paper").pixels == "per-image"
    assert (TrainConfig(epochs=3).epochs, TrainConfig(lr=1).lr) == (3, 1.0)


def test_the_paper_recipe_is_no_more_than_defaults():
    paper = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "lr": 0.2,
        "schedule": "steps",
        "init": "truncated-normal",
        "l2": 0.004,
        "relu_logits": True,
        "shuffle": False,
        "pixels": "unit",
    }
    recorded = TrainConfig(recipe="paper").to_json()
    assert recorded == {**TrainConfig().to_json(), "recipe": "paper", **paper}
    assert TrainConfig(**paper) == TrainConfig.from_json({**recorded, "recipe": "modern"})
    others = {
        "momentum": 0.5,
        "lr": 0.3,
        "schedule": "constant",
        "init": "he",
        "l2": 0,
        "relu_logits": False,
        "shuffle": True,
        "pixels": "standardised",
    }
    for name, value in others.items():
        assert TrainConfig(recipe="paper", **{name: value}).to_json() == {**recorded, name: value}
    adam = TrainConfig(recipe="paper", optimizer="adam")
    assert (adam.lr, adam.momentum, adam.schedule) == (0.004, None, "steps")


def test_settings_of_before_there_were_recipes_mean_what_they_did():
    assert TrainConfig.from_json({"optimizer": "sgd", "lr": 0.1, "epochs": 40}) == TrainConfig(optimizer="sgd")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "lenet-300"}, "FILE.py:FUNCTION, not 'lenet-300': did you mean lenet-300-100"),
        ({"model": "mine.py"}, "must be one of lenet-300-100, "),
        ({"model": "lenet-5", "init": "own"}, "init own is for a user's model, not for lenet-5: use he"),
        ({"optimizer": "adamw", "l2": 0.1}, "l2 is for adam and sgd: give adamw weight_decay"),
        ({"weight_decay": 0.1}, "weight_decay belongs to optimizer adamw, not to adam"),
        ({"optimizer": "adamw", "weight_decay": -1}, "weight_decay must be a number from 0 on, not -1"),
        ({"dataset": "minst"}, "idx, text, FILE.py:FUNCTION, not 'minst': did you mean mnist"),
        ({"dataset": "idx"}, "idx:FOLDER"),
        ({"dataset": "mnist:folder"}, "takes no folder"),
        ({"kernel": "cs"}, "band, not 'cs': did you mean csr"),
        ({"optimizer": "Adam"}, "optimizer must be one of adam, adamw, sgd, not 'Adam'"),
        ({"schedule": "cosine"}, "schedule must be one of one-cycle, steps, constant"),
        ({"recipe": "papers"}, "recipe must be one of modern, paper, not 'papers'"),
        ({"recipe": None}, "recipe must be a text, not None"),
        ({"recipe": "paper", "optimizer": "adagrad"}, "optimizer must be one of adam, adamw, sgd, not 'adagrad'"),
        ({"init": "normal"}, "init must be one of he, truncated-normal, own"),
        ({"pixels": "raw"}, "pixels must be one of standardised, unit, per-image"),
        ({"augment": "all"}, "augment must be one of auto, none"),
        ({"dataset": 3}, "dataset must be a text, not 3"),
        ({"momentum": 0.9}, "momentum belongs to optimizer sgd, not to adam: omit it"),
        ({"optimizer": "sgd", "momentum": 1}, "momentum must be a number from 0 to below 1, not 1"),
        ({"optimizer": "sgd", "momentum": "much"}, "momentum must be a number"),
        ({"l2": -0.1}, "l2 must be a number from 0 on, not -0.1"),
        ({"l2": float("nan")}, "l2 must be a number from 0 on, not nan"),
        ({"relu_logits": 1}, "relu_logits must be true or false, not 1"),
        ({"shuffle": "no"}, "shuffle must be true or false, not 'no'"),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, mps"),
        ({"device": "cuda:x"}, "device must be one of auto, cpu, cuda, mps, not 'cuda:x'"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": 2.5}, "epochs must be integers of at least 1, not 2.5"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"validation": -1}, "validation must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**63}, "seed must be at most 9223372036854775807, not 9223372036854775808"),
        ({"order_seed": 2**64}, "order_seed must be at most 9223372036854775807, not 18446744073709551616"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"threads": 10**9}, "threads must be at most 1024"),
        ({"lr": 0}, "lr must be a number above 0, not 0"),
        ({"lr": float("nan")}, "lr must be a number above 0, not nan"),
        ({"lr": float("inf")}, "lr must be a number above 0, not inf"),
        ({"lr": 10**400}, "lr must be a number above 0, not 1000"),
        ({"lr": "fast"}, "lr must be a number above 0, not 'fast'"),
        ({"lr": True}, "lr must be a number above 0, not True"),
        ({"model": 3}, "model must be a text, not 3"),
    ],
)
def test_what_is_refused_and_how(setting, message):
    with pytest.raises(InvalidSpecError) as refused:
        TrainConfig(**setting)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_numbers_of_numpy_are_recorded_as_numbers():
    given = {"threads": np.int64(1), "seed": np.int64(2), "lr": np.float64(0.5)}
    recorded = json.dumps(TrainConfig(**given).to_json())
    assert TrainConfig.from_json(json.loads(recorded)) == TrainConfig(threads=1, seed=2, lr=0.5)


def test_json_there_and_back():
    config = TrainConfig(dataset="idx:here", optimizer="sgd", seed=2**63 - 1, device="cuda:1", data_dir="there")
    assert TrainConfig.from_json(config.to_json()) == config
    with pytest.raises(InvalidSpecError, match="no setting is named depth, width; there are model, dataset"):
        TrainConfig.from_json({"width": 1, "depth": 2, "seed": 3})


def test_settings_and_datasets_load_no_torch():
    code = (
        "import sys; from topokit_train.config import TrainConfig; from topokit_train.models import MODELS\n"
        "from topokit_train.datasets import load_dataset\n"
        "TrainConfig(kernel='csr'); list(MODELS); load_dataset('digits'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
