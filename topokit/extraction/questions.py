"""Arrays without a graph whose order is not certain: the question to the user, with the answers to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest

from topokit.convolutions import shown
from topokit.extraction.choosing import Chosen, all_turned, breaks, turnings, with_shapes
from topokit.extraction.siblings import (
    Kinds,
    are_in_series,
    begins,
    by_number,
    by_place,
    choices,
    deviations,
    kinds,
    standing,
)
from topokit.extraction.towers import shortcuts

MOST_STEPS = 20_000
"""Limit of the search for an order; layers of different shapes need about one step each."""
MOST_CANDIDATES = 6
"""Orders that a search returns."""
MOST_LINES = 8
"""Values of `layers` in a message."""
MOST_OF_GROUP = 2
"""Readings of one group of layers in a message."""
MOST_DEEP = 200
"""Layers up to which an order is searched for: a search as deep as Python recurses."""


def question(
    layers: Sequence[Chosen],
    orders: Sequence[Sequence[Chosen]],
    doubt: str,
    beside: Sequence[str],
    groups: Sequence[Sequence[Chosen]],
    layout: str | None,
    *,
    recorded: bool,
) -> str:
    """Return the message that asks for an order, with the lines to choose from.

    Args:
        layers: the chosen ones.
        orders: in which they may be.
        doubt: what is open even if they chain.
        beside: names of layers that are not in series with the others.
        groups: layers that may be copies of each other, or parallel.
        layout: orientation of all layers, if the user gave it.
        recorded: whether the file or the user gave the order.
    """
    first = next((order for order in orders if breaks(order) is not None), None)
    if not recorded:
        layers = sorted(layers, key=lambda one: by_place(one.name))
    chains = [chain for group in groups for chain in _of_group(group, orders, beside, recorded=recorded)]
    whole = {one.name for one in layers}
    if not groups:
        chains = _of_all(layers, orders, beside, recorded=recorded)
    elif not beside:
        chains += [
            chain
            for chain in _of_all(layers, orders, beside, recorded=recorded)
            if {one.name for one in chain} == whole
        ]
    related = kinds(layers, chain=any(breaks(order) is None for order in orders))
    chains = [chain for chain in chains if are_in_series(chain, related)]
    texts = list(dict.fromkeys(map(_written, chains)))
    why = doubt or "the file has no order of its layers"
    if not doubt and first is not None:
        at = breaks(first) or 0
        one, two = first[at - 1], first[at]
        why = (
            f"the layers do not chain: {two.name} ({shown(two.part.shape)}) cannot follow {one.name} "
            f"({shown(one.part.shape)})"
        )
    why += f", and {standing(beside)} beside other layers" if beside and (groups or not doubt) else ""
    why += "" if groups else _omitted(layers, chains, beside)
    sizes = with_shapes({one.name: one.part.shape for one in layers})
    also = f" and `layout` {layout}" if layout else ""
    lines = "; or ".join(f"`layers` {text}{also}" for text in texts[:MOST_LINES])
    choose = f"If nothing is skipped or permuted, choose {lines}" if texts else "choose layers that chain with `layers`"
    return f"{why}. Weights: {sizes}. {choose}; or give the model itself, its ONNX file, or `masks` for all masks"


def _omitted(layers: Sequence[Chosen], chains: Sequence[Sequence[Chosen]], beside: Sequence[str]) -> str:
    """Return what the lines to choose from omit, as part of a message; "" if they omit nothing."""
    taken = [{one.name for one in chain} for chain in chains]
    if beside:
        missing = [one.name for one in layers if one.name not in {*beside}.union(*taken)] if taken else []
        return f", and each line is a part of the layers, none with {', '.join(missing[:4])}" if missing else ""
    missing = [one.name for one in layers if one.name not in taken[0]] if taken else []
    if not missing:
        return ""
    if all(len(names) < len({one.name for one in layers}) for names in taken):
        return ", and no order of all layers was found, so each line omits some"
    return f", and {', '.join(missing[:4])} may be shortcuts"


def _written(line: Sequence[Chosen]) -> str:
    """Return the value of `layers` that chooses a reading of layers, and of `layout` if all are linear and turned."""
    texts = [one.written() for one in line]
    if all(text.endswith("@in-out") for text in texts) and not any(one.is_convolution for one in line):
        return f"{','.join(texts).replace('@in-out', '')} and `layout` in-out"
    return ",".join(texts)


def _of_all(
    layers: Sequence[Chosen], orders: Sequence[Sequence[Chosen]], beside: Sequence[str], *, recorded: bool
) -> list[tuple[Chosen, ...]]:
    """Return readings with which all layers chain; if there are none, or some are beside others, of parts of them."""
    if beside or any(one.is_embedding for order in orders for one in order[1:]):
        order = orders[0] if orders and recorded else layers
        return _without_shortcuts(order, beside) + _with_choices(order, orders, recorded=recorded)
    named = [] if recorded else _in_order_of_names(layers)
    in_order = _chains([*named, *orders]) or _chains([*named, *orders], turned=True)
    chaining = any(breaks(order) is None for order in orders)
    searched = [] if chaining else _searched(layers) or []  # an order of the file is doubted only if it breaks
    chains = in_order + _chains(searched)
    if not chains and not orders:
        searched = _searched(layers, grouped=True) or []
        chains = _chains(searched)
    main = _without_shortcuts(next(iter((*orders, *searched)), layers), beside) if chains else []
    orders = [*orders, *searched]
    chains = chains or _chains(_searched(all_turned(layers)) or [])
    return main + (chains or _chains([run for run in _runs(next(iter(orders), layers), {}) if len(run) > 1]))


def _in_order_of_names(layers: Sequence[Chosen]) -> list[tuple[Chosen, ...]]:
    """Return the orders by the names of layers: the one with encoders first and heads last, and the natural one."""
    return [tuple(sorted(layers, key=lambda one: key(one.name))) for key in (by_place, by_number)]


def _with_choices(
    order: Sequence[Chosen], orders: Sequence[Sequence[Chosen]], *, recorded: bool
) -> list[tuple[Chosen, ...]]:
    """Return readings of parts of layers, each with one of those that stand beside each other, one of each first."""
    related = kinds(order, chain=any(breaks(one) is None for one in orders))
    found: list[list[tuple[Chosen, ...]]] = []
    for part in islice(choices(order, related), MOST_CANDIDATES):
        whole = [] if recorded else _in_order_of_names(part) + (_searched(part, related=related) or [])
        begun = [one for one in whole if breaks(one) is None and not any(begins(layer, related) for layer in one[1:])]
        lines = [line for line in begun or map(tuple, _runs(part, related)) if len(line) > 1]
        others = [(*line[:-1], one) for line in lines[:1] for one in deviations(line[-1], order, related)]
        found.append([*lines[:1], *(line for line in others if line[-1].follows(line[-2])), *lines[1:]])
    return [line for lines in zip_longest(*found) for line in lines if line]


def _of_group(
    group: Sequence[Chosen], orders: Sequence[Sequence[Chosen]], beside: Sequence[str], *, recorded: bool
) -> list[tuple[Chosen, ...]]:
    """Return the plainest readings of the layers of a group alone."""
    names = {one.name for one in group}
    own = dict.fromkeys(tuple(one for one in order if one.name in names) for order in orders)
    found = _of_all(group, list(own), [name for name in beside if name in names], recorded=recorded)
    plain = [chain for chain in found if not any("@in-out" in one.written() for one in chain)]
    return (plain or found)[:MOST_OF_GROUP]


def _without_shortcuts(order: Sequence[Chosen], beside: Sequence[str]) -> list[tuple[Chosen, ...]]:
    """Return readings of the layers of an order without its shortcuts; none if others are beside, or it has none."""
    apart = {*shortcuts(order)}
    main = tuple(one for one in order if one.name not in apart)
    if not apart or {*beside} - apart or len(main) < len(apart):
        return []
    orders = [main] if breaks(main) is None else (_searched(main) or [])[:1]
    return [chain for chain in _chains(orders)[:MOST_OF_GROUP] if len(chain) > 1]


def _chains(orders: Sequence[Sequence[Chosen]], *, turned: bool = False) -> list[tuple[Chosen, ...]]:
    """Return the readings with which some orders chain, the short and plain ones first.

    Args:
        orders: of layers.
        turned: whether convolutions may be transposed ones, and not linear layers stored as (in, out).
    """
    read = [one for order in orders for one in (*(() if turned else (order,)), *turnings(order, convolutions=turned))]
    most = MOST_STEPS // max(len(read), 1)
    found = [line for order in read for line in islice(_variants(order, most + 2 * len(order)), 64)]
    return sorted(found, key=lambda line: (len(line), sum(one.written().count("@") for one in line)))


def _variants(order: Sequence[Chosen], most: int) -> Iterator[tuple[Chosen, ...]]:
    """Yield the readings of layers in an order with which they chain: transposed, in groups, flattened.

    Args:
        order: the layers.
        most: steps of the search.
    """
    steps = 0

    def extended(before: tuple[Chosen, ...]) -> Iterator[tuple[Chosen, ...]]:
        nonlocal steps
        steps += 1
        if len(before) == len(order):
            yield before
            return
        for one in order[len(before)].variants(before[-1] if before else None):
            if steps < most:
                yield from extended((*before, one))

    if len(order) <= MOST_DEEP:
        yield from extended(())


def _runs(layers: Sequence[Chosen], related: Kinds) -> list[list[Chosen]]:
    """Return the runs of layers that chain in their order, the longest first."""
    runs: list[list[Chosen]] = []
    for one in layers:
        if runs and not begins(one, related) and one.follows(runs[-1][-1]):
            runs[-1].append(one)
        else:
            runs.append([one])
    return sorted(runs, key=len, reverse=True)


def _searched(
    layers: Sequence[Chosen], *, grouped: bool = False, related: Kinds | None = None
) -> list[tuple[Chosen, ...]] | None:
    """Return some orders in which the layers chain, at most MOST_CANDIDATES; None if the search takes too long.

    Args:
        layers: to order.
        grouped: whether convolutions may have groups.
        related: kinds of parallel layers, of which those of an attention begin a chain.
    """
    found: list[tuple[Chosen, ...]] = []
    steps = 0

    def extended(order: tuple[Chosen, ...], left: tuple[Chosen, ...]) -> Iterator[tuple[Chosen, ...]]:
        nonlocal steps
        steps += 1
        if not left:
            yield order
        for one in left:
            reads = order and (one.follows(order[-1]) or (grouped and one.groups_after(order[-1])))
            if steps < MOST_STEPS and (not order or (reads and not begins(one, related or {}))):
                yield from extended((*order, one), tuple(other for other in left if other is not one))

    if len(layers) <= MOST_DEEP:
        for order in extended((), tuple(layers)):
            found.append(order)
            if len(found) == MOST_CANDIDATES:
                break
    return found if found or steps < MOST_STEPS else None
