"""Spec: a layered graph described by a few numbers, which makes its layers when they are asked for.

A family's or a transform's dataclass fields are its whole description: they become its command-line
flags and its recipe.
"""

from __future__ import annotations

import dataclasses
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from topokit.csr import Buffers, UInt64Array, require_memory
from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered, Recipe
from topokit.topology import Topology


class Spec(Layered):
    """A `Layered` that is computed from its dataclass fields.

    A subclass is a frozen dataclass. It sets `kind` ("family" or "transform") and `name`, gives `widths`
    and `layer_edges` or what they need, and fills a layer's arrays in `arrays`.
    """

    kind: ClassVar[str]
    name: ClassVar[str]

    @abstractmethod
    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        """indptr and indices of edge layer i in canonical order, in arrays taken from `buffers`."""

    @property
    @abstractmethod
    def slug(self) -> str:
        """A short name for files: the family and its parameters."""

    def layer(self, i: int) -> Layer:
        return self._layer(i, Buffers())[0]

    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        buffers = Buffers()
        order = range(len(self))
        for i in reversed(order) if reverse else order:
            layer, storage = self._layer(i, buffers)
            yield layer
            buffers.reclaim(storage)

    def _layer(self, i: int, buffers: Buffers) -> tuple[Layer, Any]:
        if not 0 <= i < len(self):
            raise IndexError(f"layer {i} of {len(self)}")
        indptr, indices = self.arrays(i, buffers)
        storage = buffers.store(indptr, indices, self.widths[i : i + 2])  # type: ignore[arg-type]
        return Layer(storage), storage

    def build(self) -> Topology:
        """All layers, held in memory; layers known to be equal are made once and shared.

        Cost: 8 bytes an edge and 8 bytes a node.

        Raises:
            TooLargeError: not enough free memory.
        """
        distinct = [i for i in range(len(self)) if self.same_layer(i) == i]
        edges = self.layer_edges
        require_memory(sum(8 * (edges[i] + self.widths[i] + 1) for i in distinct), "this network")
        made = {i: self.layer(i) for i in distinct}
        layers = [made[self.same_layer(i)] for i in range(len(self))]
        return Topology(layers, recipe=self.recipe, promises=self.promises, notes=self.notes)

    @property
    def recipe(self) -> Recipe | None:
        options = {field.name: _as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {self.kind: self.name, "options": options}


def option(help: str, *, kind: str, default: Any = dataclasses.MISSING) -> Any:  # noqa: A002 (the flag's help text)
    """A dataclass field of a spec, with what the command line needs to know of it.

    Args:
        help: one line for `--help`.
        kind: "int", "ints" (2,3), "systems" (2,3, repeated), "numbers" (.1,.5), "choice" or "net" (another topology).
        default: as for `dataclasses.field`.
    """
    return dataclasses.field(default=default, metadata={"help": help, "kind": kind})


def integers(values: object, what: str, minimum: int) -> tuple[int, ...]:
    """`values` as a tuple of ints, each at least `minimum`.

    Raises:
        InvalidSpecError: names `what` and the first value that is not such an integer.
    """
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
        raise InvalidSpecError(f"{what} must be a list of integers, not {values!r}")
    return tuple(integer(value, what, minimum) for value in values)


def integer(value: object, what: str, minimum: int) -> int:
    """`value` as an int of at least `minimum`, or InvalidSpecError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidSpecError(f"{what} must be integers of at least {minimum}, not {value!r}") from None
    if number < minimum:
        raise InvalidSpecError(f"{what} must be at least {minimum}, not {number}")
    return number


def _as_json(value: Any) -> Any:
    converters: Mapping[type, Callable[[Any], Any]] = {
        tuple: lambda items: [_as_json(item) for item in items],
        Fraction: str,
    }
    if isinstance(value, Layered):
        return value.recipe
    return converters.get(type(value), lambda same: same)(value)
