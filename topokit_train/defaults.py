"""Defaults of the settings of a TrainConfig, by recipe, dataset and optimizer. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topokit_train.functions import is_function

RECIPES = ("modern", "paper")
"""paper: Alford et al. 2018, "Training Behavior of Sparse Neural Network Topologies", arXiv:1810.00299."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "optimizer": {"modern": "adam", "paper": "sgd"},
    "momentum": {"modern": 0.9, "paper": 0.0},
    "lr": {"modern": 0.1, "paper": 0.2},  # of sgd
    "schedule": {"modern": "one-cycle", "paper": "steps"},
    "init": {"modern": "he", "paper": "truncated-normal"},
    "l2": {"modern": 0.0, "paper": 0.004},
    "relu_logits": {"modern": False, "paper": True},
    "shuffle": {"modern": True, "paper": False},
    "pixels": {"modern": "standardised", "paper": "unit"},
}
"""Setting -> recipe -> default."""

ADAM_LR = 0.004  # of adam and adamw
WEIGHT_DECAY = 0.01  # of adamw
EPOCHS = {"digits": 40}  # of 15 steps; 10 for other datasets
PIXELS = {"cifar10": "per-image"}  # in both recipes


def default(name: str, given: Mapping[str, Any], dataset: str) -> Any:
    """Return the default of a setting; None if it has none.

    Args:
        name: of the setting.
        given: the model, the recipe and, for settings that depend on it, the optimizer.
        dataset: a key of DATASETS.
    """
    optimizer = given["optimizer"]
    if name == "epochs":
        return EPOCHS.get(dataset, 10)
    if name == "lr" and optimizer != "sgd":
        return ADAM_LR
    if name == "momentum" and optimizer != "sgd":
        return None
    if name == "weight_decay":
        return WEIGHT_DECAY if optimizer == "adamw" else None
    if name == "l2" and optimizer == "adamw":
        return 0.0
    if name == "init" and is_function(given["model"]):
        return "own"
    if name == "pixels" and dataset in PIXELS:
        return PIXELS[dataset]
    return DEFAULTS.get(name, {}).get(given["recipe"])
