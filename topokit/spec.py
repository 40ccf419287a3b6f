"""Spec: a layered graph described by a few numbers, which makes its layers when they are asked for.

A family's or a transform's dataclass fields are its whole description: they become its command-line
flags and its recipe.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from reprlib import repr as shortened
from typing import Any, ClassVar

import numpy as np

from topokit.csr import INDEX, MAX_WIDTH, Buffers, Storage, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.fields import integer as integer
from topokit.fields import integers as integers
from topokit.fields import numbers as numbers
from topokit.fields import option as option
from topokit.fields import written as written
from topokit.layered import Layer, Layered, Recipe
from topokit.layered import network as network
from topokit.options import Options
from topokit.options import options_of as options_of
from topokit.topologies import Topology


class Spec(Options):
    """A `Layered` that is computed from its dataclass fields.

    A subclass is a frozen dataclass. It sets `kind` ("family" or "transform") and `name`, gives `widths`
    and `layer_edges` or what they need, and fills a layer's arrays in `arrays`.
    """

    kind: ClassVar[str]
    name: ClassVar[str]

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of nodes in each node layer; not a property, so that a subclass may have it as a field."""
        raise NotImplementedError

    @abstractmethod
    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        """Edge layer i in canonical order, as indptr and indices in arrays taken from `buffers`."""

    @property
    @abstractmethod
    def slug(self) -> str:
        """A short name for files: the family and its parameters."""

    def layer(self, i: int) -> Layer:
        return Layer(self.storage(i, Buffers()))

    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        buffers = Buffers()
        order = range(len(self))
        for i in reversed(order) if reverse else order:
            storage = self.storage(i, buffers)
            yield Layer(storage)
            buffers.reclaim(storage)

    def storage(self, i: int, buffers: Buffers) -> Storage:
        """Edge layer i in memory taken from `buffers`, which may take it back."""
        if not 0 <= i < len(self):
            raise IndexError(f"layer {i} of {len(self)}")
        indptr, indices = self.arrays(i, buffers)
        return buffers.store(indptr, indices, self.widths[i : i + 2])  # type: ignore[arg-type]

    def build(self) -> Topology:
        """All layers, held in memory; layers known to be equal are made once and shared.

        Cost: 8 bytes an edge and 8 bytes a node.

        Raises:
            TooLargeError: not enough free memory.
        """
        return Topology(
            self.layers,
            recipe=self.recipe,
            promises=self.promises,
            notes=self.notes,
            by_channel=self.by_channel,
        )

    @property
    def recipe(self) -> Recipe | None:
        """The fields as JSON-able values; None where a network it is made from has no recipe itself."""
        given: dict[str, Any] = {}
        for name, field in options_of(self).items():
            value = given[name] = _as_json(getattr(self, field.name))
            if None in {"net": [value], "nets": value}.get(field.metadata["kind"], ()):
                return None
        return {self.kind: self.name, "options": given}


MAX_LAYERS = 2**16
"""Edge layers that one number may ask for: a file could ask for more than even the widths have room."""


def layer_count(value: object) -> int:
    """The field `layers` of a family as an int from 1 to MAX_LAYERS, or InvalidSpecError."""
    layers = integer(value, "layers", 1)
    if layers > MAX_LAYERS:
        raise InvalidSpecError(f"layers must be at most {MAX_LAYERS:,}, not {shortened(layers)}")
    return layers


def require_widths(widths: Sequence[int]) -> None:
    """Refuse node layers of 2**32 or more nodes, which no layer and no file can hold.

    Raises:
        InvalidSpecError: names the first such node layer.
    """
    for i, width in enumerate(widths):
        if width >= MAX_WIDTH:
            raise InvalidSpecError(f"node layer {i} would have more than 2^32 - 1 nodes: use smaller numbers")


def from_numbers_alone(net: Layered) -> bool:
    """Whether a recipe is all it takes: no layer of it is held in memory, where it might differ from its recipe."""
    if not isinstance(net, Spec) or net.recipe is None:
        return False
    values = (getattr(net, field.name) for field in options_of(net).values())
    parts = (part for value in values for part in (value if isinstance(value, tuple) else (value,)))
    return all(from_numbers_alone(part) for part in parts if isinstance(part, Layered))


def slug_of(net: Layered) -> str:
    """A short name of any network for files: its own, or its widths."""
    return net.slug if isinstance(net, Spec) else dotted(net.widths)


def dotted(values: Sequence[object]) -> str:
    """A list's part of a file name: all values where they are few, else the first, the last and how many."""
    return ".".join(map(str, values)) if len(values) <= 12 else f"{values[0]}..{values[-1]}x{len(values)}"


def generator(seed: int, i: int) -> np.random.Generator:
    """The random stream of (edge or node) layer i alone: layers can be drawn in any order, on any machine.

    Named in full, since what NumPy takes by default may change and a recipe must not.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(i,))))


def from_cells(cells: UInt64Array, shape: tuple[int, int], buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
    """A layer's arrays from its edges' cell numbers. O(edges + sources log edges).

    Args:
        cells: source * targets + target of each edge, increasing: that is the canonical order.
        shape: (sources, targets).
        buffers: where the arrays are taken from.
    """
    sources, targets = shape
    indptr, indices = buffers.take(sources, cells.size)
    indptr[:] = np.searchsorted(cells, np.arange(sources + 1, dtype=INDEX) * targets)
    np.remainder(cells, targets, out=indices)
    return indptr, indices


def _as_json(value: Any) -> Any:
    converters: Mapping[type, Callable[[Any], Any]] = {
        tuple: lambda items: [_as_json(item) for item in items],
        Fraction: str,
    }
    if isinstance(value, Layered):
        return value.recipe
    return converters.get(type(value), lambda same: same)(value)
