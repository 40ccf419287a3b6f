"""Checkpoints: all that is needed to go on with a run, in one safetensors file. Nothing is ever unpickled.

Tensors: the weights under their state_dict names, a sparse layer's as one number per edge in canonical order;
`optimizer.<parameter>.<name>`, the optimizer's state, ordered alike; `layer.<i>.indptr` and `layer.<i>.indices`,
the topology as in a topology file, so that `topokit.load` reads it out of here. Metadata: the topology's, `state`
(JSON) and `sha256`, over all the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from topokit.errors import FileFormatError
from topokit.formats import as_tensors, replacing
from topokit.layered import Layered
from topokit_train.config import TrainConfig
from topokit_train.layers import SparseLinear
from topokit_train.training import Metrics, Trainer

Arrays = dict[str, NDArray[Any]]

KIND = {"topokit.kind": "checkpoint", "topokit.schema": "1"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a run was started with; it is continued with the same.

    Args:
        config: the settings.
        data: checksum of the dataset.
        device: where it is trained.
        kernels: of each sparse layer; "auto" or one for all of them before the model is made.
        threads: of the CPU; another number adds in another order and gives other last bits.
        torch: torch's version.
    """

    config: TrainConfig
    data: str
    device: str
    kernels: str | dict[str, str]
    threads: int
    torch: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after one of its epochs.

    Args:
        origin: what it was started with.
        fingerprint: of the topology; None for a dense model.
        metrics: of each epoch so far.
        scheduler: the state of the learning rate's schedule.
        tensors: the weights and the optimizer's state.
    """

    origin: Origin
    fingerprint: str | None
    metrics: tuple[Metrics, ...]
    scheduler: dict[str, Any]
    tensors: Arrays


def save(path: Path, trainer: Trainer, origin: Origin, topology: Layered | None) -> None:
    """Write a checkpoint; what stood at `path` is replaced when all of it is on the disk.

    Raises:
        TopokitError: the disk is full, or the folder may not be written to.
    """
    tensors, metadata = _topology_tensors(topology)
    tensors |= {name: tensor.cpu().numpy() for name, tensor in trainer.model.state_dict().items()}
    for name, parameter, sparse in _parameters(trainer.model):
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            canonical = sparse.to_canonical(value) if sparse and value.ndim else value  # a step counter has no order
            tensors[f"optimizer.{name}.{key}"] = canonical.cpu().numpy()
    state = {
        "origin": dataclasses.asdict(origin),
        "metrics": [dataclasses.asdict(metrics) for metrics in trainer.history],
        "scheduler": trainer.scheduler.state_dict(),
    }
    metadata["state"] = json.dumps(state, allow_nan=False)
    metadata["sha256"] = _digest(tensors, metadata)
    with replacing(path, force=True) as temporary:
        temporary.write_bytes(safetensors.numpy.save(tensors, metadata))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        FileFormatError: damaged, of a later release, or no checkpoint.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        if {key: metadata.get(key) for key in KIND} != KIND:
            raise FileFormatError(f"{path} is no checkpoint, or one of a later release of topokit")
        if metadata.pop("sha256", None) != _digest(tensors, metadata):
            raise ValueError("its contents do not match their SHA-256")
        state = json.loads(metadata["state"])
        origin = state["origin"]
        return Checkpoint(
            origin=Origin(**{**origin, "config": TrainConfig.from_json(origin["config"])}),
            fingerprint=metadata.get("fingerprint"),
            metrics=tuple(Metrics(**metrics) for metrics in state["metrics"]),
            scheduler=state["scheduler"],
            tensors={name: tensor for name, tensor in tensors.items() if not name.startswith("layer.")},
        )
    except FileFormatError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            f"{path} is damaged ({' '.join(str(error).split())}): start the run again with --force"
        ) from None


def restore(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Put a fresh trainer of the same origin and topology where the checkpoint was taken."""
    tensors = {name: torch.from_numpy(array) for name, array in checkpoint.tensors.items()}
    trainer.model.load_state_dict({name: t for name, t in tensors.items() if not name.startswith("optimizer.")})
    state = {}
    for index, (name, _, sparse) in enumerate(_parameters(trainer.model)):
        prefix = f"optimizer.{name}."
        found = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        if found:  # before the first step there is none
            state[index] = {key: sparse.from_canonical(t) if sparse and t.ndim else t for key, t in found.items()}
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.scheduler.load_state_dict(checkpoint.scheduler)
    for group, lr in zip(groups, trainer.scheduler.get_last_lr(), strict=True):
        group["lr"] = lr
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    trainer.history = list(checkpoint.metrics)


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, SparseLinear | None]]:
    """Name, parameter, and the sparse layer whose edges it numbers, if any, in the order of model.parameters()."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            sparse = isinstance(module, SparseLinear) and parameter is module.values
            yield name, parameter, module if sparse else None


def _topology_tensors(topology: Layered | None) -> tuple[Arrays, dict[str, str]]:
    if topology is None:
        return {}, dict(KIND)
    return as_tensors(topology)


def _digest(tensors: Arrays, metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
