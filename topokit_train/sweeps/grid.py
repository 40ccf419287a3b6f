"""A grid: a TOML file that describes runs. docs/sweeps.md explains it.

[defaults]                      # of all entries; any setting of `topokit train` (or of `topokit prune`)
dataset = "mnist"

[[runs]]
label = "radix"
topology = { radices = [[10, 10]], kron = [8, 3, 1], crop = [784, 300, 100] }
each.seed = "0-4"               # the axes: one run for each combination of their values
each.recipe = ["modern", "paper"]
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from topokit.descriptions import DENSE, Description, describe, split_pattern
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError, reading
from topokit.fields import MAX_DIGITS, path_of
from topokit.layered import Layered
from topokit_train.config import TrainConfig
from topokit_train.datasets import OWN, beside, load_dataset, split_name
from topokit_train.described import as_mapping
from topokit_train.functions import located
from topokit_train.pruning.config import PruneConfig
from topokit_train.sweeps.axes import EACH, SEED, axes_of, combinations, plain, put, text_of
from topokit_train.sweeps.columns import COLUMNS
from topokit_train.sweeps.planned import CODE, WHERE, Planned
from topokit_train.sweeps.planned_topologies import (
    ByPattern,
    PlannedTopology,
    Pruned,
    planned_topology,
    read_description,
    require_known,
)

COMMANDS: dict[str, type[TrainConfig]] = {"train": TrainConfig, "prune": PruneConfig}
ENTRY = ("label", "command", "tags", "topology", EACH)


def read_grid(
    path: str | PathLike[str] | Mapping[str, Any], where: Mapping[str, Any] | None = None
) -> tuple[Planned, ...]:
    """Return the runs of a grid in its order; equal runs of one entry once.

    Args:
        path: the TOML file; the files that it names are in its folder. They are read, because their contents are part
            of the runs' names. Or a dictionary of the same contents, whose files are in the working directory.
        where: settings that do not change what a run computes: "data_dir", "device" and "threads".

    Raises:
        FileFormatError: it is not TOML, or contains no runs.
        InvalidSpecError: names the entry, the key and the nearest known key.
        TopokitError: a file is missing.
    """
    if isinstance(path, Mapping):
        table, path = _as_toml(path), Path("the grid")
    else:
        path = path_of(path, "a grid's file")
        table = _read(path)
    require_known(table, ("defaults", "runs"), f"of {path}")
    entries, defaults = table.get("runs"), table.get("defaults", {})
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise FileFormatError(
            f'{path} contains no runs: write [[runs]], and its settings below; in Python {{"runs": [{{...}}]}}'
        )
    reader = _Reader(defaults, path.parent.resolve(), where or {})
    try:
        for number, entry in enumerate(entries, start=1):
            place = entry.get("label", f"runs-{number}")
            reader.add(place, entry)
        place = "defaults"
        _require_no_parts_of_entries(reader.defaults)
        _require_settings(reader.defaults, reader.used, "of the defaults")
    except TopokitError as error:
        raise type(error)(f"{path}, {place}: {error.args[0]}") from None
    return tuple(run for runs in reader.runs.values() for run in runs)


def _read(path: Path) -> dict[str, Any]:
    try:
        with reading(path):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not TOML: {error}; numbers are like 0.5, not .5, texts in quotes") from None
    except ValueError:
        raise FileFormatError(f"{path} contains an integer of more than {MAX_DIGITS:,} digits") from None


def _as_toml(value: Any) -> Any:
    """A value of Python as TOML would give it: lists, texts and plain numbers; the keys are texts."""
    if callable(value):
        raise InvalidSpecError(f"a grid names functions and classes, as FILE.py:NAME, and does not take {value!r}")
    if isinstance(value, Mapping):
        return {str(key): _as_toml(one) for key, one in value.items()}
    if isinstance(value, Layered):
        return describe(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PathLike):
        return os.fspath(value)
    return value if isinstance(value, str) or not isinstance(value, Iterable) else [_as_toml(one) for one in value]


class _Reader:
    """Reads the runs of each entry, which depend on the defaults and on the entries above it.

    Args:
        defaults: settings of all entries.
        folder: the folder of the files that they name.
        where: settings that do not change what a run computes.

    Attributes:
        runs: the runs of each label.
        used: the defaults that an entry can use.
    """

    def __init__(self, defaults: Any, folder: Path, where: Mapping[str, Any]):
        self.defaults = _table(defaults, "defaults")
        self.folder, self.where = folder, where
        self.runs: dict[str, list[Planned]] = {}
        self.used: list[str] = []
        self._checksums: dict[str, str] = {}

    def add(self, label: Any, entry: Mapping[str, Any]) -> None:
        """Read the runs of one more entry."""
        if not isinstance(label, str):
            raise InvalidSpecError(f"a label must be a text, not {label!r}")
        if label in self.runs:
            raise InvalidSpecError("another entry has this label: give each its own")
        self.runs[label] = list({run.name: run for run in self._planned(label, entry)}.values())

    def _planned(self, label: str, entry: Mapping[str, Any]) -> Iterator[Planned]:
        command = entry.get("command", "train")
        if not isinstance(command, str) or command not in COMMANDS:
            raise InvalidSpecError(f"command must be one of {', '.join(COMMANDS)}, not {command!r}")
        kind = COMMANDS[command]
        names = [field.name for field in dataclasses.fields(kind) if field.name not in WHERE]
        usable = names if kind is PruneConfig else [*names, "topology"]
        self.used += usable
        _require_settings(entry, (*ENTRY, *names), f"of runs to {command}")
        each = _table(entry.get(EACH, {}), EACH)
        _require_settings(each, ("topology", *names), f"of {EACH}")
        axes = list(axes_of(each))
        given = {"topology": DENSE} | {name: value for name, value in self.defaults.items() if name in usable}
        given |= {name: value for name, value in entry.items() if name in (*names, "topology")}
        tags = _tags(_table(entry.get("tags", {}), "tags"))
        for values in combinations(axes):
            settings = put(given, values)
            topology = settings.pop("topology")
            if kind is PruneConfig and topology != DENSE:
                raise InvalidSpecError("a pruning run starts from a dense model: omit topology")
            config = self._config(kind, settings)
            planned = tuple(self._topologies(topology, config))
            data = self._checksum(config.dataset)
            yield Planned(label=label, config=config, topologies=planned, tags=tags, axes=text_of(values), data=data)

    def _checksum(self, dataset: str) -> str | None:
        """The checksum of a user's dataset, whose name is a place; read once. None for a published dataset."""
        if split_name(dataset)[0] not in OWN:
            return None
        if dataset not in self._checksums:
            self._checksums[dataset] = load_dataset(dataset, self.where.get("data_dir")).checksum()
        return self._checksums[dataset]

    def _config(self, kind: type[TrainConfig], settings: dict[str, Any]) -> TrainConfig:
        if isinstance(seed := settings.get(SEED), str):
            raise InvalidSpecError(f'{SEED} is one number: for a run of each seed, give {EACH}.{SEED} = "{seed}"')
        for name, place in {"dataset": beside, **dict.fromkeys(CODE, located)}.items():
            if isinstance(settings.get(name), str):
                settings[name] = place(settings[name], self.folder)
        if isinstance(settings.get("weights"), str):
            settings["weights"] = str(self.folder / settings["weights"])
            if not Path(settings["weights"]).exists():
                raise InvalidSpecError(f"there is no file of weights {settings['weights']}")
        try:
            return kind(**settings, **self.where)
        except TypeError as error:
            raise InvalidSpecError(f"a setting has a value of the wrong kind: {error}") from None

    def _topologies(self, topology: Any, config: TrainConfig) -> Iterator[PlannedTopology]:
        parts = topology if isinstance(topology, list) else [topology]
        if not parts:
            raise InvalidSpecError(f'topology is an empty list: write "{DENSE}" for a model without topologies')
        if DENSE in parts:
            if len(parts) > 1:
                raise InvalidSpecError(f'topology "{DENSE}" is a model without topologies: name no other')
            return
        pairs = [split_pattern(part, self.folder) if isinstance(part, str) else (None, part) for part in parts]
        if any(pattern is not None for pattern, _ in pairs):
            yield ByPattern(as_mapping(pairs, str(self.folder), seed=config.seed), config)
            return
        for part in parts:
            yield planned_topology(read_description(part, self.folder), config.seed, self._pruned)

    def _pruned(self, wanted: Description) -> Pruned:
        """The topology that the pruning run with this seed, in an entry further up, will save."""
        label = wanted.name
        pruning = [name for name, runs in self.runs.items() if runs[0].command == "prune"]
        if label not in pruning:
            known = f"there are {', '.join(pruning)}" if pruning else "there is none"
            raise InvalidSpecError(f"pruned must be the label of a pruning entry further up ({known}), not {label!r}")
        found = [run for run in self.runs[label] if run.config.seed == wanted.seed]
        if len(found) != 1:
            raise InvalidSpecError(
                f"a pruned topology needs exactly one run of {label} with seed {wanted.seed}, but there are "
                f"{len(found)}: give the entry other seeds, or divide it"
            )
        config = found[0].config
        assert isinstance(config, PruneConfig)  # the label is in `pruning`
        given = wanted.options.get("sparsity")
        sparsity = float(given[0]) if isinstance(given, tuple) and len(given) == 1 else given
        if sparsity not in (config.to or ()):
            there = ", ".join(map(str, config.to or ())) or "none"
            raise InvalidSpecError(f"sparsity must be one that {label} saves ({there}), not {sparsity!r}")
        return Pruned(found[0].name, float(sparsity))


def _require_settings(given: Iterable[str], known: Sequence[str], whose: str) -> None:
    given = list(given)
    for name in WHERE:
        if name in given:
            raise InvalidSpecError(f"{name} does not change what a run computes: give `{name}` to the sweep instead")
    require_known(given, known, whose)


def _require_no_parts_of_entries(defaults: Mapping[str, Any]) -> None:
    for name in ENTRY:
        if name in defaults and name != "topology":
            what = f"axes ({EACH}.) belong" if name == EACH else f"{name} belongs"
            raise InvalidSpecError(f"{what} in [[runs]], not in [defaults]: give each entry its own")


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidSpecError(f"{name} must be a table, not {value!r}")
    return value


def _tags(table: Mapping[str, Any]) -> dict[str, str]:
    for name in table:
        if name in COLUMNS:
            raise InvalidSpecError(f"the tables have a column {name} already: give the tag another name")
    return {name: plain(value) for name, value in table.items()}
