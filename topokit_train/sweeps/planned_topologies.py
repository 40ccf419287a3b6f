"""PlannedTopology: a topology of a planned run, from a description, a file or a pruning run of the same sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from topokit._registry import nearest
from topokit.descriptions import Description, described, parse
from topokit.descriptions.description import AROUND, DENSE
from topokit.descriptions.parsing import declared_of
from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.placement.filling import named
from topokit.placement.names import matches
from topokit.spec import slug_of
from topokit.topologies import fingerprint
from topokit_train.config import TrainConfig
from topokit_train.described import Mapped, parameters_of
from topokit_train.models import MODELS
from topokit_train.models.networks import weights_on_images
from topokit_train.pruning.config import file_name


@dataclass(frozen=True)
class Described:
    """A topology that a description describes, or several in one file.

    Args:
        description: with the run's seed.

    Attributes:
        fingerprints: of its topologies, if it needs a file, which is read here; otherwise None.
    """

    description: Description
    fingerprints: tuple[str, ...] | None = field(init=False)
    pruned: ClassVar[None] = None

    def __post_init__(self) -> None:
        found = tuple(map(fingerprint, self.description.open_all())) if self.description.outside else None
        object.__setattr__(self, "fingerprints", found)

    @cached_property
    def identity(self) -> dict[str, Any]:
        if self.fingerprints is not None:
            return {"fingerprints": list(self.fingerprints)}
        recipe = self.description.open().recipe
        assert recipe is not None  # nothing in it is from a file
        return {"recipe": dict(recipe)}

    @property
    def title(self) -> str:
        if self.fingerprints is None:
            return slug_of(self.description.open())
        return Path(self.description.name).name if self.description.is_file else str(self.description)

    def open(self, _runs: Path) -> tuple[Layered, ...]:
        nets = self.description.open_all()
        if self.fingerprints is not None and tuple(map(fingerprint, nets)) != self.fingerprints:
            raise InvalidSpecError(f"{self.description} has changed since the sweep started: restore it")
        return nets


@dataclass(frozen=True)
class ByPattern:
    """Topologies for the parameters that match patterns.

    Args:
        mapped: the descriptions by their patterns, with the run's seed.
        config: the run's settings; its model and dataset determine the parameters.

    Attributes:
        files: the topologies that need a file, which is read here, by their patterns.

    Raises:
        InvalidSpecError: a pattern matches no weight of a model of topokit for images. The run checks other models.
    """

    mapped: Mapped
    config: TrainConfig
    files: Mapping[str, Described] = field(init=False)
    pruned: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.config.model in MODELS and (weights := weights_on_images(self.config.model)):
            for pattern in self.mapped:
                matches(pattern, weights)
        files = {pattern: Described(one) for pattern, one in self.mapped.items() if one.outside}
        object.__setattr__(self, "files", files)

    @property
    def identity(self) -> dict[str, Any]:
        described: dict[str, Any] = {pattern: str(one) for pattern, one in self.mapped.items()}
        described |= {pattern: file.fingerprints for pattern, file in self.files.items()}
        return {"parameters": [[pattern, one] for pattern, one in described.items()]}

    @property
    def title(self) -> str:
        return ", ".join(f"{pattern}: {one}" for pattern, one in self.mapped.items())

    def open(self, runs: Path) -> tuple[Layered, ...]:
        for file in self.files.values():
            file.open(runs)  # compares it with the one that was read first
        return named(self.mapped, parameters_of(self.config))


@dataclass(frozen=True)
class Pruned:
    """The topology that a pruning run of the same sweep saves at one of its sparsities."""

    run: str
    sparsity: float

    @property
    def identity(self) -> dict[str, Any]:
        return {"pruned": self.run, "sparsity": self.sparsity}

    @property
    def title(self) -> str:
        return f"pruned-{self.sparsity}"

    @property
    def pruned(self) -> Pruned:
        return self

    def open(self, runs: Path) -> tuple[Layered, ...]:
        return load_all(runs / self.run / file_name(self.sparsity))


@dataclass(frozen=True)
class RandomEquivalent:
    """Random equivalents of topologies that have no recipe."""

    of: PlannedTopology
    family: str
    seed: int

    @property
    def identity(self) -> dict[str, Any]:
        return {"twin": self.family, "of": self.of.identity, "seed": self.seed}

    @property
    def title(self) -> str:
        return f"{self.family}-like-{self.of.title}-seed-{self.seed}"

    @property
    def pruned(self) -> Pruned | None:
        return self.of.pruned

    def open(self, runs: Path) -> tuple[Layered, ...]:
        return tuple(FAMILIES[self.family].equivalent_to(net, self.seed) for net in self.of.open(runs))


PlannedTopology: TypeAlias = Described | ByPattern | Pruned | RandomEquivalent
"""A topology of a planned run; several if its file or its patterns describe several.

Each class has `identity`, its part of the run's hash, which is JSON-able and equal for equal edges; `title`, a short
text for tables; `pruned`, the topology of a pruning run that it is or depends on, if any; and `open(runs)`, which
returns the topologies, given the folder of the sweep's runs, and raises a TopokitError if a file cannot be read or has
changed since the sweep started.
"""


def require_known(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse a key that nothing reads.

    Args:
        given: the keys in the file.
        known: the allowed keys.
        where: the part of the file, for the message.

    Raises:
        InvalidSpecError: names the first unknown key, and the nearest known one or all of them.
    """
    allowed = list(dict.fromkeys(known))
    for key in given:
        if key not in allowed:
            raise InvalidSpecError(f"no key {where} is named {key!r}: {nearest(key, allowed)}")


def read_description(part: Any, folder: Path) -> Description:
    """Read a topology of a grid: a text or a table.

    Args:
        part: a description; or a table of the options of `topokit build`, with "family", or of "pruned" and "sparsity".
        folder: the folder of the files that it names.

    Raises:
        InvalidSpecError: names the wrong key, or the place in the text.
    """
    if isinstance(part, str):
        return parse(part, folder, pruned=True)
    if not isinstance(part, Mapping):
        raise InvalidSpecError(f'topology must be a text, a table or "{DENSE}", not {part!r}')
    options = dict(part)
    if "pruned" in options:
        require_known(part, ("pruned", *declared_of("pruned", "")), "of a pruned topology")
        around = {key: options.pop(key) for key in AROUND if key in options}
        return Description(kind="pruned", name=options.pop("pruned"), options=options, **around)
    if isinstance(options.get("like"), str):
        options["like"] = parse(options["like"], folder)
    if "family" in options:
        options["family"] = str(options["family"])
    return described(**options)


def planned_topology(
    description: Description, seed: int, pruned: Callable[[Description], PlannedTopology]
) -> PlannedTopology:
    """Return the topology that a description describes in a run; reads the files that it needs.

    Args:
        description: as `read_description` returns it.
        seed: of the run; it draws each random topology that has no seed of its own.
        pruned: returns the topology that a pruning run saves.
    """
    whole = description.seeded(seed)
    if whole.outside:
        if whole.random_equivalent:
            of = dataclasses.replace(whole, random_equivalent=None, seed=whole.seed if whole.draws else None)
            original = planned_topology(of, seed, pruned)
            return RandomEquivalent(original, whole.random_equivalent, whole.drawn_by(seed))
        if whole.name in RANDOM_EQUIVALENTS and {*whole.options} == {"like"} and whole.crop is None:
            original = planned_topology(whole.options["like"], seed, pruned)
            return RandomEquivalent(original, whole.name, whole.drawn_by(seed))
        if whole.kind == "pruned":
            return pruned(whole)
    return Described(whole)
