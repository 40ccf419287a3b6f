"""One language for topologies: NAME KEY=VALUE ..., as a command, a grid and Python read it and as recipes print.

docs/descriptions.md explains it. A description is parsed into a `Description`, which opens the topology.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from topokit.descriptions.description import DENSE, Description
from topokit.descriptions.parsing import of_recipe, parse, split_pattern
from topokit.errors import InvalidSpecError
from topokit.formats import load
from topokit.layered import Layered, Source
from topokit.spec import network

__all__ = ["DENSE", "Description", "describe", "of_recipe", "parse", "split_pattern", "topology"]


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
