"""One measure of each edge layer, layers known to be equal measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from topokit.layered import Layer, Layered

T = TypeVar("T")


def each_layer(net: Layered, measure: Callable[[Layer], T]) -> Iterator[T]:
    """`measure` of each edge layer, one layer after another; kept is only what a later layer needs again."""
    repeated = {net.same_layer(i) for i in range(len(net)) if net.same_layer(i) != i}
    kept: dict[int, T] = {}
    for i, layer in enumerate(net.stream()):
        first = net.same_layer(i)
        found = kept[first] if first in kept else measure(layer)
        if i in repeated:
            kept[i] = found
        yield found
