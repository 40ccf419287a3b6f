"""What a planned run's topologies are: described in the grid, in a file, or left by a run of the same sweep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.recipes import from_recipe
from topokit.spec import integer, options_of
from topokit.topologies import fingerprint
from topokit.transforms import crop
from topokit_train.pruning.wiring import file_name
from topokit_train.sweeps._keys import require_known

DENSE = "dense"
FAMILY = "radix-net"  # where none is named, as on the command line
AROUND = ("family", "crop", "crop_keep", "random_equivalent", "seed")
PRUNED = ("pruned", "sparsity", "random_equivalent", "seed")
LIKE = ("family", "random_equivalent", "like", "seed")


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
    """The topologies in a file, which must not change while the sweep is under way."""

    path: Path
    fingerprints: tuple[str, ...]

    @property
    def identity(self) -> dict[str, Any]:
        return {"fingerprints": list(self.fingerprints)}

    @property
    def title(self) -> str:
        return self.path.name

    def open(self, _runs: Path) -> tuple[Layered, ...]:
        nets = load_all(self.path)
        if tuple(map(fingerprint, nets)) != self.fingerprints:
            raise InvalidSpecError(f"{self.path} is no longer the topology that the sweep began with: bring that back")
        return nets


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


def twin(of: Wiring, family: Any, seed: Any) -> Twin:
    """The random twins of what a wiring opens.

    Args:
        of: the wiring.
        family: a name in RANDOM_EQUIVALENTS.
        seed: of the draws.

    Raises:
        InvalidSpecError: no such family, or the seed is no integer of at least 0.
    """
    _require_equivalent(family)
    return Twin(of, family, integer(seed, "seed", 0))


def like_file(table: Mapping[str, Any], folder: Path, seed: int) -> Twin:
    """The random twins of the topologies in a file, as a table of a grid asks for them.

    Args:
        table: "like" is the file's name; "random_equivalent" says which twins, or "family" where that has an option
            `like`; "seed" as for `described`.
        folder: where the file is looked for.
        seed: of the run.

    Raises:
        InvalidSpecError: what does not fit, by its key.
        TopokitError: the file cannot be read.
    """
    require_known(table, LIKE, "of a topology like a file's")
    family = table.get("family", table.get("random_equivalent"))
    takes = [name for name in RANDOM_EQUIVALENTS if "like" in _options(name)]
    if ("family" in table) == ("random_equivalent" in table) or ("family" in table and family not in takes):
        raise InvalidSpecError(
            f"a topology like a file's needs a random_equivalent ({', '.join(RANDOM_EQUIVALENTS)}), or the family "
            f"{' or '.join(takes)}"
        )
    return twin(saved(folder / table["like"]), family, table.get("seed", seed))


def _require_equivalent(family: Any) -> None:
    if family not in RANDOM_EQUIVALENTS:
        raise InvalidSpecError(f"random_equivalent must be one of {', '.join(RANDOM_EQUIVALENTS)}, not {family!r}")


def _options(family: str) -> list[str]:
    return list(options_of(FAMILIES[family]))


def described(table: Mapping[str, Any], seed: int) -> Described:
    """The topology that a table of a grid describes, by the options of `topokit build`.

    Args:
        table: the options of one family; "family" names it; "crop", "crop_keep" and "random_equivalent" as there.
        seed: of what is drawn at random, where the table has no "seed" of its own.

    Raises:
        InvalidSpecError: what does not fit, by its key.
    """
    name = str(table.get("family", FAMILY))
    fields = _options(name)
    require_known(table, (*AROUND, *fields), f"of a {name} topology")
    draw = table.get("seed", seed)
    options = {key: value for key, value in table.items() if key not in AROUND}
    net: Layered = from_recipe({"family": name, "options": options | ({"seed": draw} if "seed" in fields else {})})
    if "crop" in table:
        net = crop(net, table["crop"], keep=table.get("crop_keep", "first"))
    elif "crop_keep" in table:
        raise InvalidSpecError("crop_keep needs crop")
    equivalent = table.get("random_equivalent")
    if equivalent is not None:
        _require_equivalent(equivalent)
        net = FAMILIES[equivalent].twin_of(net, draw)
    elif "seed" in table and "seed" not in fields:
        raise InvalidSpecError(f"seed has no use here: {name} is not random")
    assert net.recipe is not None  # nothing above comes from a file
    return Described(net.recipe)


def saved(path: Path) -> Saved:
    """The topologies in a file. Reads it.

    Raises:
        FileFormatError: it holds none.
    """
    return Saved(path, tuple(map(fingerprint, load_all(path))))
