"""Which weights of a model are the layers, and in which order their shapes are a chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from topokit._registry import matching
from topokit.convolutions import Shape, break_in, shown, sources_after
from topokit.errors import InvalidSpecError
from topokit.extraction.weights import Weights

MOST_STEPS = 20_000
"""Of the search for an order; a chain of layers of different shapes needs about as many as there are layers."""
MOST_SHOWN = 12


def chosen(weights: Weights, patterns: Sequence[str]) -> tuple[str, ...]:
    """The layers' names.

    Args:
        weights: of the model.
        patterns: names, with or without `.weight`, or shell patterns of them ("fc*"); none for the default.

    Raises:
        InvalidSpecError: a pattern fits nothing, or there is nothing to take by default.
    """
    if not patterns:
        if weights.edgeless:
            raise InvalidSpecError(
                f"the edges of the sparse layers {', '.join(weights.edgeless)} are not in this file: they are in the "
                "topology that the model was made from; `layers` takes others"
            )
        if not weights.default:
            raise InvalidSpecError(f"nothing is called weight: name the layers with `layers`; {_held(weights)}")
        return weights.default
    names: dict[str, None] = {}
    for pattern in patterns:
        found = matching(pattern, weights.parts)
        if not found:
            raise InvalidSpecError(f"no layer is named {pattern}: {_held(weights)}")
        names.update(dict.fromkeys(found))
    return tuple(names)


def are_exact(weights: Weights, patterns: Sequence[str]) -> bool:
    """Whether the user gave the order of the layers too: each pattern is a name."""
    return bool(patterns) and all(
        any(pattern in (name, name.removesuffix(".weight")) for name in weights.parts) for pattern in patterns
    )


def chained(shapes: Mapping[str, Shape], conv: str, *, fixed: bool = False) -> tuple[str, ...]:
    """The names in an order in which each layer reads the outputs of the one before it.

    The given order is taken where it is one, else the only other one there is.

    Args:
        shapes: parameter name -> shape.
        conv: how convolutions are read, see `topokit.convolutions`.
        fixed: take the given order or none.

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
            f"{MOST_STEPS:,} steps of a search do not show which order of the layers is a chain ({listed(shapes)}): "
            "name the layers in their order with `layers`"
        )
    if len(orders) == 1:
        return orders[0]
    if len(orders) > 1:
        raise InvalidSpecError(
            f"the layers are a chain in more than one order ({listed(shapes)}): name them in theirs, for instance "
            f"`layers` {','.join(orders[0])}"
        )
    raise InvalidSpecError(
        f"the layers are no chain: {names[at]} ({shown(shapes[names[at]])}) cannot read what {names[at - 1]} "
        f"({shown(shapes[names[at - 1]])}) gives{_by(shapes, conv)}. Shapes: {listed(shapes)}. {_advice(shapes, conv)}"
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


def _by(shapes: Mapping[str, Shape], conv: str) -> str:
    return f" (convolutions by {conv})" if any(len(shape) == 4 for shape in shapes.values()) else ""


def _advice(shapes: Mapping[str, Shape], conv: str) -> str:
    convolutions = any(len(shape) == 4 for shape in shapes.values())
    other = "read convolutions with `conv` channel, " if convolutions and conv == "weight" else ""
    return f"To do: {other}choose layers that are a chain with `layers`, or keep the masks of all with `masks`"


def _held(weights: Weights) -> str:
    if not weights.parts:
        return "nothing here has the two dimensions of a linear layer or the four of a convolution"
    return f"here are {listed({name: part.shape for name, part in weights.parts.items()})}"


def listed(shapes: Mapping[str, Shape]) -> str:
    """Names and shapes in a message: the first ones, and how many more there are."""
    first = [f"{name} {shown(shape)}" for name, shape in list(shapes.items())[:MOST_SHOWN]]
    more = len(shapes) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
