"""From descriptions to the topologies of a named model: texts, and texts for parameters, 'PATTERN: DESCRIPTION'."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod

import numpy as np

from topokit._registry import nearest
from topokit.allocation import allocate
from topokit.descriptions import DENSE, Description, parse, split_pattern
from topokit.errors import InvalidSpecError
from topokit.layered import Layered
from topokit.topology import Topology
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.models import Slots, slots

Mapped = Mapping[str, Description]
"""Pattern of parameter names -> the description of the topology that each parameter gets."""


def wire(texts: Sequence[str], config: TrainConfig) -> tuple[Layered, ...]:
    """Return the topologies of a run that texts describe, in their order.

    Args:
        texts: descriptions; or each 'PATTERN: DESCRIPTION'; or "dense" alone.
        config: the run's settings; its model and dataset say which parameters there are.

    Raises:
        InvalidSpecError: what is wrong with a text, or which parameters the patterns do not fit.
    """
    if DENSE in texts:
        if len(texts) > 1:
            raise InvalidSpecError("dense is a model without topologies: give no other `topology`")
        return ()
    pairs = [split_pattern(text) for text in texts]
    if all(pattern is None for pattern, _ in pairs):
        return tuple(net for _, text in pairs for net in parse(text).open_all())
    return wire_parameters(as_mapping(pairs), parameters_of(config))


def as_mapping(pairs: Sequence[tuple[str | None, str]], folder: str = "", *, seed: int | None = None) -> Mapped:
    """Return the descriptions by their patterns, in order.

    Raises:
        InvalidSpecError: one without a pattern, or a pattern given twice.
    """
    mapped: dict[str, Description] = {}
    for pattern, text in pairs:
        if pattern is None:
            raise InvalidSpecError(f"{text!r} names no parameters, but others do: write 'PATTERN: DESCRIPTION' for all")
        if pattern in mapped:
            raise InvalidSpecError(f"the pattern {pattern} is given twice: give it once")
        mapped[pattern] = parse(text, folder) if seed is None else parse(text, folder).seeded(seed)
    return mapped


def parameters_of(config: TrainConfig) -> Slots:
    """Return the weights of a run's dense model and their shapes. Reads the dataset."""
    dataset = load_dataset(config.dataset, config.data_dir)
    return slots(config.model, image=dataset.input_shape, classes=dataset.classes)


def wire_parameters(mapped: Mapped, parameters: Slots) -> tuple[Layered, ...]:
    """Return one topology of one layer for each parameter that a pattern matches, named after it.

    A description without `widths` gets those of the parameter, of a convolution by weight. Of several parameters of one
    pattern the first is drawn from the seed, and number j from the seed and j; an `allocation` divides the density
    among all of them.

    Raises:
        InvalidSpecError: a pattern matches nothing, or a parameter of another pattern; or a topology does not fit.
    """
    found: dict[str, Layered] = {}
    for pattern, description in mapped.items():
        names = [
            name for name in parameters if fnmatchcase(name.removesuffix(".weight"), pattern.removesuffix(".weight"))
        ]
        if not names:
            known = [name.removesuffix(".weight") for name in parameters]
            raise InvalidSpecError(f"no parameter is named {pattern}: {nearest(pattern, known)}")
        if twice := [name for name in names if name in found]:
            raise InvalidSpecError(
                f"{pattern} names {twice[0]}, which another pattern names too: give each parameter once"
            )
        shapes = [(prod(parameters[name][1:]), parameters[name][0]) for name in names]
        for name, net in zip(names, _drawn(description, shapes), strict=True):
            found[name] = _named(net, name)
    return tuple(found[name] for name in parameters if name in found)


def _drawn(description: Description, shapes: Sequence[tuple[int, int]]) -> list[Layered]:
    if "widths" not in description.fields or "widths" in description.options:
        return [description.open()] * len(shapes)
    nets = []
    for j, (widths, density) in enumerate(zip(shapes, _densities(description, shapes), strict=True)):
        options = {key: value for key, value in description.options.items() if key != "allocation"} | density
        one = dataclasses.replace(description, options=options, seed=_seed(description, j))
        nets.append(one.open(widths=widths))
    return nets


def _densities(description: Description, shapes: Sequence[tuple[int, int]]) -> list[dict[str, object]]:
    allocation = description.options.get("allocation", "uniform")
    density = description.options.get("density", ())
    if allocation == "uniform" or len(density) != 1:
        return [{}] * len(shapes)
    shares = allocate([(targets, sources) for sources, targets in shapes], density[0], allocation)
    return [{"density": (share,)} for share in shares]


def _seed(description: Description, j: int) -> int | None:
    if j == 0 or description.seed is None:
        return description.seed
    return int(np.random.SeedSequence((description.seed, j)).generate_state(1, np.uint64)[0])


def _named(net: Layered, name: str) -> Topology:
    if len(net) != 1:
        layers = "-".join(map(str, net.widths))
        raise InvalidSpecError(f"{name} takes one layer, but its topology {layers} has {len(net)}: describe one layer")
    return Topology([net.layer(0)], recipe=net.recipe, promises=net.promises, notes=net.notes, names=[name])
