"""Arrays without a graph: which are the layers, in which order and orientation. What is not certain is asked."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit._registry import matching
from topokit.convolutions import Shape, shown
from topokit.errors import InvalidSpecError
from topokit.extraction.names import in_gpt2_order
from topokit.extraction.tracing import Constant, Tracing
from topokit.extraction.weights import Part, Weights
from topokit.masking import LAYOUTS

MOST_STEPS = 20_000
"""Limit of the search for an order; layers of different shapes need about one step each."""
MOST_SHOWN = 12
MOST_CANDIDATES = 6
MOST_LINES = 8
MOST_DEEP = 200
"""Layers up to which an order is searched for: a search as deep as Python recurses."""

WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "model.")
"""What wrappers put before the names of parameters."""

PARALLEL = re.compile(
    r"(^|[._])((q|k|v|query|key|value)(_proj|_lin)?|(gate|up)_proj|to_[qkv]|w[qkv]|c_attn|wpe|branch\w*|downsample|shortcut|skip)"
    r"(\.|$)|(in|[qkv])_proj_weight$|weight_[ih]h_l\d+(_reverse)?$"
)
"""Parts of names of layers that stand beside others, and torch's names of the weights of attention and LSTMs."""

_WILD = re.compile(r"[*?\[]")
_TRANSPOSED = re.compile(r"up|transpose|deconv|convt", re.IGNORECASE)

IMAGES = (1, 3)
"""Channels of images: what the first convolution of a state dict reads if nothing says more."""


@dataclass(frozen=True)
class Chosen:
    """A layer.

    Args:
        name: of its parameter.
        part: the weight.
        groups: of a convolution.
        flat: whether the channels that it reads flattened are "first" or "last".
        assumed: what of its reading neither the file nor the user says, for a table.
    """

    name: str
    part: Part
    groups: int = 1
    flat: str = "first"
    assumed: str = ""

    @property
    def ends(self) -> tuple[int, int]:
        """Number of inputs and of outputs, by channel."""
        shape = self.part.shape
        if self.part.layout == "last":
            return shape[-2] * self.groups, shape[-1]
        if self.part.layout == "in-out":
            return shape[0], shape[1] * self.groups
        return shape[1] * self.groups, shape[0]

    @property
    def divided(self) -> int:
        """Number of channels that the shape has of all groups together."""
        return self.part.shape[-1 if self.part.layout == "last" else 0]

    @property
    def is_convolution(self) -> bool:
        return len(self.part.shape) > 2

    def follows(self, before: Chosen) -> bool:
        """Whether it can read the outputs of another one; a linear layer also the flattened ones of a convolution."""
        return self.ends[0] == before.ends[1] or self.flattens(before)

    def flattens(self, before: Chosen) -> bool:
        """Whether it reads several features of each channel of a convolution."""
        into, out = self.ends[0], before.ends[1]
        return before.is_convolution and not self.is_convolution and into > out and into % out == 0

    def written(self) -> str:
        """Return the text that chooses it."""
        how = ["in-out"] if self.part.layout == "in-out" and not self.part.known else []
        how += [str(self.groups)] if self.groups > 1 else []
        how += ["last"] if self.flat == "last" and self.part.layout != "last" else []
        return "@".join([self.name.removesuffix(".weight"), *how])

    @property
    def may_be_transposed(self) -> bool:
        """Whether its name, or a filter of an even size, is that of a transposed convolution, stored as (in, out)."""
        even = any(side % 2 == 0 for side in self.part.shape[2:])
        return self.is_convolution and not self.part.known and (even or bool(_TRANSPOSED.search(self.name)))

    def variants(self, before: Chosen | None, *, turned: bool) -> Iterator[Chosen]:
        """Yield the readings with which it follows another one; groups that this leaves open in each number.

        Args:
            before: the other one; None for the first layer, which reads an image if it can.
            turned: whether any convolution may be a transposed one.
        """
        turns = not self.part.known and self.ends[0] != self.ends[1] and not self.is_convolution
        turns = turns or self.may_be_transposed or (turned and self.is_convolution and not self.part.known)
        other = replace(self, part=replace(self.part, layout="in-out"))
        for one in (self, other) if turns else (self,):
            if before and one.flattens(before):
                yield from (replace(one, flat=flat) for flat in ("first", "last"))
            elif one.is_convolution and (before is None or one.part.layout == "in-out"):
                groups = [n for n in range(1, one.divided + 1) if one.divided % n == 0]
                if before is None and one.part.layout != "in-out":
                    groups = [n for n in groups if n * one.ends[0] in IMAGES] or groups
                yield from (replace(one, groups=n) for n in groups if before is None or one.follows(before))
            elif before is None or one.follows(before):
                yield one
            elif one.is_convolution and before.ends[1] % one.ends[0] == 0:
                times = before.ends[1] // one.ends[0]
                if one.divided % times == 0:
                    yield replace(one, groups=times)


def chosen(weights: Weights, patterns: Sequence[str]) -> tuple[Chosen, ...]:
    """Return the layers.

    Args:
        weights: of the model.
        patterns: names, with or without `.weight`, or shell patterns of them ("fc*"); behind them @N for a convolution
            in N groups, @in-out for a layer that is stored as (in, out), @last for one that reads flattened channels
            with the channels last; none for the default. A name that is given twice is used twice.

    Raises:
        InvalidSpecError: a pattern matches nothing, or there is no default.
    """
    if weights.edgeless and not patterns:
        raise InvalidSpecError(
            f"the edges of the sparse layers {', '.join(weights.edgeless)} are not in this file: they are in the "
            "topology that the model was built from; `layers` selects others"
        )
    shapes = listed({name: part.shape for name, part in weights.parts.items()})
    known = f"the weights are {shapes}" if shapes else "no tensor has 2 dimensions, as linear layers, or more"
    if weights.refused and not (patterns and shapes):
        name, why = next(iter(weights.refused.items()))
        raise InvalidSpecError(f"{name}: {why}")
    if not weights.default and not patterns:
        raise InvalidSpecError(f"no parameter is named weight: select layers with `layers`; {known}")
    found: dict[tuple[str, int], list[str]] = {(name, 0): [] for name in weights.default} if not patterns else {}
    times: Counter[str] = Counter()
    for pattern in patterns:
        name, *how = pattern.split("@")
        names = matched(name, weights)
        if not names:
            raise InvalidSpecError(f"no layer is named {pattern}: {known}")
        found |= {(one, times[one]): how for one in names}
        if not _WILD.search(name):
            times.update(names)
    return tuple(_marked(name, weights.parts[name], how) for (name, _), how in found.items())


def _marked(name: str, part: Part, marks: Sequence[str]) -> Chosen:
    """Return a layer with what the user wrote behind its name."""
    one = Chosen(name, part, flat="last" if part.layout == "last" else "first", assumed=part.assumed)
    for mark in marks:
        if mark in LAYOUTS[:2]:
            one = laid(one, mark)
        elif mark == "last":
            one = replace(one, flat="last")
        elif mark.isdecimal() and int(mark) and one.is_convolution and one.divided % int(mark) == 0:
            one = replace(one, groups=int(mark))
        else:
            raise InvalidSpecError(
                f"{name}@{mark}: give groups that divide its outputs, in-out, out-in or last behind the @"
            )
    return one


def matched(pattern: str, weights: Weights) -> list[str]:
    """Return the names that a name or pattern matches, with or without what wrappers put before them."""
    found = matching(pattern, weights.parts)
    if found:
        return found
    bare = unwrapped(weights.parts)
    return [bare[name] for name in matching(pattern, bare)]


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Return names without what wrappers put before them -> the whole names."""
    bare: dict[str, str] = {}
    for name in names:
        short = name
        while (prefix := next((one for one in WRAPPERS if short.startswith(one)), None)) is not None:
            short = short.removeprefix(prefix)
        bare.setdefault(short, name)
    return bare


def are_exact(weights: Weights, patterns: Sequence[str]) -> bool:
    """Return whether each pattern is a name, so that the user gave the order of the layers too."""
    names = [pattern.partition("@")[0] for pattern in patterns]
    return bool(names) and all(not _WILD.search(name) and len(matched(name, weights)) == 1 for name in names)


def arranged(weights: Weights, layers: Sequence[Chosen], *, exact: bool, layout: str | None) -> tuple[Any, str]:
    """Return the layers in an order in which each reads the outputs of the one before, and where it is from.

    Args:
        weights: of the model.
        layers: the chosen ones.
        exact: whether the user gave their order.
        layout: orientation of all layers, if the user gave it.

    Raises:
        InvalidSpecError: the order, the orientation or the groups are not certain; the message has what can be chosen.
    """
    if layout is not None:
        layers = tuple(laid(one, layout) for one in layers)
    orders = [(tuple(layers), "`layers`" if exact else weights.order)] if exact or weights.order else []
    doubt = ""
    by_name = {one.name: one for one in layers}
    if not orders and (names := in_gpt2_order(list(by_name))):
        orders = [(tuple(by_name[name] for name in names), "their names")]
    orders = orders or [(order, "their numbers") for order in _numbered(layers)]
    fitting = [(order, source) for order, source in orders if breaks(order) is None]
    certain = exact or weights.order == "the model"
    beside = [] if certain else _beside(layers, weights)
    if len(fitting) == 1 and (certain or not (doubt := _doubt(fitting[0][0], beside))):
        order, source = fitting[0]
        return order if certain else (_of_image(order[0]), *order[1:]), source
    raise InvalidSpecError(_question(layers, [order for order, _ in orders], doubt, beside, layout))


def laid(one: Chosen, layout: str) -> Chosen:
    """Return a layer in the orientation that the user gave."""
    if one.part.layout == "last" and layout == "in-out":
        return one
    return replace(one, part=replace(one.part, layout=layout, known=True), assumed="")


def _turned(layers: Sequence[Chosen]) -> tuple[Chosen, ...]:
    return tuple(one if one.part.known else replace(one, part=replace(one.part, layout="in-out")) for one in layers)


def _of_image(first: Chosen) -> Chosen:
    """Return the first layer with what is assumed of it: a convolution reads an image."""
    if not first.is_convolution:
        return first
    return replace(first, assumed=f"assumed to read an image of {first.ends[0]} channels, in 1 group")


def assumptions(layers: Sequence[Chosen], weights: Weights, *, exact: bool, chained: bool) -> tuple[str, ...]:
    """Return what is assumed of layers in their order, and a state dict does not say, as notes.

    Args:
        layers: the chosen ones.
        weights: of the model.
        exact: whether the user gave their order, which leaves only what stands beside them in doubt.
        chained: whether they are in series.
    """
    if len(layers) < 2 or weights.order == "the model":
        return ()
    taken = {one.name for one in layers}
    beside = [name for name in weights.parts if name not in taken and PARALLEL.search(name)] if exact else []
    open_layout = not exact and not all(one.part.known for one in layers) and breaks(_turned(layers)) is None
    said = ["that the layers are in series, each used once, nothing skipped or permuted"] if chained else []
    said = [f"{said[0]}, though {', '.join(beside[:4])} stand beside them"] if beside and chained else said
    said = [] if exact and not beside else said
    said += ["that weights are stored as (out, in)"] if open_layout else []
    sure = ". To be sure, give the model itself, its .pt2 program or its ONNX file"
    return (f"assumed, as arrays do not say it: {'; '.join(said)}{sure}",) if said else ()


def _doubt(layers: Sequence[Chosen], beside: Sequence[str]) -> str:
    """Return what the names or shapes leave open even if the layers chain; "" if nothing."""
    if beside:
        return f"{', '.join(beside[:4])} stand beside other layers, and only the model's graph says how"
    for one in layers:
        size = shown(one.part.shape)
        if not one.part.known and len(one.part.shape) == 3 and "conv" not in one.name.lower():
            return f"{one.name} ({size}) may be a Conv1d, a Bilinear or a stack of matrices"
        if one.may_be_transposed and one.ends[0] == one.ends[1]:
            return f"{one.name} ({size}) may be a transposed convolution, which is stored as (in, out)"
    first, (into, out) = layers[0], layers[0].ends
    if first.is_convolution and first.part.layout != "in-out":
        groups = [images // into for images in IMAGES if images % into == 0 and out % (images // into) == 0]
        if len(groups) != 1:
            return f"{first.name} ({shown(first.part.shape)}) may be a convolution in groups"
    for before, one in pairwise(layers):
        if one.part.layout != "last" and one.flattens(before):
            return f"{one.name} reads the flattened channels of {before.name}, which may be first or last"
    return ""


def _beside(layers: Sequence[Chosen], weights: Weights) -> list[str]:
    """Return the weights whose names say that they are not in series with the others, also those not taken."""
    names = [one.name for one in layers]
    others = [name for name in weights.parts if name not in weights.default and name not in weights.skipped]
    return [name for name in (*names, *(others if {*names} == {*weights.default} else ())) if PARALLEL.search(name)]


def _numbered(layers: Sequence[Chosen]) -> list[tuple[Chosen, ...]]:
    """Return the orders of layers whose names differ in one number: by the number, in each order of the groups.

    Groups with equal numbers may also be blocks: all layers of number 0, then all of number 1.
    """
    names = [[*re.split("([0-9]+)", one.name)] for one in layers]
    groups: dict[tuple[Any, ...], list[Chosen]] = {}
    for one, parts in zip(layers, names, strict=True):
        groups.setdefault(tuple("#" if i % 2 else part for i, part in enumerate(parts)), []).append(one)
    if len(groups) > MOST_CANDIDATES or (len(groups) == len(layers) > 1):
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


def breaks(order: Sequence[Chosen]) -> int | None:
    """Return the number of the first layer that cannot follow the previous one; None if all chain."""
    return next((i for i in range(1, len(order)) if not order[i].follows(order[i - 1])), None)


def _searched(layers: Sequence[Chosen]) -> list[tuple[Chosen, ...]] | None:
    """Return some orders in which the layers chain, at most MOST_CANDIDATES; None if the search takes too long."""
    found: list[tuple[Chosen, ...]] = []
    steps = 0

    def extended(order: tuple[Chosen, ...], left: tuple[Chosen, ...]) -> Iterator[tuple[Chosen, ...]]:
        nonlocal steps
        steps += 1
        if not left:
            yield order
        for one in left:
            if steps < MOST_STEPS and (not order or one.follows(order[-1])):
                yield from extended((*order, one), tuple(other for other in left if other is not one))

    if len(layers) <= MOST_DEEP:
        for order in extended((), tuple(layers)):
            found.append(order)
            if len(found) == MOST_CANDIDATES:
                break
    return found if found or steps < MOST_STEPS else None


def _question(
    layers: Sequence[Chosen],
    orders: Sequence[Sequence[Chosen]],
    doubt: str,
    beside: Sequence[str],
    layout: str | None,
) -> str:
    """Return the message that asks for an order, with the lines to choose from."""
    order = orders[0] if orders else layers
    runs = [run for run in _runs(order, beside) if len(run) > 1]
    if beside:
        texts = [",".join(one.written() for one in run) for run in runs]
    else:
        chaining = any(breaks(order) is None for order in orders)
        searched = [] if chaining else _searched(layers) or []  # an order of the file is doubted only if it breaks
        chains = (_chains(orders) or _chains(orders, turned=True)) + _chains(searched)
        orders = [*orders, *searched]
        chains = chains or _chains(_searched(_turned(layers)) or []) or _chains(orders, turned=True)
        if not any(_is_uniform(chain) for chain in chains):
            chains += _chains(orders, turned=True, tied=True)
        texts = list(dict.fromkeys(",".join(one.written() for one in chain) for chain in chains or _chains(runs)))
    if texts and all(one.endswith("@in-out") for one in texts[0].split(",")):
        texts[0] = f"{texts[0].replace('@in-out', '')} and `layout` in-out"
    first = next((order for order in orders if breaks(order) is not None), None)
    why = doubt or "the file has no order of its layers"
    why += f", and {', '.join(beside[:4])} stand beside other layers" if beside and not doubt else ""
    if not doubt and first is not None:
        at = breaks(first) or 0
        one, two = first[at - 1], first[at]
        why = (
            f"the layers do not chain: {two.name} ({shown(two.part.shape)}) cannot follow {one.name} "
            f"({shown(one.part.shape)})"
        )
    sizes = listed({one.name: one.part.shape for one in layers})
    also = f" and `layout` {layout}" if layout else ""
    lines = "; or ".join(f"`layers` {text}{also}" for text in texts[:MOST_LINES])
    choose = f"choose {lines}" if texts else "choose layers that chain with `layers`"
    return f"{why}. Weights: {sizes}. {choose}; or give the model itself, its ONNX file, or `masks` for all masks"


def _chains(
    orders: Sequence[Sequence[Chosen]], *, turned: bool = False, tied: bool = False
) -> list[tuple[Chosen, ...]]:
    """Return the readings with which some orders chain, the short and plain ones first; see `_variants`."""
    chains = [chain for order in orders for chain in islice(_variants(order, turned=turned, tied=tied), 64)]
    return sorted(chains, key=lambda chain: (len(chain), sum(one.written().count("@") for one in chain)))


def _is_uniform(chain: Sequence[Chosen]) -> bool:
    """Whether linear layers, if their names do not say it, have one orientation, as in the file of any one program."""
    open_ones = (one for one in chain if not (one.part.known or one.is_convolution or one.ends[0] == one.ends[1]))
    return len({one.part.layout for one in open_ones}) < 2


def _variants(
    order: Sequence[Chosen], before: tuple[Chosen, ...] = (), *, turned: bool = False, tied: bool = False
) -> Iterator[tuple[Chosen, ...]]:
    """Yield the readings of layers in an order with which they chain: turned, in groups, flattened.

    Args:
        order: the layers.
        before: readings of those before.
        turned: see `Chosen.variants`.
        tied: whether a weight may also be used twice, the second time as (in, out).
    """
    if len(order) > MOST_DEEP:
        return
    if not order:
        yield before
        return
    last = before[-1] if before else None
    for one in order[0].variants(last, turned=turned):
        yield from _variants(order[1:], (*before, one), turned=turned, tied=tied)
    if tied and last and not (last.part.known or last.is_convolution or order[0].follows(last)):
        layout = "out-in" if last.part.layout == "in-out" else "in-out"
        second = replace(last, part=replace(last.part, layout=layout))
        for one in order[0].variants(second, turned=turned):
            yield from _variants(order[1:], (*before, second, one), turned=turned, tied=tied)


def _runs(layers: Sequence[Chosen], beside: Sequence[str]) -> list[list[Chosen]]:
    """Return the runs of layers that chain in their order; one that stands beside others begins a run."""
    runs: list[list[Chosen]] = []
    for one in layers:
        if runs and one.name not in beside and one.follows(runs[-1][-1]):
            runs[-1].append(one)
        else:
            runs.append([one])
    return sorted(runs, key=len, reverse=True)


def series(*chains: Sequence[Chosen]) -> Tracing:
    """Return a graph in which each layer of a chain reads the outputs of the one before; the first has own inputs."""
    tracing = Tracing()
    parts: dict[str, Part] = {}
    for before, one in ((before, one) for chain in chains for before, one in zip((None, *chain), chain, strict=False)):
        into = one.ends[0]
        if before is None or not one.follows(before):
            nodes = tracing.fresh(f"input of {one.name}" if tracing.uses else "input", "input", (into,))
        each = into // nodes.size
        reads = np.tile(nodes, each) if one.flat == "last" else nodes.repeat(each)
        reads = reads.reshape(one.groups, -1, 1)
        out = one.ends[1] // one.groups
        how = "(in, out)" if one.part.layout != "out-in" else "(out, in)"
        how += f", {one.groups} groups" if one.groups > 1 else ""
        how += f", channels {one.flat}" if each > 1 else ""
        how += f", {one.assumed}" if one.assumed else ""
        weight = Constant.of(one.name, parts.setdefault(one.name, one.part))  # also of one that is used twice
        made = tracing.connect(weight, how, _matrix(one), reads, out, filters=one.is_convolution)
        nodes = made.ravel()
    return tracing


def _matrix(one: Chosen) -> Any:
    """Return what makes (groups, out, in, taps) of an array of the layer's weight."""
    groups, out, layout = one.groups, one.ends[1] // one.groups, one.part.layout

    def matrix(array: NDArray[Any]) -> NDArray[Any]:
        if layout == "last":
            array = np.moveaxis(array, (-1, -2), (0, 1))
        if layout == "in-out":
            return np.swapaxes(array.reshape(groups, -1, out, math.prod(array.shape[2:])), 1, 2)
        return array.reshape(groups, out, array.shape[1], -1)

    return matrix


def listed(shapes: Mapping[str, Shape]) -> str:
    """Return names and shapes for a message: the first ones, and the number of the others."""
    first = [f"{name} {shown(shape)}" for name, shape in list(shapes.items())[:MOST_SHOWN]]
    more = len(shapes) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
