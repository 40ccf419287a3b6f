"""One language for topologies: NAME KEY=VALUE ..., as a command, a grid and Python read it and as recipes print.

docs/descriptions.md explains it. A description is parsed into a `Description`, which opens the topology.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from topokit._registry import nearest
from topokit.descriptions.description import AROUND, FAMILY, fields_of
from topokit.descriptions.description import DENSE as DENSE
from topokit.descriptions.description import Description as Description
from topokit.descriptions.parsing import of_recipe as of_recipe
from topokit.descriptions.parsing import parse as parse
from topokit.descriptions.parsing import split_pattern as split_pattern
from topokit.errors import InvalidSpecError
from topokit.formats import load, save
from topokit.layered import Layered, Source, network


def topology(source: Source, *, seed: int | None = None) -> Layered:
    """Return the topology of a description, of a file, or given as such.

    Args:
        source: a description such as "radix-net radices=10,10 kron=8,3,1", the name of a file, or a topology, which is
            returned as it is. A pathlib.Path is always a file. Of a run's folder the topology of its checkpoint.
        seed: used where a random topology is described without a seed.

    Raises:
        InvalidSpecError: names what is wrong, the nearest word that is known, and the place in the text.
        TopokitError: the file cannot be read.

    >>> topology("radix-net radices=10,10 kron=8,3,1 crop=784,300,100").widths
    (784, 300, 100)
    """
    if isinstance(source, PathLike):
        return load(Path(source))
    if isinstance(source, str) and split_pattern(source)[0] is not None:
        raise InvalidSpecError(
            f"{source!r} is for weights of a model: give `sparsify` a mapping of patterns, or train it"
        )
    if isinstance(source, str):
        return parse(source).open(seed=seed)
    return network(source, "`source`")


def describe(source: Source | Mapping[str, Any]) -> str:
    """Return the description of a topology or of a recipe, which `topology` reads back.

    Raises:
        InvalidSpecError: it has no recipe, or its recipe begins with a file.

    >>> from topokit.families.radix_net import RadixNet
    >>> describe(RadixNet(radices=[(2, 2, 2)], kron=(10, 10)))
    'radix-net radices=2,2,2 kron=1,10,10,1'
    """
    recipe = source if isinstance(source, Mapping) else network(source).recipe
    if recipe is None:
        raise InvalidSpecError("the topology has no recipe, so no text describes it: save it to a file")
    return str(of_recipe(recipe))


def build(
    description: Source | None = None,
    *,
    output: str | Path | None = None,
    force: bool = False,
    family: str | None = None,
    **options: Any,
) -> Layered:
    """Build a topology from a description, or from the options of a family, and save it if `output` is given.

    Args:
        description: as `topokit.topology` takes it; then without options.
        output: the file to write.
        force: replace a file that is there.
        family: a name in FAMILIES; radix-net if omitted.
        options: those of the family, and crop, crop_keep, random_equivalent and seed.

    Raises:
        InvalidSpecError: an option that the family does not have, or options that do not fit together.
        OutputExistsError: the file exists, and `force` is not set.

    >>> build(radices=[(10, 10)], kron=(8, 3, 1), crop=(784, 300, 100)).widths
    (784, 300, 100)
    """
    if description is not None and (family or options):
        raise InvalidSpecError("give build a description or the options of a family, not both")
    net = described(family, **options).open() if description is None else network(description)
    if output is not None:
        save(net, output, force=force)
    return net


def described(family: str | None = None, **options: Any) -> Description:
    """Return the description that the options of `build` give; networks among them may be Descriptions.

    Raises:
        InvalidSpecError: they do not fit together.
    """
    given = {name: value for name, value in options.items() if value is not None}
    around = {key: given.pop(key) for key in AROUND if key in given}
    if "random_equivalent" in around and not family and {*given} == {"like"}:
        of = given["like"]
        if not isinstance(of, Description):
            of = Description(kind="file", name=str(of))
        if not of.is_file:
            raise InvalidSpecError("`like` must be a file here; `family` regular takes any topology")
        return dataclasses.replace(of, **around)
    if "random_equivalent" in around and not family and not given:
        raise InvalidSpecError("`random_equivalent` of which topology? Give `like` FILE or the options of a family")
    if not family and not given:
        raise InvalidSpecError("no topology: give `radices` and the other options of a family")
    own = fields_of("family", family or FAMILY)
    for key in given:
        if key not in own:
            raise InvalidSpecError(f"`{key}` is not an option of {family or FAMILY}: {nearest(key, own)}")
    return Description(kind="family", name=family or FAMILY, options=given, **around)


def convert(source: Source, target: str | Path, *, to: str | None = None, force: bool = False) -> str:
    """Write a topology, a file of any format or a description, to another file, and return its fingerprint.

    Args:
        source: the topology.
        target: the file to write.
        to: one of FORMATS; by the suffix of `target` if omitted.
        force: replace a file that is there.

    Raises:
        TopokitError: as `topokit.save`.
    """
    return save(source, target, to=to, force=force)
