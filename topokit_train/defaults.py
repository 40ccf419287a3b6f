"""Defaults of the settings of a TrainConfig, by recipe, dataset and optimizer. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topokit_train.functions import is_function

RECIPES: dict[str, dict[str, Any]] = {
    "modern": {
        "optimizer": "adam",
        "schedule": "one-cycle",
        "init": "he",
        "l2": 0.0,
        "relu_logits": False,
        "shuffle": True,
        "pixels": "standardised",
    },
    "paper": {
        "optimizer": "sgd",
        "schedule": "steps",
        "init": "truncated-normal",
        "l2": 0.004,
        "relu_logits": True,
        "shuffle": False,
        "pixels": "unit",
    },
}
"""paper: Alford et al. 2018, "Training Behavior of Sparse Neural Network Topologies", arXiv:1810.00299."""

LR = {
    "adam": {"modern": 0.004, "paper": 0.004},
    "adamw": {"modern": 0.004, "paper": 0.004},
    "sgd": {"modern": 0.1, "paper": 0.2},
}
MOMENTUM = {"modern": 0.9, "paper": 0.0}  # of sgd
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
    recipe = given["recipe"]
    if name == "epochs":
        return EPOCHS.get(dataset, 10)
    if name == "lr":
        return LR[given["optimizer"]][recipe]
    if name == "momentum":
        return MOMENTUM[recipe] if given["optimizer"] == "sgd" else None
    if name == "weight_decay":
        return WEIGHT_DECAY if given["optimizer"] == "adamw" else None
    if name == "l2" and given["optimizer"] == "adamw":
        return 0.0
    if name == "init" and is_function(given["model"]):
        return "own"
    if name == "pixels" and dataset in PIXELS:
        return PIXELS[dataset]
    return RECIPES[recipe].get(name)
