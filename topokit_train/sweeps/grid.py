"""A grid: a TOML file that says which runs there are to be.

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
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.config import TrainConfig
from topokit_train.pruning.config import PruneConfig
from topokit_train.seeds import parse_seeds
from topokit_train.sweeps._keys import require_known
from topokit_train.sweeps.planned import WHERE, Planned
from topokit_train.sweeps.wirings import DENSE, PRUNED, Pruned, Wiring, described, saved

COMMANDS: dict[str, type[TrainConfig]] = {"train": TrainConfig, "prune": PruneConfig}
ENTRY = ("label", "command", "tags", "topology", "each")
MOST_RUNS = 1_000_000

Axis = tuple[tuple[str, ...], Sequence[Any]]
"""Where the values of an axis go, such as ("topology", "density"), and the values."""


def read_grid(path: Path, where: Mapping[str, Any] | None = None) -> tuple[Planned, ...]:
    """The runs that a grid asks for, in its order; those that it asks for twice under one label once.

    Args:
        path: the TOML file; files that it names are looked for beside it.
        where: settings that say where runs are done: "data_dir", "device" and "threads".

    Raises:
        FileFormatError: it is no TOML, or holds no runs.
        InvalidSpecError: names the entry, the key and the nearest one that is known.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is no TOML: {error}") from None
    except OSError as error:
        raise TopokitError(f"cannot read {path}: {error.strerror}") from None
    return expand(table, path, where or {})


def expand(table: Mapping[str, Any], path: Path, where: Mapping[str, Any]) -> tuple[Planned, ...]:
    """The runs of a grid that is read already; else as `read_grid`."""
    require_known(table, ("defaults", "runs"), f"of {path}")
    entries = table.get("runs")
    if not isinstance(entries, list) or not entries:
        raise FileFormatError(f"{path} holds no runs: write [[runs]], and below it what is to be run")
    planned: dict[tuple[str, str], Planned] = {}
    by_label: dict[str, list[Planned]] = {}
    for number, entry in enumerate(entries, start=1):
        label = entry.get("label", f"runs-{number}")
        try:
            if label in by_label:
                raise InvalidSpecError("another entry has this label: give each its own")
            made = list(_runs(label, table.get("defaults", {}), entry, by_label, path.parent.resolve(), where))
        except TopokitError as error:
            raise type(error)(f"{path}, {label}: {error}") from None
        by_label[label] = made
        planned |= {(label, run.name): run for run in made}
    return tuple(planned.values())


def _runs(
    label: str,
    defaults: Mapping[str, Any],
    entry: Mapping[str, Any],
    before: Mapping[str, Sequence[Planned]],
    folder: Path,
    where: Mapping[str, Any],
) -> Iterator[Planned]:
    command = entry.get("command", "train")
    if command not in COMMANDS:
        raise InvalidSpecError(f"command must be one of {', '.join(COMMANDS)}, not {command!r}")
    kind = COMMANDS[command]
    names = [field.name for field in dataclasses.fields(kind) if field.name not in WHERE]
    require_known(entry, (*ENTRY, *names), "of a run")
    require_known(defaults, [field.name for field in dataclasses.fields(PruneConfig)], "of the defaults")
    given = {name: value for name, value in (defaults | entry).items() if name in names}
    tags = {str(key): str(value) for key, value in entry.get("tags", {}).items()}
    for values in _combinations(entry.get("each", {}), names):
        settings = _with(given | ({"topology": entry["topology"]} if "topology" in entry else {}), values)
        topology = settings.pop("topology", DENSE)
        if settings.get("weights") is not None:
            settings["weights"] = str(folder / settings["weights"])
        config = kind(**settings, **where)
        wirings = tuple(_wirings(topology, config.seed, before, folder))
        yield Planned(label=label, config=config, wirings=wirings, tags=tags, axes=_axes_text(values))


def _combinations(axes: Mapping[str, Any], names: Iterable[str]) -> Iterator[dict[tuple[str, ...], Any]]:
    """One value of each axis, in all combinations; the last axis changes fastest."""
    found = list(_axes(axes, ()))
    require_known((place[0] for place, _ in found), ("topology", *names), "of `each`")
    total = 1
    for place, values in found:
        total *= len(values)
        if not values:
            raise InvalidSpecError(f"each.{'.'.join(place)} has no values: give at least one")
    if total > MOST_RUNS:
        raise InvalidSpecError(f"`each` asks for {total:,} runs; the most is {MOST_RUNS:,}")
    places = [place for place, _ in found]
    for combination in product(*(values for _, values in found)):
        yield dict(zip(places, combination, strict=True))


def _axes(table: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[Axis]:
    for key, value in table.items():
        here = (*place, key)
        if isinstance(value, Mapping):
            yield from _axes(value, here)
        elif isinstance(value, str) and key == "seed":
            yield here, parse_seeds(value)
        elif isinstance(value, list):
            yield here, value
        else:
            raise InvalidSpecError(f"each.{'.'.join(here)} must be a list of values, not {value!r}")


def _with(settings: Mapping[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Settings with the values of axes put in their places; nothing that was given is changed."""
    made = dict(settings)
    for (first, *rest), value in values.items():
        if not rest:
            made[first] = value
            continue
        table = made.get(first)
        if not isinstance(table, Mapping):
            raise InvalidSpecError(f"each.{'.'.join((first, *rest))} needs a table {first} to put its values into")
        made[first] = _with(table, {tuple(rest): value})
    return made


def _axes_text(values: Mapping[tuple[str, ...], Any]) -> str:
    """The values of all axes but the seed, for people."""
    return ", ".join(f"{'.'.join(place)}={_text(value)}" for place, value in values.items() if place != ("seed",))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _wirings(topology: Any, seed: int, before: Mapping[str, Sequence[Planned]], folder: Path) -> Iterator[Wiring]:
    parts = topology if isinstance(topology, list) else [topology]
    if DENSE in parts:
        if len(parts) > 1:
            raise InvalidSpecError('topology "dense" is a model without topologies: name no other')
        return
    for part in parts:
        if isinstance(part, str):
            yield saved(folder / part)
        elif not isinstance(part, Mapping):
            raise InvalidSpecError(f'topology must be a table, the name of a file or "dense", not {part!r}')
        elif "pruned" in part:
            yield _pruned(part, seed, before)
        else:
            yield described(part, seed)


def _pruned(table: Mapping[str, Any], seed: int, before: Mapping[str, Sequence[Planned]]) -> Pruned:
    """The wiring that the run with this seed, of an entry further up, will leave."""
    require_known(table, PRUNED, "of a pruned topology")
    label, wanted = table["pruned"], table.get("seed", seed)
    pruning = {name for name, runs in before.items() if any(run.command == "prune" for run in runs)}
    if label not in pruning:
        raise InvalidSpecError(f"pruned must be the label of a pruning entry further up, not {label!r}")
    found = [run for run in before[label] if run.config.seed == wanted]
    if len(found) != 1:
        raise InvalidSpecError(f"{label} has {len(found)} runs of seed {wanted}; a pruned topology needs exactly one")
    config = found[0].config
    assert isinstance(config, PruneConfig)
    if table.get("sparsity") not in (config.to or ()):
        there = ", ".join(map(str, config.to or ())) or "none"
        raise InvalidSpecError(f"sparsity must be one that {label} saves ({there}), not {table.get('sparsity')!r}")
    return Pruned(found[0].name, float(table["sparsity"]))
