"""Measure: all that topokit knows of one measure, so that one file adds it to info, compare and their documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, is_dataclass
from fractions import Fraction
from functools import reduce
from operator import getitem
from typing import Any, TypeVar

from topokit.errors import TooLargeError
from topokit.layered import Layer, Layered
from topokit.reprs import cell, decimal, in_words

T = TypeVar("T")

Values = dict[str, Any]

Reader = str | Callable[[Any], Any]
"""Where a number is in the values of a measure: keys joined by dots, "" for the whole, or a function of them."""

EXACT = 2**53
"""Fractions below this are numbers in JSON, larger ones decimal strings."""

LISTED = 6
"""Most entries of a list in a printed line."""


@dataclass(frozen=True)
class Measure:
    """One measure: how it is computed and shown. Its module's docstring lists its keys, for docs/measures.md.

    Args:
        compute: the function of a network, which returns numbers, arrays or objects for Python.
        values: the keys and values of the result (of an iterator: of the list); those of a dataclass are its fields. A
            key `layers` has one entry for each edge layer. In JSON fractions become floats.
        cost: nanoseconds an edge on one core at most, or a function of the network that returns seconds. Measure it
            with random networks, which have few equivalent nodes; 0 if it does not read the edges.
        counts: keys whose integers may pass 2^53, and are decimal strings in JSON.
        step: seconds that a unit of `budget` takes, if `compute` has this option.
        scalars: the numbers that networks are compared by: label -> the number in the values; None if undefined.
        columns: columns of the table of layers: heading -> the cell in an entry of `layers`.
        line: the lines that `topokit info` prints of the values: name -> text. By default all values in one line, if
            there are no columns.
        on_request: whether it is skipped unless it is named.
        by_channel: whether it has a meaning if each edge stands for a filter.
    """

    compute: Callable[..., Any]
    values: Callable[[Any], Any] = lambda found: found
    _: KW_ONLY
    cost: float | Callable[[Layered], float]
    counts: tuple[str, ...] = ()
    step: float | None = None
    scalars: Mapping[str, Reader] = field(default_factory=dict)
    columns: Mapping[str, Reader] = field(default_factory=dict)
    line: Callable[[Values], dict[str, str]] | None = None
    on_request: bool = False
    by_channel: bool = True

    def measured(self, net: Layered, seconds: float) -> Values:
        """Return the values of a network as JSON has them.

        Raises:
            TooLargeError: it may take longer than `seconds`, or needs more memory than is free.
        """
        estimate = self.cost(net) if callable(self.cost) else 1e-9 * self.cost * net.edges
        if estimate > seconds:
            raise TooLargeError(f"may take {estimate:,.0f} s")
        options = {"budget": seconds / self.step} if self.step else {}
        found = self.compute(net, **options)
        values: Values = self._plain(self.values(list(found) if isinstance(found, Iterator) else found))
        return values

    def _plain(self, value: Any, key: object = None) -> Any:
        if is_dataclass(value):
            value = {field.name: getattr(value, field.name) for field in fields(value)}
        if isinstance(value, Mapping):
            return {name: self._plain(part, key if key in self.counts else name) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(part, key) for part in value]
        if isinstance(value, Fraction):
            return float(value) if value < EXACT else decimal(round(value))
        return decimal(value) if isinstance(value, int) and key in self.counts else value

    def lines(self, name: str, values: Values) -> dict[str, str]:
        """Return the name and text of each line that `topokit info` prints."""
        if self.line:
            return self.line(values)
        return {} if self.columns else {name: ", ".join(f"{key} {shown(part)}" for key, part in values.items())}


def each_layer(net: Layered, measure: Callable[[Layer], T]) -> Iterator[T]:
    """Yield `measure` of each edge layer; of layers known to be equal once. Only what a later layer needs is kept."""
    repeated = {net.same_layer(i) for i in range(len(net)) if net.same_layer(i) != i}
    kept: dict[int, T] = {}
    for i, layer in enumerate(net.stream()):
        first = net.same_layer(i)
        found = kept[first] if first in kept else measure(layer)
        if i in repeated:
            kept[i] = found
        yield found


def shown(value: Any) -> str:
    """Return a value of JSON as text for people."""
    if isinstance(value, Mapping):
        return f"({', '.join(f'{key} {shown(part)}' for key, part in value.items())})"
    if isinstance(value, list):
        return f"({', '.join([*map(shown, value[:LISTED]), *['...'] * (len(value) > LISTED)])})"
    return in_words(value) if isinstance(value, str) and value.isdecimal() else cell(value)


def read(reader: Reader, values: Any) -> Any:
    """Return what a reader finds in the values of a measure, or of one layer."""
    return reader(values) if callable(reader) else reduce(getitem, filter(None, reader.split(".")), values)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are not None; None if all are."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
