"""Planned: a run of a sweep, named by a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from topokit.errors import InvalidSpecError
from topokit_train.config import FUNCTIONS, TrainConfig
from topokit_train.datasets import load_dataset, split_name
from topokit_train.functions import divided, is_function, short_name, version_of
from topokit_train.models import STACKED
from topokit_train.pruning.config import PruneConfig
from topokit_train.sweeps.planned_topologies import PlannedTopology

SCHEMA = 1
NAME = 16  # hexadecimal digits of a run's name: two of 10 million runs share one with a probability of 10**-6
WHERE = ("data_dir", "device", "threads")  # settings that do not change what a run computes
CODE = ("model", "method", *FUNCTIONS)  # settings that may name code of the user

NAMED = frozenset(
    (
        *("model", "dataset", "recipe", "weights", "epochs", "batch_size", "optimizer", "momentum", "lr", "schedule"),
        *("init", "l2", "relu_logits", "shuffle", "pixels", "augment", "validation", "seed", "order_seed", "kernel"),
        *("method", "to", "scope", "keep", "begin", "end", "every", "threshold", "biases", "rewind"),
    )
)
"""Settings of 0.1.0, which are always in a run's name. A later setting is in it only if it is not the default, so that
the names of older runs do not change. Add none here."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run of a grid.

    Args:
        label: of its entry in the grid.
        config: its settings; a PruneConfig for a pruning run.
        topologies: none for a dense model.
        tags: of the grid's entry; columns of the tables without an effect on the run.
        axes: the values of the entry's axes other than the seed, for people: "recipe=paper, lr=0.1".
        data: checksum of the dataset, if it is one of the user's own.
    """

    label: str
    config: TrainConfig
    topologies: tuple[PlannedTopology, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    axes: str = ""
    data: str | None = None

    @property
    def command(self) -> str:
        """The command for such a run: train or prune."""
        return "prune" if isinstance(self.config, PruneConfig) else "train"

    @property
    def about(self) -> str:
        """A description for people: "radix, recipe=paper, seed 0"."""
        return about(self.label, self.axes, self.config.seed)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that the result depends on, JSON-able; two runs are the same if their identities are equal."""
        named = NAMED if self.command == "prune" else NAMED - {"method"}  # 0.1.0 had methods of pruning only
        settings = {
            name: value
            for name, value in self.config.to_json().items()
            if name not in WHERE and (name in named or not self.config.is_default(name))
        }
        if self.config.weights is not None:
            settings["weights"] = hashlib.sha256(Path(self.config.weights).read_bytes()).hexdigest()
        for name in CODE:
            text = str(settings.get(name))
            code, _ = divided(text)
            if is_function(code):
                settings[name] = f"{short_name(text)} {version_of(code, name)}"
        if self.data is not None:
            settings["dataset"] = f"{split_name(self.config.dataset)[0]}:{self.data}"
        return {
            "schema": SCHEMA,
            "command": self.command,
            "settings": settings,
            "topologies": [one.identity for one in self.topologies],
        }

    @cached_property
    def name(self) -> str:
        """The run's name: the beginning of the SHA-256 of its identity."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:NAME]

    def require_data(self) -> None:
        """Compare the data with those that the name was computed from.

        Raises:
            InvalidSpecError: the dataset's files have changed.
        """
        name = self.config.dataset
        if self.data is not None and load_dataset(name, self.config.data_dir).checksum() != self.data:
            raise InvalidSpecError(f"{name} has changed since the sweep started: restore it")

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the runs that must finish before it can start."""
        return tuple(one.pruned.run for one in self.topologies if one.pruned)

    @cached_property
    def stack(self) -> str:
        """Equal for runs that can be trained as one stack; runs of models with convolutions never are."""
        if self.config.model not in STACKED or (self.command == "train" and self.config.method):
            return self.name
        identity = dict(self.identity, settings=self.identity["settings"] | {"seed": None})
        return json.dumps(identity, sort_keys=True)


def about(label: str, axes: str, seed: int) -> str:
    """Describe a run of a grid for people.

    >>> about("radix", "recipe=paper", 0)
    'radix, recipe=paper, seed 0'
    """
    return ", ".join([label, *([axes] if axes else []), f"seed {seed}"])
