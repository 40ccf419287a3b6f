"""Checkpoints: all that is needed to continue a run, in one safetensors file. Nothing is ever unpickled.

Tensors: the weights under their state_dict names, a sparse layer's as one number per edge in canonical order;
`optimizer.<parameter>.<name>`, the optimizer's state, ordered alike; `layer.<i>.indptr` and `layer.<i>.indices`,
the topology as in a topology file, so that `topokit.load` reads it out of here. Several topologies have their tensors
behind `topology.<number>.`, and `topokit.formats.load_all` reads them. They are the current ones: a method may have
changed edges since the start. `method.<name>`: the arrays of the method's state, such as masks. Metadata: the
topology's, or `topologies` (JSON, what each one's would be), `state` (JSON, also the shapes of sparse convolutions) and
`sha256`, over all the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats import as_tensors, replacing
from topokit.layered import Layered
from topokit_train.config import TrainConfig
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.stacks import joined, load_network_states, network_states, parameters_of, split
from topokit_train.metrics import Metrics
from topokit_train.pruning.config import config_from_json
from topokit_train.pruning.results import metrics_from_json
from topokit_train.training import Trainer

Arrays = dict[str, NDArray[Any]]

OPTIMIZER, METHOD = "optimizer.", "method."
PRUNING, MASK = re.compile(r"^pruning\."), "method.mask."  # the names in 0.1.0, and those of today
TOPOLOGY = re.compile(r"(topology\.\d+\.)?layer\.\d+\.(indptr|indices)$")
KIND = {"topokit.kind": "checkpoint", "topokit.schema": "1"}


class DamagedCheckpointError(FileFormatError):
    """A checkpoint whose contents are not what was written."""


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
        processes: that trained it together; another number, too, adds in another order.
        versions: of the user's code: setting -> the SHA-256 of a file, or the version of a package.
    """

    config: TrainConfig
    data: str
    device: str
    kernels: str | dict[str, str]
    threads: int
    torch: str
    processes: int = 1
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after one of its epochs.

    Args:
        origin: what it was started with.
        fingerprints: of the topologies that the run was started with; none for a dense model.
        rewired: whether the topologies in the file are others by now.
        metrics: of each epoch so far.
        scheduler: the state of the learning rate's schedule.
        tensors: the weights, the optimizer's state and the arrays of the method's.
        method: what else the method's state holds.
    """

    origin: Origin
    fingerprints: tuple[str, ...]
    metrics: tuple[Metrics, ...]
    scheduler: dict[str, Any]
    tensors: Arrays
    rewired: bool = False
    method: dict[str, Any] = dataclasses.field(default_factory=dict)


def save(paths: Sequence[Path], trainer: Trainer, origin: Origin, fingerprints: Sequence[str] = ()) -> None:
    """Write a checkpoint of each network, as if it had been trained alone.

    What stood at the paths is replaced when all new files are written, so that stacked networks stay together: if the
    process is killed meanwhile, they go on from the same epoch.

    Args:
        paths: one for each of the trainer's seeds.
        trainer: the networks, their optimizer and their method.
        origin: what they were started with, whatever its seed.
        fingerprints: of the topologies that they were started with; the trainer's own if omitted.

    Raises:
        TopokitError: the disk is full, or the folder may not be written to.
    """
    pattern, described = as_tensors(*trainer.topologies) if trainer.topologies else ({}, dict(KIND))
    config = origin.config.to_json()
    modules = trainer.model.named_modules()
    shapes = {name: list(one.dense_shape) for name, one in modules if isinstance(one, SparseConv2d)}
    parts = zip(
        paths,
        trainer.seeds,
        trainer.histories,
        network_states(trainer.model),
        _optimizer_states(trainer),
        trainer.method.state_dicts(len(trainer.seeds)),
        strict=True,
    )
    with ExitStack() as replaced:
        for path, seed, history, weights, moments, method in parts:
            arrays, rest = _divided(method)
            tensors = pattern | {name: tensor.cpu().numpy() for name, tensor in (weights | moments).items()} | arrays
            state = {
                "origin": {**vars(origin), "config": config | {"seed": seed}},
                "metrics": [vars(metrics) for metrics in history],  # asdict copies each value: slow after many epochs
                "scheduler": trainer.scheduler.state_dict(),
                **({"method": rest} if rest else {}),
                **({"shapes": shapes} if shapes else {}),
                **({"started": list(fingerprints)} if trainer.rewired else {}),
            }
            _write(replaced.enter_context(replacing(path, force=True)), tensors, described, state)


def save_start(path: Path, config: TrainConfig, topologies: Sequence[Layered], versions: Mapping[str, str]) -> None:
    """Write what a run is started with, before its data are read: a checkpoint without weights.

    Args:
        path: the file.
        config: the settings.
        topologies: that the run starts with.
        versions: of the user's code.
    """
    tensors, described = as_tensors(*topologies) if topologies else ({}, dict(KIND))
    unknown = {"data": "", "device": "", "kernels": "", "threads": 0, "torch": ""}
    origin = {"config": config.to_json(), "versions": dict(versions), **unknown}
    with replacing(path, force=True) as temporary:
        _write(temporary, tensors, described, {"origin": origin, "metrics": [], "scheduler": {}})


def _write(path: Path, tensors: Arrays, described: dict[str, str], state: dict[str, Any]) -> None:
    metadata = described | {"state": json.dumps(state, allow_nan=False)}
    metadata["sha256"] = _digest(tensors, metadata)
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}  # others it saves wrongly
    path.write_bytes(safetensors.numpy.save(contiguous, metadata))


def _divided(state: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """A method's state: its arrays, by the names that they have in the file, and what JSON holds."""
    if not isinstance(state, dict):
        raise InvalidSpecError(f"state_dict of a method must return a dict, not {type(state).__name__}")
    arrays = {
        f"{METHOD}{name}": value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        for name, value in state.items()
        if isinstance(value, Tensor | np.ndarray)
    }
    return arrays, {name: value for name, value in state.items() if f"{METHOD}{name}" not in arrays}


def _optimizer_states(trainer: Trainer) -> list[dict[str, Tensor]]:
    states: list[dict[str, Tensor]] = [{} for _ in trainer.seeds]
    for name, parameter, module in parameters_of(trainer.model):
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            for state, part in zip(states, split(module, name, value), strict=True):
                state[f"{OPTIMIZER}{name}.{key}"] = part
    return states


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DamagedCheckpointError: its contents are not what was written.
        FileFormatError: of a later release, or no checkpoint.
    """
    kind: type[FileFormatError] = DamagedCheckpointError
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        if {key: metadata.get(key) for key in KIND} != KIND:
            raise FileFormatError(f"{path} is no checkpoint, or one of a later release of topokit")
        if metadata.pop("sha256", None) != _digest(tensors, metadata):
            raise ValueError("its contents do not match their SHA-256")
        kind = FileFormatError
        state = json.loads(metadata["state"])
        origin = state["origin"]
        return Checkpoint(
            origin=Origin(**{**origin, "config": config_from_json(origin["config"])}),
            fingerprints=tuple(state["started"]) if "started" in state else _fingerprints(metadata),
            metrics=tuple(metrics_from_json(metrics) for metrics in state["metrics"]),
            scheduler=state["scheduler"],
            tensors={
                PRUNING.sub(f"{METHOD}mask.", name): tensors[name] for name in tensors if not TOPOLOGY.match(name)
            },
            rewired="started" in state,
            method=state.get("method", {"topologies": state["pruned"]} if "pruned" in state else {}),
        )
    except FileFormatError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise kind(
            f"{path} is damaged ({reason}): start the run again with `force`, or a sweep's with `retry`"
        ) from None


def weights_in(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state_dict of a checkpoint's network."""
    return {
        name: torch.from_numpy(array)
        for name, array in checkpoint.tensors.items()
        if not name.startswith((OPTIMIZER, METHOD))
    }


def restore(checkpoints: Sequence[Checkpoint], trainer: Trainer) -> None:
    """Put a fresh trainer of the same origin and topology where the checkpoints of its networks were taken."""
    tensors = [{name: torch.from_numpy(array) for name, array in taken.tensors.items()} for taken in checkpoints]
    load_network_states(trainer.model, [weights_in(taken) for taken in checkpoints])
    state = {}
    members = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    numbers = {id(parameter): number for number, parameter in enumerate(members)}  # as the optimizer counts them
    for name, parameter, module in parameters_of(trainer.model):
        prefix = f"{OPTIMIZER}{name}."
        keys = [key.removeprefix(prefix) for key in tensors[0] if key.startswith(prefix)]
        if keys:  # before the first step there is none
            values = {key: joined(module, name, [one[prefix + key] for one in tensors]) for key in keys}
            state[numbers[id(parameter)]] = values
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.scheduler.load_state_dict(checkpoints[0].scheduler)
    for group, lr in zip(groups, trainer.scheduler.get_last_lr(), strict=True):
        group["lr"] = lr
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    trainer.histories = tuple(list(taken.metrics) for taken in checkpoints)
    trainer.steps_done = trainer.epochs_done * trainer.steps_per_epoch
    trainer.rewired = checkpoints[0].rewired
    trainer.method.load_state_dicts([_method_state(taken) for taken in checkpoints])


def _method_state(checkpoint: Checkpoint) -> dict[str, Any]:
    arrays = {name.removeprefix(METHOD): a for name, a in checkpoint.tensors.items() if name.startswith(METHOD)}
    return checkpoint.method | arrays


def _fingerprints(metadata: dict[str, str]) -> tuple[str, ...]:
    if "topologies" in metadata:
        return tuple(about["fingerprint"] for about in json.loads(metadata["topologies"]))
    return (metadata["fingerprint"],) if "fingerprint" in metadata else ()


def _digest(tensors: Arrays, metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
