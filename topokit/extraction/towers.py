"""Layers whose names say that they are copies of others, parallel to them, or shortcuts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from topokit.convolutions import Shape, shown
from topokit.extraction.choosing import Chosen
from topokit.extraction.siblings import COPY, SHORTCUT, WEIGHT, Path, path_of

_TOWER = re.compile(r"(?:^|[._/])((?:net|model)_?[0-9]+|actor|critic|pi|vf|generator|discriminator)[._/]")
"""Words in the names of towers, which are parallel if there are two of them."""

Places = Mapping[tuple[Path, Shape], Sequence[Path]]


def towers(layers: Sequence[Chosen], models: Sequence[str] = ()) -> list[tuple[Chosen, ...]]:
    """Return the groups of layers with equal names and shapes behind different words; copies are last.

    Layers in several state dicts, and behind several words of towers such as actor and critic, are groups too. Equal
    names may be copies of one model, such as model.fc1 and ema.fc1, or parallel, such as left.fc1 and right.fc1. Names
    that differ in numbers only, such as blocks.0.fc1 and blocks.1.fc1, are blocks in series. One pair of equal names is
    enough if it has a word behind different words, as encoder.fc.weight and decoder.fc.weight, or if nothing else is
    behind these words, as left.0 and right.0; else two are needed. The list is empty if there are no groups.

    Args:
        layers: the chosen ones.
        models: what begins the names of each state dict.
    """
    of_model = {one.name: next(filter(one.name.startswith, models), None) for one in layers}
    by_word = {one.name: next(iter(_TOWER.findall(one.name)), None) for one in layers}
    for words in (of_model, by_word):
        if len({*words.values()} - {None}) > 1:
            return _grouped(layers, words)
    paths = {one.name: path_of(one.name) for one in layers}
    places: dict[tuple[Path, Shape], list[Path]] = {}
    for one in layers:
        path = paths[one.name]
        for k in range(len(path)):
            places.setdefault((path[k:], one.part.shape), []).append(_without_numbers(path[:k]))
    seen: set[frozenset[Path]] = set()
    for (rest, _), found in sorted(places.items(), key=lambda item: -len(item[0][0])):
        prefixes = frozenset(found)
        if len(prefixes) < 2 or prefixes in seen:
            continue
        seen.add(prefixes)
        named = _is_named_module(rest, prefixes, layers)
        if named or _shared(prefixes, places) > 1 or _are_alike(prefixes, layers):
            return _grouped(layers, {name: _owner(path, prefixes) for name, path in paths.items()})
    return []


def _grouped(layers: Sequence[Chosen], words: Mapping[str, Any]) -> list[tuple[Chosen, ...]]:
    """Return the layers by the words of their names, copies last; without those for which it is None."""
    groups: dict[Any, list[Chosen]] = {}
    for one in layers:
        groups.setdefault(words[one.name], []).append(one)
    groups.pop(None, None)
    return sorted(map(tuple, groups.values()), key=lambda group: bool(COPY.search(group[0].name)))


def doubt_of(groups: Sequence[Sequence[Chosen]]) -> str:
    """Return what groups of layers leave open: names two of them; "" without groups."""
    for one in groups[0] if groups else ():
        for other in groups[1]:
            if one.part.shape == other.part.shape and path_of(one.name)[-1] == path_of(other.name)[-1]:
                return f"{one.name} and {other.name} ({shown(one.part.shape)}) may be copies of one layer, or parallel"
    return f"{groups[0][0].name} and {groups[1][0].name} may be in copies of one model, or parallel" if groups else ""


def shortcuts(order: Sequence[Chosen]) -> list[str]:
    """Return the names of the layers that may be shortcuts in this order, by their names or shapes.

    By its shape a shortcut has filters of one weight, does not read the layer before, has as many outputs as that one,
    and reads an earlier one.
    """
    found = []
    for i, one in enumerate(order):
        into, out = one.ends
        pointwise = one.is_convolution and set(one.part.shape[2:]) == {1} and one.part.layout == "out-in"
        apart = pointwise and i > 1 and not one.follows(order[i - 1]) and out == order[i - 1].ends[1]
        if SHORTCUT.search(one.name) or (apart and any(before.ends[1] == into for before in order[: i - 1])):
            found.append(one.name)
    return found


def _without_numbers(path: Path) -> Path:
    return tuple(re.sub("[0-9]+", "#", part) for part in path)


def _is_named_module(rest: Path, prefixes: frozenset[Path], layers: Sequence[Chosen]) -> bool:
    """Whether equal names are those of modules, in other modules, and not of their parameters or positions."""
    modules = all(WEIGHT.search(one.name) for one in layers)
    return modules and () not in prefixes and not all(part.isdecimal() for part in rest)


def _are_alike(prefixes: frozenset[Path], layers: Sequence[Chosen]) -> bool:
    """Whether behind two of the prefixes all names and shapes are equal."""
    behind: dict[Path, set[tuple[Path, Shape]]] = {prefix: set() for prefix in prefixes if prefix}
    for one in layers:
        path = path_of(one.name)
        for prefix, found in behind.items():
            if _without_numbers(path)[: len(prefix)] == prefix:
                found.add((path[len(prefix) :], one.part.shape))
    return len(set(map(frozenset, behind.values()))) < len(behind)


def _shared(prefixes: frozenset[Path], places: Places) -> int:
    """Return how many names and shapes are behind at least two of the prefixes."""
    return sum(len(prefixes.intersection(found)) > 1 for found in places.values())


def _owner(path: Path, prefixes: frozenset[Path]) -> Path | None:
    """Return the longest prefix of a name; None if it has none."""
    own = _without_numbers(path)
    return max((one for one in prefixes if own[: len(one)] == one), key=len, default=None)
