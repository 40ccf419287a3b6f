"""Arrays without a graph whose order is not certain: the question to the user, with the answers to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from topokit.convolutions import shown
from topokit.extraction.choosing import Chosen, all_turned, breaks, listed

MOST_STEPS = 20_000
"""Limit of the search for an order; layers of different shapes need about one step each."""
MOST_CANDIDATES = 6
MOST_LINES = 8
MOST_TIED = 3
MOST_DEEP = 200
"""Layers up to which an order is searched for: a search as deep as Python recurses."""


def question(
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
        in_order = _chains(orders) or _chains(orders, turned=True)
        tied = [] if any(map(_is_uniform, in_order)) else _chains(orders, tied=True)[:MOST_TIED]
        chaining = any(breaks(order) is None for order in orders)
        searched = [] if chaining else _searched(layers) or []  # an order of the file is doubted only if it breaks
        chains = in_order + tied + _chains(searched)
        orders = [*orders, *searched]
        chains = chains or _chains(_searched(all_turned(layers)) or []) or _chains(orders, turned=True, tied=True)
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
    order: Sequence[Chosen], *, before: tuple[Chosen, ...] = (), turned: bool = False, tied: bool = False
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
        yield from _variants(order[1:], before=(*before, one), turned=turned, tied=tied)
    if tied and last and not (last.part.known or last.is_convolution or order[0].follows(last)):
        layout = "out-in" if last.part.layout == "in-out" else "in-out"
        second = replace(last, part=replace(last.part, layout=layout))
        for one in order[0].variants(second, turned=turned):
            yield from _variants(order[1:], before=(*before, second, one), turned=turned, tied=tied)


def _runs(layers: Sequence[Chosen], beside: Sequence[str]) -> list[list[Chosen]]:
    """Return the runs of layers that chain in their order; one that stands beside others begins a run."""
    runs: list[list[Chosen]] = []
    for one in layers:
        if runs and one.name not in beside and one.follows(runs[-1][-1]):
            runs[-1].append(one)
        else:
            runs.append([one])
    return sorted(runs, key=len, reverse=True)


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
