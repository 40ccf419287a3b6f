"""Which nodes each element of a tensor is: the numbers of nodes that a graph's operators move, join and connect.

Every node has a number. A tensor is an array of these numbers in the tensor's shape, so an operator that only moves
elements (reshape, transpose, slice, concatenate) does the same with the numbers. -1 is an element that no node
determines, such as padding. `Tracing` numbers the nodes and records the layers; `operators` says what each operator
does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.components import connected_components
from topokit.convolutions import Mask, Shape
from topokit.csr import require_memory
from topokit.extraction.weights import Part, Read
from topokit.reprs import listed, short_repr

Ids = NDArray[np.int64]
View = Callable[[NDArray[Any]], NDArray[Any]]

FREE = ("input", "mixed")
"""Kinds of spaces whose nodes are the elements of a tensor; elements that a layer reads by one weight are one node."""


def same(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array: the view of a whole parameter."""
    return array


def shape_of(move: View, shape: Shape) -> Shape:
    """Return the shape to which a function moves the elements of an array of this shape."""
    # a broadcast array takes no memory, and neither do most of its views
    return move(np.broadcast_to(np.False_, shape)).shape


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A tensor that does not depend on the inputs: a weight, a view of one, or a number.

    Args:
        shape: of the tensor.
        read: returns its values.
        parameter: name of the parameter that it is a view of; of a computed one see `interpreter`; "" if there is none.
        part: the weights and mask that it is a view of.
        view: makes this tensor's layout of an array in the part's shape.
        parameters: names of all parameters that it is computed from.
        product: whether it is computed by a product with a parameter, as the queries of an attention to learned
            vectors: it is a weight only if an operator, such as a linear layer, takes it as such.
    """

    shape: Shape
    read: Read
    parameter: str = ""
    part: Part | None = None
    view: View = same
    parameters: tuple[str, ...] = ()
    product: bool = False

    __repr__ = short_repr

    @classmethod
    def of(cls, name: str, part: Part) -> Constant:
        """Return a whole parameter."""
        return cls(shape=part.shape, read=part.read, parameter=name, part=part, parameters=(name,))

    def moved(self, move: View) -> Constant:
        """Return the constant with its elements moved by a function."""
        return replace(
            self,
            shape=shape_of(move, self.shape),
            read=lambda: move(self.read()),
            view=lambda array: move(self.view(array)),
        )

    @property
    def origin(self) -> str:
        """What it is, for a message: "it" for a parameter, or else what it is computed from."""
        computed = len(self.parameters) > 1 or self.product
        return f"what is computed from {listed(self.parameters)}" if computed else "it"


@dataclass(frozen=True, kw_only=True)
class Space:
    """Nodes with consecutive numbers.

    Args:
        name: of the layer, the input or the operator.
        kind: "layer"; "input"; how an operator joined nodes ("added", "multiplied", "recurrent"); "mixed" by an
            operator that no node passes unchanged.
        first: number of the first node.
        size: number of nodes.
        of: the nodes that each one is joined from, shape (size, k); for "mixed" nodes those that all depend on, (1, k).
    """

    name: str
    kind: str
    first: int
    size: int
    of: Ids

    @property
    def ids(self) -> Ids:
        return np.arange(self.first, self.first + self.size)


@dataclass(frozen=True, kw_only=True)
class Use:
    """A layer: a parameter multiplied by features.

    Args:
        name: of the layer: the parameter's name; with "#2" for the second use.
        parameter: name of the parameter.
        how: its orientation and groups, for a table.
        matrix: makes (groups, out, in, taps) of a mask in the parameter's shape; a tap is a position in a filter.
        sources: the nodes that each input is, shape (groups, in, k); -1 for less than k.
        first: number of its first output node; output j of group g is node first + g * out + j.
        filters: whether a tap is one of several weights of a filter, so that reading by channel joins them.
    """

    name: str
    parameter: str
    how: str
    matrix: Callable[[Mask], Mask]
    sources: Ids
    first: int
    filters: bool = False

    @cached_property
    def in_line(self) -> bool:
        """Whether each input is a node of its own, in the order of their numbers, as in most layers."""
        ids = self.sources
        one = len(ids) == ids.shape[2] == 1
        return bool(one and ids.size and ids[0, 0, 0] >= 0 and (ids[0, 1:] > ids[0, :-1]).all())

    @cached_property
    def nodes(self) -> Ids:
        """The different nodes of the inputs, increasing."""
        return self.sources[0, :, 0] if self.in_line else nodes_of(self.sources)


class Tracing:
    """Nodes and layers of a graph, numbered in the order of the graph.

    Args:
        labels: name of an input or of a mixing operator -> the node that each of its elements is; by default each
            element is a node of its own.

    Attributes:
        spaces: the nodes, in the order of their numbers.
        uses: the layers.
        parts: parameter name -> weight, of the layers.
        weighted: name of an operator that averages positions, their nodes, and those on which the weights depend.
        outputs: the nodes of each output of the graph.
        reasons: parameter name -> why it is not extracted, if no layer has it.
    """

    def __init__(self, labels: Mapping[str, Ids] | None = None):
        self.labels = dict(labels or {})
        self.spaces: list[Space] = []
        self.uses: list[Use] = []
        self.parts: dict[str, Part] = {}
        self.weighted: list[tuple[str, Ids, Ids]] = []
        self.outputs: list[Ids] = []
        self.reasons: dict[str, str] = {}
        self._merges: list[Ids] = []
        self._times: dict[str, int] = {}
        self._layers: set[str] = set()
        self._owners: dict[int, str] = {}  # id of a part, all of which `parts` keeps -> its name

    @property
    def count(self) -> int:
        """Number of nodes."""
        return self.spaces[-1].first + self.spaces[-1].size if self.spaces else 0

    @cached_property
    def _firsts(self) -> Ids:
        return np.array([space.first for space in self.spaces])

    def add(self, name: str, kind: str, size: int, of: Ids | None = None) -> Space:
        """Add nodes."""
        require_memory(32 * size, f"the nodes of {name}")
        self.__dict__.pop("_firsts", None)
        of = np.empty((size, 0), np.int64) if of is None else of
        space = Space(name=name, kind=kind, first=self.count, size=size, of=of)
        self.spaces.append(space)
        return space

    def space_numbers(self, ids: Ids) -> Ids:
        """Return the number of the space of each node."""
        return np.asarray(np.searchsorted(self._firsts, ids, side="right") - 1)

    def spaces_of(self, ids: Ids) -> list[Space]:
        """Return the spaces of some nodes, in the order of their numbers, without -1."""
        ids = once(ids)
        ends = self.space_numbers(np.array([ids.min(initial=self.count), ids.max(initial=-1)]))
        # those of a layer are in one space, which its ends show faster than all nodes do
        numbers = ends[:1] if ends[0] == ends[1] else np.unique(self.space_numbers(ids))
        return [self.spaces[i] for i in numbers[numbers >= 0]]

    def fresh(self, name: str, kind: str, shape: Shape, of: Ids | None = None) -> Ids:
        """Add a node for each element of a tensor, or as its labels say, and return the tensor."""
        size = math.prod(shape)
        require_memory(32 * size, f"the nodes of {name}")
        labels = self.labels.get(name)
        labels = np.arange(size) if labels is None else labels
        space = self.add(name, kind, int(labels.max(initial=-1)) + 1, of)
        return (space.first + labels).reshape(shape)

    def join(self, kind: str, name: str, one: Ids, two: Ids) -> Ids:
        """Return the nodes of an operator on the elements of two tensors: a new one for each pair of different nodes.

        An element with two equal nodes, or with one node and -1, has that node. Nodes of a statistic of the other
        tensor, such as its mean, do not count.
        """
        shape = np.broadcast_shapes(one.shape, two.shape)
        one, two = np.broadcast_arrays(one, two)
        repeated = tuple(
            slice(0, 1) if a == b == 0 else slice(None) for a, b in zip(one.strides, two.strides, strict=True)
        )
        one, two = one[repeated], two[repeated]
        if self._is_statistic(two, one):
            return np.broadcast_to(one, shape)
        if self._is_statistic(one, two):
            return np.broadcast_to(two, shape)
        joined = np.maximum(one, two)
        differ = (one != two) & (one >= 0) & (two >= 0)
        if differ.any():
            pairs, which = np.unique(np.stack([one[differ], two[differ]], 1), axis=0, return_inverse=True)
            space = self.add(name, kind, len(pairs), pairs)
            joined[differ] = space.first + which.ravel()
        return np.broadcast_to(joined, shape)

    def _is_statistic(self, ids: Ids, of: Ids) -> bool:
        """Return whether nodes are mixed from `of` alone, as a mean: a tensor divided by its mean keeps its nodes."""
        spaces = self.spaces_of(ids)
        whole = {space.name for space in self.spaces_of(of)}
        return bool(spaces) and all(
            space.kind == "mixed" and {one.name for one in self.spaces_of(space.of)} <= whole for space in spaces
        )

    def connect(self, weight: Constant, how: str, matrix: View, reads: Ids, out: int, *, filters: bool = False) -> Ids:
        """Add a layer, and return the numbers of its outputs, shape (groups, out).

        Args:
            weight: what it multiplies by.
            how: see `Use`.
            matrix: makes (groups, out, in, taps) of an array in the weight's layout.
            reads: the nodes of each input, shape (groups, in, positions).
            out: outputs of a group.
            filters: see `Use`.
        """
        name, layer = self._names_of(weight)
        others = [parameter for parameter in weight.parameters if parameter != name]
        reason = f"the weight of the layer {name} is computed from {listed(weight.parameters)}" if others else ""
        for parameter in others:
            self.reasons.setdefault(parameter, reason)
        view = weight.view
        space = self.add(layer, "layer", reads.shape[0] * out)
        sources = distinct(reads)
        self._merges.append(sources)
        self.uses.append(
            Use(
                name=space.name,
                parameter=name,
                how=how,
                matrix=lambda mask: matrix(view(mask)),
                sources=sources,
                first=space.first,
                filters=filters,
            )
        )
        return space.ids.reshape(reads.shape[0], out)

    def _names_of(self, weight: Constant) -> tuple[str, str]:
        """Return the name of a weight among the parts, and that of the layer that uses it.

        A layer has the name of its parameter, with #2, #3, ... if an earlier layer has that name. A weight has the name
        of its first layer, so the names of two weights that are computed from one parameter differ.
        """
        part = weight.part or Part(shape=weight.shape, weight=weight.read)
        base = weight.parameter or "constant"
        times = self._times[base] = self._times.get(base, 0) + 1
        names = (f"{base}#{number}" if number > 1 else base for number in count(times))
        layer = next(name for name in names if name not in self._layers)
        self._layers.add(layer)
        name = self._owners.setdefault(id(part), layer)
        self.parts[name] = part
        return name, layer

    def without_covered(self) -> Tracing:
        """Return the same nodes; no layer reads a node whose parts are all among those of another that it reads.

        An example is a class token: at its position a feature is not yet the sum that it is at the others.
        """
        joined = np.array([space.kind not in (*FREE, "layer") for space in self.spaces])
        uses = []
        for use in self.uses:
            sources = use.sources
            several = np.asarray((sources[..., 1:] >= 0).any(axis=-1))  # inputs of several nodes, some of them joined
            several[several] = joined[self.space_numbers(sources[several])].any(axis=-1)
            if several.any():
                sources, parts = sources.copy(), self._parts_of(sources[several])
                for row in np.argwhere(several):
                    nodes = sources[tuple(row)]
                    known = [parts.get(node, frozenset()) for node in nodes.tolist()]
                    nodes[[any(one < other for other in known) for one in known]] = -1
                sources = distinct(sources)
            uses.append(replace(use, sources=sources))
        return self.with_uses(uses)

    def _parts_of(self, nodes: Ids) -> dict[int, frozenset[int]]:
        """Return the nodes of layers, inputs and mixing operators that each node is joined from; also for its parts."""
        of: dict[int, list[int]] = {}
        todo = nodes_of(nodes).tolist()
        while todo:
            node = todo.pop()
            if node not in of:
                (space,) = self.spaces_of(np.array([node]))
                ends = space.kind in (*FREE, "layer")
                of[node] = [] if ends else [part for part in space.of[node - space.first].tolist() if part >= 0]
                todo += of[node]
        parts: dict[int, frozenset[int]] = {}
        for node in sorted(of):  # parts have lower numbers
            parts[node] = frozenset[int]().union(*(parts[part] for part in of[node])) or frozenset([node])
        return parts

    def merges(self, ids: Ids) -> bool:
        """Return whether some of the nodes are elements of a tensor, or joined of these, which a layer can merge."""
        spaces = self.spaces_of(ids)
        joined = [space for space in spaces if space.kind not in (*FREE, "layer")]
        return any(space.kind in FREE for space in spaces) or any(self.merges(space.of) for space in joined)

    def with_uses(self, uses: list[Use]) -> Tracing:
        """Return the same nodes with other layers."""
        chosen = copy(self)
        chosen.uses = uses
        return chosen

    def merged(self) -> dict[str, Ids] | None:
        """Return labels by which elements that a layer reads by one weight are one node; None if they are already."""
        rows, ids = self._read_together()
        spaces = self.space_numbers(ids)
        free = np.array([space.kind in FREE for space in self.spaces])[spaces] if ids.size else np.empty(0, bool)
        rows, ids, spaces = rows[free], ids[free], spaces[free]
        order = np.lexsort((ids, spaces, rows))
        rows, ids, spaces = rows[order], ids[order], spaces[order]
        linked = (rows[1:] == rows[:-1]) & (spaces[1:] == spaces[:-1]) & (ids[1:] != ids[:-1])
        if not linked.any():
            return None
        group = connected_components(ids[:-1][linked], ids[1:][linked], self.count)
        labels = dict(self.labels)
        for space in self.spaces:
            if space.kind in FREE:
                before = labels.get(space.name, np.arange(space.size))
                labels[space.name] = np.unique(group[space.ids], return_inverse=True)[1][before]
        return labels

    def _read_together(self) -> tuple[Ids, Ids]:
        """Return (row, node) for all nodes that some weight reads together with others; joined ones as their parts."""
        rows, ids, first = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        for sources in self._merges:
            if sources.shape[2] > 1:
                flat = sources.reshape(-1, sources.shape[2])
                which, _ = np.nonzero(flat >= 0)
                rows.append(first + which)
                ids.append(flat[flat >= 0])
                first += len(flat)
        row, node = np.concatenate(rows), np.concatenate(ids)
        for space in reversed(self.spaces):  # a joined node's parts have lower numbers
            if space.kind in (*FREE, "layer") or not space.of.size:
                continue
            inside = (node >= space.first) & (node < space.first + space.size)
            parts = space.of[node[inside] - space.first]
            row = np.concatenate([row[~inside], np.repeat(row[inside], parts.shape[1])])
            node = np.concatenate([node[~inside], parts.ravel()])
            pairs = np.unique(np.stack([row, node], 1)[node >= 0], axis=0)
            row, node = pairs[:, 0], pairs[:, 1]
        return row, node


def nodes_of(ids: Ids) -> Ids:
    """Return the different nodes of a tensor, increasing; without -1. Repeated axes cost nothing."""
    found = np.unique(once(ids))
    return found[found >= 0]


def once(ids: Ids) -> Ids:
    """Return an array without the repetitions along axes that are broadcast."""
    if 0 not in ids.strides:
        return ids
    return ids[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in ids.strides)]


def distinct(reads: Ids) -> Ids:
    """Return the different nodes along the last axis, shape (..., k), filled up with -1."""
    if not reads.shape[-1] or reads.strides[-1] == 0 or (reads == reads[..., :1]).all():
        return reads[..., :1]
    ordered = np.sort(reads, axis=-1)
    ordered[..., 1:][ordered[..., 1:] == ordered[..., :-1]] = -1
    ordered = -np.sort(-ordered, axis=-1)
    most = int((ordered >= 0).sum(axis=-1).max())
    return ordered[..., : max(most, 1)][..., ::-1]


def constant_along(ids: Ids, axes: Iterable[int], *, strict: bool = False) -> Ids | None:
    """Return the nodes without some axes, which keep the length 1; None if they differ along these.

    Unless `strict`, elements that no node determines do not differ from others: the mean of a node's positions, of
    which one is overwritten with 0, is that node's.
    """
    for axis in axes:
        first = ids.take([0], axis) if ids.shape[axis] else ids
        if ids.strides[axis] and not (ids == first).all():
            first = ids.max(axis, keepdims=True)
            if strict or not ((ids == first) | (ids < 0)).all():
                return None
        ids = first
    return ids
