"""What a planned run's topologies are: described in the grid, in a file, or left by a run of the same sweep."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topokit.descriptions import Description, parse
from topokit.descriptions.description import AROUND, DENSE, FAMILY
from topokit.descriptions.parsing import declared_of
from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.placement import matches, named
from topokit.recipes import from_recipe
from topokit.topologies import fingerprint
from topokit_train.config import TrainConfig
from topokit_train.described import Mapped, parameters_of
from topokit_train.models import MODELS
from topokit_train.models.networks import MNIST, model_source
from topokit_train.pruning.config import file_name
from topokit_train.sweeps._keys import require_known


class Wiring(ABC):
    """Topologies that a run is going to be wired with."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a run's hash is made of: JSON-able, equal for equal edges."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A few characters for people."""

    @property
    def needs(self) -> str | None:
        """The hash of the run that makes it, where one does."""
        return None

    @abstractmethod
    def open(self, runs: Path) -> tuple[Layered, ...]:
        """The topologies; `runs` is the folder in which the sweep's runs have theirs."""


@dataclass(frozen=True)
class Described(Wiring):
    """A topology that a recipe describes."""

    recipe: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        return {"recipe": dict(self.recipe)}

    @property
    def title(self) -> str:
        return from_recipe(self.recipe).slug

    def open(self, _runs: Path) -> tuple[Layered, ...]:
        return (from_recipe(self.recipe),)


@dataclass(frozen=True)
class Saved(Wiring):
    """Topologies that need a file, which must not change while the sweep is under way."""

    description: Description
    fingerprints: tuple[str, ...]

    @property
    def identity(self) -> dict[str, Any]:
        return {"fingerprints": list(self.fingerprints)}

    @property
    def title(self) -> str:
        return Path(self.description.name).name if self.description.is_file else str(self.description)

    def open(self, _runs: Path) -> tuple[Layered, ...]:
        nets = self.description.open_all()
        if tuple(map(fingerprint, nets)) != self.fingerprints:
            raise InvalidSpecError(
                f"{self.description} is no longer the topology that the sweep began with: bring that back"
            )
        return nets


@dataclass(frozen=True)
class Parameters(Wiring):
    """Topologies for the parameters that patterns name.

    Args:
        mapped: the descriptions by their patterns, with the run's seed.
        config: the run's settings; its model and dataset say which parameters there are.
        files: fingerprints of the topologies that need a file, by their patterns.
    """

    mapped: Mapped
    config: TrainConfig
    files: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, mapped: Mapped, config: TrainConfig) -> Parameters:
        """Return the wiring of a run; reads the files that it needs.

        Raises:
            InvalidSpecError: a pattern matches no weight of a model of topokit; a user's is not imported here.
        """
        if config.model in MODELS:
            weights = model_source(config.model).weights(MNIST)
            for pattern in mapped:
                matches(pattern, weights)
        return cls(mapped, config, _prints(mapped))

    @property
    def identity(self) -> dict[str, Any]:
        described = {pattern: str(one) for pattern, one in self.mapped.items()}
        return {"parameters": [[pattern, self.files.get(pattern, text)] for pattern, text in described.items()]}

    @property
    def title(self) -> str:
        return ", ".join(f"{pattern}: {one}" for pattern, one in self.mapped.items())

    def open(self, _runs: Path) -> tuple[Layered, ...]:
        if _prints(self.mapped) != self.files:
            raise InvalidSpecError("a topology's file is no longer the one that the sweep began with: bring that back")
        return named(self.mapped, parameters_of(self.config))


def _prints(mapped: Mapped) -> dict[str, tuple[str, ...]]:
    return {key: tuple(map(fingerprint, one.open_all())) for key, one in mapped.items() if one.outside}


@dataclass(frozen=True)
class Pruned(Wiring):
    """The wiring that a pruning run of the same sweep left at one of its sparsities."""

    run: str
    sparsity: float

    @property
    def identity(self) -> dict[str, Any]:
        return {"pruned": self.run, "sparsity": self.sparsity}

    @property
    def title(self) -> str:
        return f"pruned-{self.sparsity}"

    @property
    def needs(self) -> str:
        return self.run

    def open(self, runs: Path) -> tuple[Layered, ...]:
        return load_all(runs / self.run / file_name(self.sparsity))


@dataclass(frozen=True)
class Twin(Wiring):
    """Random twins of topologies that no recipe describes."""

    of: Wiring
    family: str
    seed: int

    @property
    def identity(self) -> dict[str, Any]:
        return {"twin": self.family, "of": self.of.identity, "seed": self.seed}

    @property
    def title(self) -> str:
        return f"{self.family}-like-{self.of.title}-seed-{self.seed}"

    @property
    def needs(self) -> str | None:
        return self.of.needs

    def open(self, runs: Path) -> tuple[Layered, ...]:
        return tuple(FAMILIES[self.family].twin_of(net, self.seed) for net in self.of.open(runs))


def described(part: Any, folder: Path) -> Description:
    """Read a topology of a grid: a text or a table.

    Args:
        part: a description; or a table of the options of `topokit build`, with "family", or of "pruned" and "sparsity".
        folder: where files are looked for.

    Raises:
        InvalidSpecError: what does not fit, by its key or its place in the text.
    """
    if isinstance(part, str):
        return parse(part, folder, pruned=True)
    if not isinstance(part, Mapping):
        raise InvalidSpecError(f'topology must be a text, a table or "{DENSE}", not {part!r}')
    options = dict(part)
    if "pruned" in part:
        kind, name = "pruned", options.pop("pruned")
        require_known(options, declared_of(kind, name), "of a pruned topology")
    elif "like" in part and "family" not in part:
        if "random_equivalent" not in part:
            raise InvalidSpecError(
                f"a topology like a file's needs a random_equivalent ({', '.join(RANDOM_EQUIVALENTS)})"
            )
        kind, name = "file", str(folder / str(options.pop("like")))
        require_known(options, AROUND, "of a topology like a file's")
    else:
        kind, name = "family", str(options.pop("family", FAMILY))
        require_known(options, declared_of(kind, name), f"of a {name} topology")
    if isinstance(options.get("like"), str):
        options["like"] = parse(options["like"], folder)
    around = {key: options.pop(key) for key in AROUND if key in options}
    return Description(kind=kind, name=name, options=options, **around)


def wired(description: Description, seed: int, pruned: Callable[[Description], Wiring]) -> Wiring:
    """Return what a description stands for in a run.

    Args:
        description: as `described` reads it.
        seed: of the run; it draws what is random and has no seed of its own.
        pruned: finds the topology that a pruning run leaves.
    """
    whole = description.seeded(seed)
    if not whole.outside:
        recipe = whole.open().recipe
        assert recipe is not None  # nothing in it comes from a file
        return Described(recipe)
    if whole.random_equivalent:
        of = dataclasses.replace(whole, random_equivalent=None, seed=whole.seed if whole.draws else None)
        return Twin(wired(of, seed, pruned), whole.random_equivalent, whole.drawn_by(seed))
    if whole.name in RANDOM_EQUIVALENTS and {*whole.options} == {"like"} and whole.crop is None:
        return Twin(wired(whole.options["like"], seed, pruned), whole.name, whole.drawn_by(seed))
    if whole.kind == "pruned":
        return pruned(whole)
    return Saved(whole, tuple(map(fingerprint, whole.open_all())))
