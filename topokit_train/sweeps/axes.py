"""Axes: the lists of values below "each" in an entry of a grid, and all combinations of their values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from topokit.errors import InvalidSpecError
from topokit_train.seeds import parse_seeds

EACH = "each"
SEED = "seed"
MOST_RUNS = 1_000_000

Place = tuple[str, ...]
"""The keys of a setting, such as ("topology", "density")."""


def axes_of(table: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, Sequence[Any]]]:
    """Yield the axes of a table: the place and the values of each.

    Raises:
        InvalidSpecError: an axis is not a list, or has no values.
    """
    for key, value in table.items():
        here = (*place, key)
        values = parse_seeds(value) if isinstance(value, str) and key == SEED else value
        if isinstance(value, Mapping):
            yield from axes_of(value, here)
        elif not isinstance(values, list | tuple):
            raise InvalidSpecError(f"{name_of(here)} must be a list of values, not {value!r}")
        elif not values:
            raise InvalidSpecError(f"{name_of(here)} has no values: give at least one")
        elif key == SEED and len(set(map(str, values))) != len(values):
            raise InvalidSpecError(f"{name_of(here)} must be different numbers, not {plain(values)}")
        else:
            yield here, values


def combinations(axes: Sequence[tuple[Place, Sequence[Any]]]) -> Iterator[dict[Place, Any]]:
    """Yield all combinations of one value of each axis; the last axis changes fastest.

    Raises:
        InvalidSpecError: there are more than a million.
    """
    total = prod(len(values) for _, values in axes)
    if total > MOST_RUNS:
        raise InvalidSpecError(f"{EACH} asks for {total:,} runs; the most is {MOST_RUNS:,}")
    places = [place for place, _ in axes]
    for values in product(*(values for _, values in axes)):
        yield dict(zip(places, values, strict=True))


def put(settings: Mapping[str, Any], values: Mapping[Place, Any]) -> dict[str, Any]:
    """Return settings with the values of axes in their places; the arguments stay unchanged.

    Raises:
        InvalidSpecError: a value belongs in a missing table.
    """
    made = dict(settings)
    for (first, *rest), value in values.items():
        if not rest:
            made[first] = value
            continue
        table = made.get(first)
        if not isinstance(table, Mapping):
            raise InvalidSpecError(f"{name_of((first, *rest))} needs a table {first}, into which its values go")
        made[first] = put(table, {tuple(rest): value})
    return made


def text_of(values: Mapping[Place, Any]) -> str:
    """Return the values of all axes but the seed, for people: "recipe=paper, topology.density=0.1"."""
    return ", ".join(f"{'.'.join(place)}={plain(value)}" for place, value in values.items() if place != (SEED,))


def plain(value: Any) -> str:
    """Return a value of a grid as text."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def name_of(place: Place) -> str:
    """Return the name of an axis in a grid.

    >>> name_of(("topology", "density"))
    'each.topology.density'
    """
    return ".".join((EACH, *place))
