"""Which weights of a model are the layers, and in which order their shapes chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from topokit._registry import matching
from topokit.convolutions import Shape, break_in, shown, sources_after
from topokit.errors import InvalidSpecError
from topokit.extraction.weights import Weights

MOST_STEPS = 20_000
"""Limit of the search for an order; layers of different shapes need about one step each."""
MOST_SHOWN = 12


def chosen(weights: Weights, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the layers.

    Args:
        weights: of the model.
        patterns: names, with or without `.weight`, or shell patterns of them ("fc*"); none for the default.

    Raises:
        InvalidSpecError: a pattern matches nothing, or there is no default.
    """
    if weights.edgeless and not patterns:
        raise InvalidSpecError(
            f"the edges of the sparse layers {', '.join(weights.edgeless)} are not in this file: they are in the "
            "topology that the model was built from; `layers` selects others"
        )
    shapes = listed({name: part.shape for name, part in weights.parts.items()})
    known = f"the weights are {shapes}" if shapes else "no tensor has 2 dimensions, as linear layers, or 4"
    if not weights.default and not patterns:
        raise InvalidSpecError(f"no parameter is named weight: select layers with `layers`; {known}")
    names = {} if patterns else dict.fromkeys(weights.default)
    for pattern in patterns:
        found = matching(pattern, weights.parts)
        if not found:
            raise InvalidSpecError(f"no layer is named {pattern}: {known}")
        names.update(dict.fromkeys(found))
    return tuple(names)


def are_exact(weights: Weights, patterns: Sequence[str]) -> bool:
    """Return whether each pattern is a name, so that the user gave the order of the layers too."""
    return bool(patterns) and {*patterns} <= {*weights.parts, *(name.removesuffix(".weight") for name in weights.parts)}


def chained(shapes: Mapping[str, Shape], conv: str, *, fixed: bool = False) -> tuple[str, ...]:
    """Return the names in an order in which each layer reads the outputs of the previous one.

    That is the given order if it chains, else the only other order that does.

    Args:
        shapes: parameter name -> shape.
        conv: reading of convolutions, see `topokit.convolutions`.
        fixed: whether only the given order is allowed.

    Raises:
        InvalidSpecError: there is no such order, or more than one, or the search for it takes too long.
    """
    names = tuple(shapes)
    at = break_in(list(shapes.values()), conv)
    if at is None:
        return names
    orders = [] if fixed else _orders(shapes, conv)
    if orders is None:
        raise InvalidSpecError(
            f"a search of {MOST_STEPS:,} steps does not show in which order the layers chain ({listed(shapes)}): "
            "name the layers in order with `layers`"
        )
    if len(orders) == 1:
        return orders[0]
    if orders:
        raise InvalidSpecError(
            f"the layers chain in more than one order ({listed(shapes)}): name them in order, for instance `layers` "
            f"{','.join(orders[0])}"
        )
    raise InvalidSpecError(
        f"the layers do not chain (`conv` {conv}): {names[at]} ({shown(shapes[names[at]])}) cannot follow "
        f"{names[at - 1]} ({shown(shapes[names[at - 1]])}). Shapes: {listed(shapes)}. Choose layers that chain with "
        "`layers`, or keep the masks of all with `masks`; convolutions chain with `conv` channel"
    )


def _orders(shapes: Mapping[str, Shape], conv: str) -> list[tuple[str, ...]] | None:
    """Return up to two orders in which the layers chain; None if the search takes too long."""
    found: list[tuple[str, ...]] = []
    steps = 0

    def extended(order: tuple[str, ...], left: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        nonlocal steps
        steps += 1
        if not left:
            yield order
        before = shapes[order[-1]] if order else None
        for name in left:
            if steps < MOST_STEPS and sources_after(before, shapes[name], conv) is not None:
                yield from extended((*order, name), tuple(other for other in left if other != name))

    for order in extended((), tuple(shapes)):
        found.append(order)
        if len(found) == 2:
            break
    return found if len(found) == 2 or steps < MOST_STEPS else None


def listed(shapes: Mapping[str, Shape]) -> str:
    """Return names and shapes for a message: the first ones, and the number of the others."""
    first = [f"{name} {shown(shape)}" for name, shape in list(shapes.items())[:MOST_SHOWN]]
    more = len(shapes) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
