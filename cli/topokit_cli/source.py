"""Where a command's topology comes from: a file, or options that describe one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from topokit.layered import Layered

TRANSFORM_OPTIONS = ("crop", "crop_keep", "random_equivalent", "topology_seed", "family")


@dataclass(frozen=True)
class TopologySource:
    """What the user said about the topology; `open` makes it.

    Args:
        file: a saved topology, or None.
        family: name of a family, or None for the default.
        fields: the family's options that were given.
        crop: node layers' new widths, or None.
        crop_keep: "first", "last" or None.
        random_equivalent: the kind of random twin to take instead, or None.
        seed: seed of a random topology, or None.
        seed_flag: the flag that gives it, for messages.
        takes_file: whether the command takes a FILE at all, for messages.
    """

    file: Path | None
    family: str | None
    fields: dict[str, Any]
    crop: tuple[int, ...] | None
    crop_keep: str | None
    random_equivalent: str | None
    seed: int | None
    seed_flag: str
    takes_file: bool

    @classmethod
    def take_from(cls, values: dict[str, Any], seed_flag: str) -> TopologySource:
        """Take the topology options out of a command's `values`."""
        from topokit.families import FAMILIES
        from topokit.spec import options_of

        names = {key for name in FAMILIES for key in options_of(FAMILIES[name])} - {"seed"}
        taken = {name: values.pop(name) for name in names if name in values}
        known = {name: values.pop(name) for name in TRANSFORM_OPTIONS}
        seed = known.pop("topology_seed")
        fields = {name: value for name, value in taken.items() if value not in (None, ())}
        takes_file = "file" in values
        file = values.pop("file", None)
        return cls(file=file, fields=fields, seed=seed, seed_flag=seed_flag, takes_file=takes_file, **known)

    @property
    def given(self) -> bool:
        """Whether the user described a topology at all."""
        described = self.file or self.family or self.fields or self.random_equivalent or self.crop or self.crop_keep
        return bool(described) or self.seed is not None

    @property
    def label(self) -> str | None:
        """The file, and what is made of its topology where something is; None without a file."""
        if self.file is None:
            return None
        which = f", the {self.crop_keep} nodes" if self.crop_keep else ""
        cropped = f" cropped to {','.join(map(str, self.crop))}{which}" if self.crop else ""
        twin = f"{self.random_equivalent} twin, seed {self.seed}, of " if self.random_equivalent else ""
        return f"{twin}{self.file}{cropped}"

    def open(self) -> Layered:
        """The topology; a described one is not built, only ready to be read.

        Raises:
            click.UsageError: the options do not fit together.
            TopokitError: the numbers do not, or the file is bad.
        """
        net = self._described()
        if self.crop is not None:
            from topokit.transforms import crop

            net = crop(net, self.crop, keep=self.crop_keep or "first")
        elif self.crop_keep:
            raise click.UsageError("--crop-keep needs --crop")
        if self.random_equivalent:
            from topokit.families import FAMILIES

            net = FAMILIES[self.random_equivalent].twin_of(net, self._required_seed())
        return net

    def open_all(self) -> tuple[Layered, ...]:
        """The topologies: those of a file that holds several, else the one that `open` gives.

        Raises:
            click.UsageError: the options do not fit together.
            TopokitError: the numbers do not, or the file is bad.
        """
        if self.file and not dataclasses.replace(self, file=None).given:
            from topokit.formats import load_all

            return load_all(self.file)
        return (self.open(),)

    def _described(self) -> Layered:
        if self.file:
            if self.family or self.fields:
                raise click.UsageError("give a file or the options of a family, not both")
            if self.seed is not None and not self.random_equivalent:
                raise click.UsageError(f"{self.seed_flag} has no use here: nothing is drawn of what a file holds")
            from topokit.formats import load

            return load(self.file)
        if self.random_equivalent and not self.family and set(self.fields) == {"like"}:
            from topokit.formats import load

            return load(self.fields["like"])
        return self._family()

    def _family(self) -> Layered:
        from topokit.families import FAMILIES
        from topokit.spec import options_of

        if self.random_equivalent and not self.family and not self.fields:
            where = "a file, --like FILE" if self.takes_file else "--like FILE"
            raise click.UsageError(f"--random-equivalent is of what network? give {where} or the options of a family")
        if not self.family and not self.fields:
            where = "a file, or " if self.takes_file else ""
            raise click.UsageError(f"no topology: give {where}--radices and the other options of a family")
        name = self.family or "radix-net"
        own = options_of(FAMILIES[name])
        options = dict(self.fields)
        for given in options:
            if given not in own:
                raise click.UsageError(
                    f"{_flag(given)} is not an option of {name}; its options are {', '.join(map(_flag, own))}"
                )
        if "seed" in own:
            options["seed"] = self._required_seed()
        elif self.seed is not None and not self.random_equivalent:
            raise click.UsageError(f"{self.seed_flag} has no use here: {name} is not random")
        for missing, field in own.items():
            if missing not in options and field.default is dataclasses.MISSING:
                raise click.UsageError(f"{name} needs {_flag(missing)}")
        if isinstance(options.get("like"), Path):
            from topokit.formats import load

            options["like"] = load(options["like"])
        net: Layered = FAMILIES[name](**options)
        return net

    def _required_seed(self) -> int:
        if self.seed is None:
            raise click.UsageError(f"a random topology needs {self.seed_flag}")
        return self.seed


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
