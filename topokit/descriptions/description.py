"""Description: a topology in words, before it is made. Texts, tables of a grid and flags of `build` all become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from topokit.allocation import allocate
from topokit.descriptions._values import to_texts
from topokit.descriptions._words import quoted
from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.fields import one_of
from topokit.formats import holds_several, load, load_all
from topokit.layered import Layered
from topokit.recipes import KINDS
from topokit.spec import integer, option, options_of
from topokit.transforms import crop

FAMILY = "radix-net"
"""The family of options that name none, in `topokit build` and in tables of grids."""

DENSE = "dense"
"""The description of a model without topologies."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A family, a transform or a file with its options, and the crop and the random equivalent that follow.

    Args:
        kind: "family", "transform" or "file"; in a grid also "pruned".
        name: of the family or transform, of the file, or the label of the pruning entry.
        options: the fields of the family or transform that were given, but for the seed; networks are Descriptions.
        chain: which topology of a file of several.
        crop: new widths of the node layers.
        crop_keep: "first" or "last".
        random_equivalent: a name in RANDOM_EQUIVALENTS; it follows the crop.
        seed: of all that is drawn at random here.

    Raises:
        InvalidSpecError: parts that do not go together.
    """

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    chain: str | None = option(
        "Number of a chain of a file of several, or the name of one of its layers.", kind="text", default=None
    )
    crop: Sequence[int] | None = option("New width of each node layer.", kind="ints", default=None)
    crop_keep: str | None = option(
        "Nodes of each layer that a crop keeps [first].", kind="choice", default=None, choices=("first", "last")
    )
    random_equivalent: str | None = option(
        "Kind of random network to use in place of the topology.",
        kind="choice",
        default=None,
        choices=RANDOM_EQUIVALENTS,
    )
    seed: int | None = option("Seed of a random topology.", kind="int", default=None)

    def __post_init__(self) -> None:
        if self.crop_keep is not None and self.crop is None:
            raise InvalidSpecError("`crop_keep` needs `crop`")
        if self.random_equivalent not in (None, *RANDOM_EQUIVALENTS):
            choices = one_of(self.random_equivalent, RANDOM_EQUIVALENTS)
            raise InvalidSpecError(f"`random_equivalent` must be one of {choices}")
        if self.seed is not None and not self.random_equivalent and not self.draws:
            why = f"{self.name} is not random" if self.fields else "nothing is drawn of what a file holds"
            raise InvalidSpecError(f"`seed` has no use here: {why}")

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """The declared fields of the family or transform; none of a file."""
        return fields_of(self.kind, self.name)

    @property
    def draws(self) -> bool:
        """Whether it is random before any random equivalent of it."""
        return self.kind == "pruned" or ("seed" in self.fields and "permutations" not in self.options)

    @property
    def file(self) -> str | None:
        """The file whose topology it starts from, if any."""
        return self.name if self.kind == "file" else None

    @property
    def is_file(self) -> bool:
        """Whether it is a file and nothing else."""
        return self == Description(kind="file", name=self.name)

    @property
    def outside(self) -> bool:
        """Whether it needs more than these words: a file or another run, at any depth."""
        parts = (part for value in self.options.values() for part in (value if isinstance(value, tuple) else (value,)))
        return self.kind not in KINDS or any(isinstance(part, Description) and part.outside for part in parts)

    def seeded(self, seed: int) -> Description:
        """Return the description with this seed wherever something is drawn at random and no seed is given."""
        options = {key: _each(value, lambda one: one.seeded(seed)) for key, value in self.options.items()}
        drawn = self.draws or self.random_equivalent
        return dataclasses.replace(self, options=options, seed=seed if self.seed is None and drawn else self.seed)

    def open(self, *, seed: int | None = None, widths: Sequence[int] | None = None) -> Layered:
        """Return the topology; nothing is built before its layers are read.

        Args:
            seed: used where the description has none of its own.
            widths: used if the family has widths and the description gives none.

        Raises:
            InvalidSpecError: an option is missing, or the numbers do not fit together.
            TopokitError: a file cannot be read.
        """
        net: Layered = load(self.name, chain=self.chain) if self.kind == "file" else self._made(seed, widths)
        return self._changed(net, seed)

    def open_all(self) -> tuple[Layered, ...]:
        """Return the topologies: those of a file that holds several, else the one that `open` returns."""
        if self.kind != "file" or self.chain is not None:
            return (self.open(),)
        nets = load_all(self.name)
        if len(nets) > 1 and self.crop is not None:
            raise InvalidSpecError(f"{self.name} holds {len(nets)} topologies: `crop` is for one, choose it by `chain`")
        return tuple(self._changed(net, None) for net in nets)

    def open_chains(self) -> tuple[Layered, ...]:
        """Return all topologies of a file or run that holds several; else that of `open`.

        A file of masks of ours holds several if the masks are not one chain; then convolutions are read by weight.
        """
        several = self.kind == "file" and holds_several(self.name)
        return self.open_all() if several else (self.open(),)

    @property
    def has_widths(self) -> bool:
        """Whether it says how wide its node layers are; otherwise they can be taken from elsewhere."""
        return "widths" not in self.fields or "widths" in self.options

    def open_each(self, widths: Sequence[tuple[int, int]]) -> list[Layered]:
        """Return a topology for each of several layers.

        A family whose widths are not given takes those of each layer: the first is drawn from the seed, number j from
        the seed and j, and an `allocation` divides the density among all. Otherwise all get the same topology.

        Args:
            widths: (sources, targets) of each layer.
        """
        if self.has_widths:
            return [self.open()] * len(widths)
        own, nets = dict(self.options), []
        allocation, density = own.pop("allocation", "uniform"), own.get("density", ())
        divide = allocation != "uniform" and len(density) == 1
        shares = allocate([ends[::-1] for ends in widths], density[0], allocation) if divide else ()
        for j, ends in enumerate(widths):
            options = {**own, "density": (shares[j],)} if divide else own
            one = dataclasses.replace(self, options=options, seed=_derived(self.seed, j))
            nets.append(one.open(widths=ends))
        return nets

    def _changed(self, net: Layered, seed: int | None) -> Layered:
        if self.crop is not None:
            net = crop(net, self.crop, keep=self.crop_keep or "first")
        if self.random_equivalent:
            net = FAMILIES[self.random_equivalent].equivalent_to(net, self.drawn_by(seed))
        return net

    def drawn_by(self, seed: int | None) -> int:
        """Return the seed of its random draws: its own, or else the given one."""
        chosen = seed if self.seed is None else self.seed
        if chosen is None:
            raise InvalidSpecError(
                f"{self.random_equivalent or self.name} is random and has no seed: add seed=0, or another"
            )
        return integer(chosen, "seed", 0)

    def _made(self, seed: int | None, widths: Sequence[int] | None) -> Layered:
        if self.kind not in KINDS:
            raise InvalidSpecError(f"pruned={self.name} is of a run in the same grid, and has no use elsewhere")
        options = {key: _each(value, lambda one: one.open(seed=seed)) for key, value in self.options.items()}
        if widths is not None and self.kind == "family" and "widths" in self.fields:
            options.setdefault("widths", tuple(widths))
        if self.draws:
            options["seed"] = self.drawn_by(seed)
        net: Layered = KINDS[self.kind][self.name](**options)
        return net

    def __str__(self) -> str:
        """The description as text, which reads back as the same description."""
        if self.is_file:
            return _marked(self.name)
        heads = {"pruned": f"pruned={self.name}", "file": _marked(self.name)}
        words = [quoted(heads.get(self.kind, self.name))]
        kinds = {key: one.metadata["kind"] for key, one in {**self.fields, **AFTER_FILE}.items()}
        for key, value in {**self.options, **{key: getattr(self, key) for key in AFTER_FILE}}.items():
            if value is not None:
                texts = to_texts(kinds.get(key, "number"), value)
                words += [f"{key.replace('_', '-')}={quoted(text)}" for text in texts]
        return " ".join(words)


def _derived(seed: int | None, j: int) -> int | None:
    """The seed of the j-th of several draws."""
    if j == 0 or seed is None:
        return seed
    return int(np.random.SeedSequence((seed, j)).generate_state(1, np.uint64)[0])


AFTER_FILE = {one.name: one for one in dataclasses.fields(Description) if one.metadata}
"""The declared fields of what may follow a file."""

AROUND = {key: one for key, one in AFTER_FILE.items() if key != "chain"}
"""The declared fields of what may follow any family, transform or file."""


def kind_of(word: str) -> tuple[str, str] | None:
    """Return the kind and the name that the first word of a description stands for; None if it is a file's.

    >>> kind_of("radix_net"), kind_of("net.safetensors")
    (('family', 'radix-net'), None)
    """
    name = word.replace("_", "-")
    return next(((kind, name) for kind, names in {**KINDS, DENSE: (DENSE,)}.items() if name in names), None)


def fields_of(kind: str, name: str) -> dict[str, dataclasses.Field[Any]]:
    """The declared fields of a family or transform by their keys; none of another kind.

    Raises:
        InvalidSpecError: no such family or transform.
    """
    return options_of(KINDS[kind][name]) if kind in KINDS else {}


def _each(value: Any, change: Callable[[Description], Any]) -> Any:
    """The value of an option with each Description in it changed."""
    if isinstance(value, tuple):
        return tuple(_each(one, change) for one in value)
    return change(value) if isinstance(value, Description) else value


def _marked(file: str) -> str:
    """A file's name so that it does not read as a family's."""
    first = (file.split(None, 1) or [file])[0]
    return f"./{file}" if kind_of(first) or first.startswith("pruned=") else file
