"""Arrays without a graph: which of them are layers, and how each may be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from topokit._registry import matching
from topokit.convolutions import Shape, shown
from topokit.errors import InvalidSpecError
from topokit.extraction.weights import EMBEDDING, Part, Weights
from topokit.masking import LAYOUTS
from topokit.reprs import listed

WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "model.")
"""What wrappers put before the names of parameters."""

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
        assumed: what is assumed of how it is read, for a table; "" if nothing.
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
    def channels(self) -> int:
        """Channels of all groups together, which the shape has: outputs, or inputs of a transposed convolution."""
        return self.part.shape[-1 if self.part.layout == "last" else 0]

    @property
    def is_embedding(self) -> bool:
        """Whether its name says that it is a table of embeddings, which reads no layer."""
        return self.assumed == EMBEDDING

    @property
    def is_convolution(self) -> bool:
        return len(self.part.shape) > 2

    def follows(self, before: Chosen) -> bool:
        """Whether it can read the outputs of another one; a linear layer also the flattened ones of a convolution."""
        return self.ends[0] == before.ends[1] or self.flattens(before)

    def groups_after(self, before: Chosen) -> int:
        """Number of groups in which a convolution of one group reads the outputs of another layer; 0 if none."""
        times, rest = divmod(before.ends[1], self.ends[0])
        return times if self.is_convolution and times and not rest and self.channels % times == 0 else 0

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
        return self.is_convolution and not self.part.known and (even or self.is_transposed_by_name)

    @property
    def is_transposed_by_name(self) -> bool:
        return self.is_convolution and bool(_TRANSPOSED.search(self.name))

    @property
    def is_named_weight(self) -> bool:
        """Whether its name is that of the weight of a module, which is stored as (out, in)."""
        return self.name.rpartition(".")[2] == "weight"

    def turned(self) -> Chosen:
        """Return it as if the file stored it as (in, out)."""
        return replace(self, part=replace(self.part, layout="in-out"))

    def variants(self, before: Chosen | None) -> Iterator[Chosen]:
        """Yield the readings with which it follows another one; groups that this leaves open in each number.

        Args:
            before: the other one; None for the first layer, which reads an image if it can.
        """
        for one in (self, self.turned()) if self.may_be_transposed and self.part.layout == "out-in" else (self,):
            if before and one.flattens(before):
                yield from (replace(one, flat=flat) for flat in ("first", "last"))
            elif one.is_convolution and (before is None or one.part.layout == "in-out"):
                groups = [n for n in range(1, one.channels + 1) if one.channels % n == 0]
                if before is None and one.part.layout != "in-out":
                    groups = [n for n in groups if n * one.ends[0] in IMAGES] or groups
                yield from (replace(one, groups=n) for n in groups if before is None or one.follows(before))
            elif before is None or one.follows(before):
                yield one
            elif times := one.groups_after(before):
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
    shapes = with_shapes({name: part.shape for name, part in weights.parts.items()})
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
    one = Chosen(name, part, part.groups, flat="last" if part.layout == "last" else "first", assumed=part.assumed)
    for mark in marks:
        if mark in LAYOUTS[:2]:
            one = with_layout(one, mark)
        elif mark == "last":
            one = replace(one, flat="last")
        elif mark.isdecimal() and int(mark) and one.is_convolution and one.channels % int(mark) == 0:
            one = replace(one, groups=int(mark))
        else:
            raise InvalidSpecError(f"{name}@{mark}: give in-out, out-in{_allowed_groups(one)} or last behind the @")
    return one


def _allowed_groups(one: Chosen) -> str:
    return f", a number of groups that divides {one.channels}" if one.is_convolution else ""


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


def with_layout(one: Chosen, layout: str) -> Chosen:
    """Return a layer in the orientation that the user gave."""
    if one.part.layout == "last" and layout == "in-out":
        return one
    return replace(one, part=replace(one.part, layout=layout, known=True), assumed="")


def all_turned(layers: Sequence[Chosen]) -> tuple[Chosen, ...]:
    """Return the layers as if the file stored them as (in, out); those of a known orientation stay."""
    return tuple(one if one.part.known else one.turned() for one in layers)


def turnings(order: Sequence[Chosen], *, convolutions: bool) -> Iterator[tuple[Chosen, ...]]:
    """Yield an order with some layers as if the file stored them as (in, out), in which no layer is turned alone.

    All linear layers are turned together, or all that are not named weight, which a model may multiply by itself; they
    are not if all are square. Of convolutions, two or more of the last, or those before the last: a decoder.

    Args:
        order: layers as the file stores them.
        convolutions: whether convolutions are turned, and not the linear layers.
    """
    of_kind = [i for i, one in enumerate(order) if one.is_convolution == convolutions and not one.part.known]
    if convolutions:
        ends = (len(of_kind), len(of_kind) - 1)
        choices = [of_kind[first:end] for first in range(len(of_kind)) for end in ends if end - first > 1]
    else:
        raw = [i for i in of_kind if not order[i].is_named_weight]
        together = of_kind if len(of_kind) > 1 else raw
        choices = [some for some in (together, raw) if any(order[i].ends[0] != order[i].ends[1] for i in some)]
    seen: list[list[int]] = []
    for some in choices:
        if some not in seen:
            seen.append(some)
            yield tuple(one.turned() if i in some else one for i, one in enumerate(order))


def breaks(order: Sequence[Chosen]) -> int | None:
    """Return the number of the first layer that cannot follow the previous one; None if all chain."""
    return next((i for i in range(1, len(order)) if not order[i].follows(order[i - 1])), None)


def with_shapes(shapes: Mapping[str, Shape]) -> str:
    """Return names and shapes for a message."""
    return listed(f"{name} {shown(shape)}".strip() for name, shape in shapes.items())
