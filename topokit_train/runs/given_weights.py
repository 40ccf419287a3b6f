"""Weights that training starts from, out of a file: those of an earlier run, or what lottery tickets rewind to."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.datasets import Dataset
from topokit_train.layers.linear import sparsify
from topokit_train.layers.stacks import load_network_states
from topokit_train.models import Wiring, as_sequence
from topokit_train.models.networks import build_model
from topokit_train.training import Trainer


def start_from(path: str | Path, trainer: Trainer, wiring: Wiring, dataset: Dataset) -> None:
    """Give a trainer's networks the weights in a file, all the same; a sparse layer takes those at its edges.

    Args:
        path: a safetensors file of a dense model's state_dict, such as rewind.safetensors or the checkpoint of a
            dense or pruned run; other tensors are left alone.
        trainer: before its first step.
        wiring: a topology that fills the model's slots, or several, each those that are left; None for a dense model.
        dataset: what it trains on.

    Raises:
        FileFormatError: the file is damaged, or weights are missing, of another shape or not finite numbers.
        InvalidSpecError: a model that is nothing without its topology.
        TopokitError: the file cannot be read.
    """
    config = trainer.config
    if config.model == "mlp":
        raise InvalidSpecError(
            "--weights needs a model that is dense without a topology: give another --model than mlp"
        )
    model = build_model(config.model, None, image=dataset.input_shape, classes=dataset.classes)
    wanted = model.state_dict()
    try:
        found = safetensors.torch.load_file(path)
    except OSError as error:
        raise TopokitError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise FileFormatError(f"{path} is no safetensors file: {' '.join(str(error).split())}") from None
    for name, tensor in wanted.items():
        if name not in found:
            raise FileFormatError(f"{path} has no {name}: --weights needs all of a dense {config.model}")
        if found[name].shape != tensor.shape:
            shapes = " and ".join(str(tuple(one.shape)) for one in (found[name], tensor))
            raise FileFormatError(f"{path}: the shapes of {name} there and in {config.model} differ: {shapes}")
        if not torch.isfinite(found[name]).all():
            raise FileFormatError(f"{path}: {name} holds a number that is not finite")
    model.load_state_dict({name: found[name] for name in wanted})
    if topologies := as_sequence(wiring):
        sparsify(model, topologies)
    load_network_states(trainer.model, [model.state_dict() for _ in trainer.seeds])
