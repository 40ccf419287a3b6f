"""Arrays without a graph: the order of the layers, what is assumed of it, and what is not certain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any

import numpy as np

from topokit.convolutions import shown
from topokit.errors import InvalidSpecError
from topokit.extraction.choosing import IMAGES, Chosen, all_turned, breaks, with_layout
from topokit.extraction.names import in_gpt2_order
from topokit.extraction.questions import question
from topokit.extraction.siblings import COPY, is_parallel, kinds, standing
from topokit.extraction.towers import doubt_of, towers
from topokit.extraction.weights import Weights
from topokit.reprs import counted

MOST_GROUPS = 6
"""Groups of names up to which all orders of the groups are tried."""


def arranged(
    weights: Weights, layers: Sequence[Chosen], *, exact: bool, layout: str | None
) -> tuple[tuple[Chosen, ...], str]:
    """Return the layers in an order in which each reads the outputs of the one before, and where it is from.

    Args:
        weights: of the model.
        layers: the chosen ones.
        exact: whether the user gave their order.
        layout: orientation of all layers, if the user gave it.

    Raises:
        InvalidSpecError: the order, the orientation or the groups are not certain; the message has what can be chosen.
    """
    for one in layers:
        _require_no_depthwise(one)
    if layout is not None:
        layers = tuple(with_layout(one, layout) for one in layers)
    orders = [(tuple(layers), "`layers`" if exact else weights.order)] if exact or weights.order else []
    by_name = {one.name: one for one in layers}
    if not orders and (names := in_gpt2_order(list(by_name))):
        orders = [(tuple(by_name[name] for name in names), "their names")]
    orders = orders or [(order, "their numbers") for order in _numbered(layers)]
    fitting = [(order, source) for order, source in orders if breaks(order) is None]
    certain = exact or weights.is_recorded
    groups = [] if certain else towers(layers, weights.models)
    beside = [] if weights.is_recorded else _beside(layers, weights, groups, chain=bool(fitting))
    doubt = doubt_of(groups)
    if len(fitting) == 1 and (certain or not (doubt := doubt or _doubt(fitting[0][0], beside))):
        order, source = fitting[0]
        return order if certain else (_of_image(order[0]), *order[1:]), source
    recorded = exact or bool(weights.order)
    raise InvalidSpecError(
        question(layers, [order for order, _ in orders], doubt, beside, groups, layout, recorded=recorded)
    )


def _require_no_depthwise(one: Chosen) -> None:
    """Refuse depthwise convolutions of Keras, whose kernels have no axis of outputs."""
    if "depthwise_kernel" in one.name and one.part.layout == "last" and one.part.shape[-2] > 1:
        raise InvalidSpecError(
            f"{one.name} ({shown(one.part.shape)}) is a depthwise convolution by its name, stored as (..., channels, "
            "multiplier), which is not read without a graph: give the ONNX file of the model, select other layers with "
            "`layers`, or give `masks` for all masks"
        )


def _of_image(first: Chosen) -> Chosen:
    """Return the first layer with what is assumed of it: a convolution reads an image."""
    if not first.is_convolution:
        return first
    return replace(first, assumed=f"assumed to read an image of {counted(first.ends[0], 'channel')}, in 1 group")


def assumptions(layers: Sequence[Chosen], weights: Weights, *, exact: bool, chained: bool) -> tuple[str, ...]:
    """Return what is assumed of layers in their order, and a state dict does not say, as notes.

    Args:
        layers: the chosen ones.
        weights: of the model.
        exact: whether the user gave their order, which leaves only what stands beside them in doubt.
        chained: whether they are in series.
    """
    if len(layers) < 2 or weights.is_recorded:
        return ()
    taken = {one.name for one in layers}
    beside = [name for name in weights.parts if name not in taken and is_parallel(name)]
    open_layout = not exact and not all(one.part.known for one in layers) and breaks(all_turned(layers)) is None
    said = ["that the layers are in series, each used once, nothing skipped or permuted"] if chained else []
    said = [f"{said[0]}, though {standing(beside)} beside them"] if beside and chained else said
    said = [] if exact and not beside else said
    said += ["that weights are stored as (out, in)"] if open_layout else []
    sure = ". To be sure, give the model itself, its .pt2 program or its ONNX file"
    return (f"assumed, as arrays do not say it: {'; '.join(said)}{sure}",) if said else ()


def _doubt(layers: Sequence[Chosen], beside: Sequence[str]) -> str:
    """Return what the names or shapes leave open even if the layers chain; "" if nothing."""
    if beside:
        return f"{standing(beside)} beside other layers, and only the model's graph says how"
    for i, one in enumerate(layers):
        if doubt := _doubt_of(one, is_first=i == 0):
            return doubt
    first, (into, out) = layers[0], layers[0].ends
    if first.is_convolution and first.part.layout != "in-out":
        groups = [images // into for images in IMAGES if images % into == 0 and out % (images // into) == 0]
        if len(groups) != 1:
            return f"{first.name} ({shown(first.part.shape)}) may be a convolution in groups"
    for before, one in pairwise(layers):
        if one.part.layout != "last" and one.flattens(before):
            return f"{one.name} reads the flattened channels of {before.name}, which may be first or last"
    return ""


def _doubt_of(one: Chosen, *, is_first: bool) -> str:
    """Return what the name or shape of a layer leaves open; "" if nothing."""
    size = shown(one.part.shape)
    if one.is_embedding and not is_first:
        return f"{one.name} is {one.assumed}, and does not read another layer"
    if not one.part.known and len(one.part.shape) == 3 and "conv" not in one.name.lower():
        return f"{one.name} ({size}) may be a Conv1d, a Bilinear or a stack of matrices"
    if one.may_be_transposed and one.ends[0] == one.ends[1]:
        return f"{one.name} ({size}) may be a transposed convolution, which is stored as (in, out)"
    if one.part.layout == "last" and one.is_transposed_by_name and one.ends[0] == one.ends[1]:
        return (
            f"{one.name} ({size}) is a transposed convolution by its name, which Flax stores as (..., in, out), as "
            "here, and Keras as (..., out, in)"
        )
    return ""


def _beside(
    layers: Sequence[Chosen], weights: Weights, groups: Sequence[Sequence[Chosen]], *, chain: bool
) -> list[str]:
    """Return the weights whose names say that they are not in series with the others, also those not taken.

    Copies in a group of their own are not among them, and neither are layers beside those of another group alone.
    """
    names = [one.name for one in layers]
    known = {*weights.default, *weights.skipped}
    others = [name for name in weights.parts if name not in known]
    copies = [] if groups or all(map(COPY.search, names)) else [name for name in names if COPY.search(name)]
    related = {name for group in groups or [layers] for name, own in kinds(group, chain=chain).items() if own}
    found = (*names, *(others if {*names} == {*weights.default} else ()))
    several = len(found) > 1
    return [name for name in found if several and (is_parallel(name) or name in related or name in copies)]


def _numbered(layers: Sequence[Chosen]) -> list[tuple[Chosen, ...]]:
    """Return the orders of layers whose names differ in one number: by the number, in each order of the groups.

    Groups with equal numbers may also be blocks: all layers of number 0, then all of number 1.
    """
    names = [[*re.split("([0-9]+)", one.name)] for one in layers]
    groups: dict[tuple[Any, ...], list[Chosen]] = {}
    for one, parts in zip(layers, names, strict=True):
        groups.setdefault(tuple("#" if i % 2 else part for i, part in enumerate(parts)), []).append(one)
    if len(groups) > MOST_GROUPS or (len(groups) == len(layers) > 1):
        return []
    for pattern, members in groups.items():
        numbers = np.array([[int(part) for part in re.findall("[0-9]+", one.name)] for one in members])
        if len(members) > 1 and (numbers != numbers[0]).any(axis=0).sum() != 1:
            return []
        order = np.lexsort(numbers.T[::-1]) if numbers.size else range(len(members))
        groups[pattern] = [members[i] for i in order]
    orders = [tuple(one for group in order for one in group) for order in permutations(groups.values())]
    several = [group for group in groups.values() if len(group) > 1]
    if len(several) > 1 and len({tuple(re.findall("[0-9]+", str([one.name for one in g]))) for g in several}) == 1:
        blocks = [_in_blocks(order) for order in permutations(groups.values())]
        orders = list(dict.fromkeys(blocks + orders if len({parts[0] for parts in names}) == 1 else orders + blocks))
    chaining = [order for order in orders if breaks(order) is None]
    return chaining or orders[:1]


def _in_blocks(groups: Sequence[Sequence[Chosen]]) -> tuple[Chosen, ...]:
    """Return layers number by number, with the layers of all numbers in the order of their groups."""
    several = [group for group in groups if len(group) > 1]
    rows = [one for row in zip(*several, strict=True) for one in row]
    return tuple(one for group in groups for one in (group if len(group) == 1 else rows if group is several[0] else ()))
