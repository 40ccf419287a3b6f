"""build and convert: topologies from options, and from one file to another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from topokit._registry import nearest
from topokit.descriptions.description import AROUND, FAMILY, Description, fields_of
from topokit.errors import InvalidSpecError
from topokit.formats import save
from topokit.layered import Layered, Source, network


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
