"""What the settings that are left out of a TrainConfig are: by recipe, dataset and optimizer. Imports no torch."""

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
EPOCHS = {"digits": 40}  # 15 steps each; 10 epochs of any other dataset
PIXELS = {"cifar10": "per-image"}  # whatever the recipe: the paper does so too


def default(name: str, given: Mapping[str, Any], dataset: str) -> Any:
    """What a setting is where it is left out.

    Args:
        name: of the setting; None is what becomes of one that has no default here.
        given: the model, the recipe and, for lr and momentum, the optimizer.
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
