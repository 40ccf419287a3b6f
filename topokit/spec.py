"""Spec: a topology that is computed from its options, one layer at a time.

The dataclass fields of a family or a transform are its options. They become its command-line flags and its recipe.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from reprlib import repr as shortened
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from topokit._native import LayerRows
from topokit._registry import nearest
from topokit.circulant import Circulant
from topokit.csr import INDEX, MAX_WIDTH, Buffers, Storage, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.fields import Bounds as Bounds
from topokit.fields import checked
from topokit.fields import integer as integer
from topokit.fields import integers as integers
from topokit.fields import numbers as numbers
from topokit.fields import option as option
from topokit.fields import written as written
from topokit.layered import Layer, Layered, Recipe
from topokit.layered import network as network
from topokit.reprs import described
from topokit.topologies import Topology

MAX_LAYERS = 2**16
"""Largest value of an option that is a number of edge layers, so that no recipe in a file can exhaust the memory."""

LAYERS = Bounds(1, MAX_LAYERS)
"""Bounds of an option that is a number of edge layers."""

SEED = Bounds(0)
"""Bounds of a seed."""


def options_of(spec: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the options of a Spec or its class: name of the option -> dataclass field."""
    return {field.metadata.get("alias") or field.name: field for field in dataclasses.fields(spec)}


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(option,))
class Spec(Layered):
    """A `Layered` that is computed from its dataclass fields, which are its options.

    A subclass is a frozen dataclass. It defines `name`, `widths`, `layer_edges` and `arrays`, which computes a layer.
    All subclasses share the constructor, `==`, the hash and the repr of this class, in place of those of a dataclass.

    If `Layered` has an attribute with the name of an option, such as `density` or `layers`, the field needs another
    name. The only exception is `widths`.
    """

    kind: ClassVar[str] = "family"
    name: ClassVar[str]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        annotations, parameters = inspect.get_annotations(cls), []
        for name, field in vars(cls).items():
            if not isinstance(field, dataclasses.Field):
                continue
            if hasattr(Layered, name) and name != "widths":
                raise TypeError(
                    f"the field {name} of {cls.__name__} would hide an attribute that every topology has: "
                    f'call it _{name}, with option(..., alias="{name}")'
                )
            default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            about: Any = {"default": default, "annotation": annotations.get(name)}
            key = field.metadata.get("alias") or name
            parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, **about))
        if parameters:
            cls.__signature__ = inspect.Signature(parameters)
        for name in (
            "__init__",
            "__eq__",
            "__hash__",
            "__repr__",
        ):  # dataclass replaces those that are not in the class itself
            setattr(cls, name, getattr(cls, name))

    def __init__(self, *positional: Any, **given: Any):
        if positional:
            _refuse_positional(type(self), positional[0])
        missing = []
        for name, field in options_of(self).items():  # dataclasses.replace uses the names of the fields
            value = given.pop(name) if name in given else given.pop(field.name, field.default)
            if value is dataclasses.MISSING:
                missing.append(name)
                continue
            if field.metadata["kind"] == "net":
                value = network(value, f"the {field.metadata['help'][4:-1]}")
            self._set(field.name, value if value is field.default else checked(name, value, field.metadata))
        if given:
            name = next(iter(given))
            raise InvalidSpecError(f"{self.name} has no option {name}: {nearest(name, options_of(self))}")
        if missing:
            raise InvalidSpecError(f"{self.name} needs `{missing[0]}`")
        if self.kind == "family" and "widths" in options_of(self):
            require_widths(self.widths)  # before __post_init__, which may need valid widths
        self.__post_init__()
        require_widths(self.widths)

    def __post_init__(self) -> None:
        """Check what the declarations of the options cannot express, and normalise the options."""

    def _set(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        values = {name: getattr(self, field.name) for name, field in options_of(self).items()}
        return described(type(self).__name__, values)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of nodes in each node layer; a cached_property, because a subclass may have a field of this name."""
        raise NotImplementedError

    @property
    def exact_density(self) -> Fraction:
        """The density as a fraction, to promise if no number of edges is random. Cost: that of `layer_edges`."""
        return Fraction(self.edges, self.possible_edges)

    @abstractmethod
    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        """Return edge layer i in canonical order: indptr and indices, in arrays from `buffers`."""

    @property
    def slug(self) -> str:
        """A short name for files: the family and its options."""
        return "-".join([self.name, *(str(getattr(self, field.name)) for field in options_of(self).values())])

    def layer_key(self, i: int) -> Hashable:
        """Return a key of layer i: layers with equal keys have equal edges. O(1)."""
        return i

    @cached_property
    def _first(self) -> tuple[int, ...]:
        first: dict[Hashable, int] = {}
        return tuple(first.setdefault(self.layer_key(i), i) for i in range(len(self)))

    def same_layer(self, i: int) -> int:
        return self._first[i]

    def layer(self, i: int) -> Layer:
        return Layer(self.storage(i, Buffers()))

    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        buffers = Buffers()
        order = range(len(self))
        for i in reversed(order) if reverse else order:
            storage = self.storage(i, buffers)
            yield Layer(storage)
            buffers.reclaim(storage)

    def native_rows(self, i: int) -> LayerRows | None:  # noqa: ARG002 (a subclass uses it)
        """Return layer i for the native library; None if it does not compute the rows without an array. O(1)."""
        return None

    def storage(self, i: int, buffers: Buffers) -> Storage:
        """Return edge layer i in memory from `buffers`, which may reclaim it."""
        if not 0 <= i < len(self):
            raise IndexError(f"layer {i} of {len(self)}")
        indptr, indices = self.arrays(i, buffers)
        return buffers.store(indptr, indices, self.widths[i : i + 2])  # type: ignore[arg-type]

    def build(self) -> Topology:
        """Return the topology with all layers in memory. Layers that are known to be equal share their memory.

        Cost: 8 bytes per edge and per node.

        Raises:
            TooLargeError: not enough free memory.
        """
        about = {"recipe": self.recipe, "promises": self.promises, "notes": self.notes, "by_channel": self.by_channel}
        return Topology(self.layers, **about)  # type: ignore[arg-type]

    @property
    def recipe(self) -> Recipe | None:
        """The name and the options as JSON-able values; None if the recipe of a network in the options is unknown."""
        given: dict[str, Any] = {}
        for name, field in options_of(self).items():
            value = given[name] = _as_json(getattr(self, field.name))
            if None in {"net": [value], "nets": value}.get(field.metadata["kind"], ()):
                return None
        return {self.kind: self.name, "options": given}


class CirculantSpec(Spec):
    """A Spec of circulant layers, whose rows the native library computes one at a time, without an array of them."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "arrays" in vars(cls):
            raise TypeError(f"{cls.__name__} must define circulant, not arrays: the checks compute rows from it")

    @abstractmethod
    def circulant(self, i: int) -> Circulant:
        """Return edge layer i as a few numbers. O(1)."""

    def native_rows(self, i: int) -> LayerRows | None:
        return self.circulant(i).rows()

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        return self.circulant(i).arrays(buffers)


def _refuse_positional(kind: type[Spec], value: object) -> None:
    name = next(iter(options_of(kind)))
    raise TypeError(
        f"{kind.__name__} takes its options as keywords, such as {name}=..., and no positional argument, such as "
        f"{shortened(value)}"
    )


def require_widths(widths: Sequence[int]) -> None:
    """Require at least two node layers, each of less than 2**32 nodes, the limit of layers and files.

    Raises:
        InvalidSpecError: there are fewer layers, or a layer is wider; names the first such layer.
    """
    if len(widths) < 2:
        raise InvalidSpecError(f"`widths` must be of at least 2 node layers, not {len(widths)}")
    for i, width in enumerate(widths):
        if width >= MAX_WIDTH:
            raise InvalidSpecError(f"node layer {i} would have more than 2^32 - 1 nodes: use smaller numbers")


def from_numbers_alone(net: Layered) -> bool:
    """Return whether the recipe alone defines the edges, with no layers in memory that might differ from it."""
    if not isinstance(net, Spec) or net.recipe is None:
        return False
    values = (getattr(net, field.name) for field in options_of(net).values())
    parts = (part for value in values for part in (value if isinstance(value, tuple) else (value,)))
    return all(from_numbers_alone(part) for part in parts if isinstance(part, Layered))


def slug_of(net: Layered) -> str:
    """Return a short name of a network for files: its slug, or its widths."""
    return net.slug if isinstance(net, Spec) else dotted(net.widths)


def dotted(values: Sequence[object]) -> str:
    """Return a list as a part of a file name: all values if they are few, else the first, the last and the number."""
    return ".".join(map(str, values)) if len(values) <= 12 else f"{values[0]}..{values[-1]}x{len(values)}"


def generator(seed: int, i: int) -> np.random.Generator:
    """Return the random stream of layer i, so that layers can be drawn in any order, on any machine.

    The bit generator is fixed, because NumPy's default may change, but the edges of a recipe must not.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(i,))))


def from_cells(cells: UInt64Array, shape: tuple[int, int], buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
    """Return the arrays of a layer from the cell numbers of its edges. O(edges + sources log edges).

    Args:
        cells: source * targets + target of each edge, in increasing order, which is the canonical order.
        shape: (sources, targets).
        buffers: the source of the arrays.
    """
    sources, targets = shape
    indptr, indices = buffers.take(sources, cells.size)
    indptr[:] = np.searchsorted(cells, np.arange(sources + 1, dtype=INDEX) * targets)
    np.remainder(cells, targets, out=indices)
    return indptr, indices


def _as_json(value: Any) -> Any:
    if isinstance(value, Layered):
        return value.recipe
    if isinstance(value, tuple):
        return list(map(_as_json, value))
    return str(value) if isinstance(value, Fraction) else value
