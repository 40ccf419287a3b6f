"""Which runs a folder has, and checks that a run can be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from topokit.errors import InvalidSpecError
from topokit_train.config import FUNCTIONS, TrainConfig
from topokit_train.datasets import Dataset, split_name
from topokit_train.functions import short_name
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs.checkpoints import Checkpoint, Origin, load
from topokit_train.runs.folder import begun
from topokit_train.runs.progress import say

SEED = "seed"  # beginning of the folder name of one of several runs; the number of the seed follows


def recorded_seeds(run: Path | str) -> list[int]:
    """Return the seeds of the runs that `train_seeds` wrote in a folder."""
    names = (path.name.removeprefix(SEED) for path in Path(run).glob(f"{SEED}*"))
    return sorted(int(name) for name in names if name.isdecimal())


def recorded(run: Path | str) -> TrainConfig | None:
    """Return the settings at the start of the run in a folder; None if the folder has no run.

    Raises:
        FileFormatError: a damaged checkpoint.
    """
    path = begun(Path(run))
    return load(path).origin.config if path.exists() else None


def require_same_settings(
    checkpoint: Checkpoint,
    config: TrainConfig,
    fingerprints: Sequence[str],
    versions: Mapping[str, str],
    path: Path,
) -> None:
    """Refuse to continue with other settings, code or topologies than a run was started with.

    Raises:
        InvalidSpecError: names what differs.
    """
    given, started = (_placeless(one) for one in (config, checkpoint.origin.config))
    if type(config) is not type(checkpoint.origin.config):
        kind, other = ("prune", "train") if isinstance(config, PruneConfig) else ("train", "prune")
        raise InvalidSpecError(
            f"the run in {path} was started by topokit {other}, not {kind}: continue it with topokit {other}, or "
            "choose another `run`"
        )
    for name in given:  # in their order: what others depend on comes before them
        if given[name] != started[name]:
            raise InvalidSpecError(
                f"`{name}` is {given[name]}, but the run in {path} was started with {started[name]}: "
                "give the same, or choose another `run`"
            )
    for name, version in versions.items():
        if checkpoint.origin.versions.get(name, version) != version:
            raise InvalidSpecError(
                f"`{name}` {getattr(config, name)} has changed since the run in {path} was started: restore it, or "
                "choose another `run`"
            )
    if checkpoint.fingerprints != tuple(fingerprints):
        raise InvalidSpecError(
            f"the run in {path} was started with another topology: give the same, or choose another `run`"
        )


def _placeless(config: TrainConfig) -> dict[str, Any]:
    """The settings without where data and code lie: their contents are compared."""
    settings = config.to_json() | {"dataset": split_name(config.dataset)[0]}
    code = ("model", "method", *FUNCTIONS)
    settings |= {name: short_name(settings[name]) for name in code if settings.get(name) is not None}
    del settings["data_dir"]
    return settings


def require_same_data(origin: Origin, dataset: Dataset, path: Path) -> None:
    """Refuse to continue with other data; print a warning about another release of torch.

    Raises:
        InvalidSpecError: the data differ.
    """
    if dataset.checksum() != origin.data:
        raise InvalidSpecError(
            f"the dataset {dataset.name} has changed since the run in {path} was started: restore it, or "
            "choose another `run`"
        )
    if origin.torch != torch.__version__:
        say(f"started with torch {origin.torch}, going on with {torch.__version__}: the last bits may differ")
