"""Structure: the pattern of a layer, found in its edges alone.

An edge layer of a RadiX-Net is ones(a, b) (x) C, where C is a circulant whose node u feeds u, u + p, u + 2p, ...
Here this is found in any pattern, whatever its nodes are numbered: nodes with the same neighbours are
equivalent and form classes, and if the classes can be put on cycles so that each feeds a run of neighbours, they form
a `Band`.

Keys:
    layers: structure of a layer: blocks, circulant bands, n:m sparsity, fixed degrees
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np

from topokit.layered import Layer, Layered
from topokit.measures._classes import Labels
from topokit.measures._cycles import CyclicOrders, cyclic_orders
from topokit.measures._measure import Measure, each_layer
from topokit.measures.degrees import LayerDegrees
from topokit.measures.twins import quotient_of

LARGEST = 64
"""The largest m that is looked for. Hardware knows 4, and the literature goes to 32."""


@dataclass(frozen=True, slots=True)
class Groups:
    """n:m sparsity of an edge layer.

    Args:
        n: edges in each group.
        m: consecutive nodes in a group; the first group begins with node 0.
        along: "sources" if each target has n edges in every group of m sources, as hardware wants it; "targets" if
            each source has n in every group of m targets.
    """

    n: int
    m: int
    along: str

    def __str__(self) -> str:
        return f"{self.n}:{self.m} along the {self.along}"


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The nodes on one side of a layer that have edges, in classes of nodes with the same neighbours.

    Args:
        members: the nodes, class after class, ascending in each.
        sizes: shape (classes,), number of nodes in each class, at least 1.
    """

    members: Labels
    sizes: Labels

    def __str__(self) -> str:
        low, high = self.sizes.min(), self.sizes.max()
        return str(low) if low == high else f"{low}..{high}"


@dataclass(frozen=True, slots=True)
class Band:
    """Classes on cycles, each of which feeds a run of neighbours.

    Class i of a cycle of sources feeds classes i to i + radix - 1, modulo the length, of the same cycle of targets.
    With radix and length 1 the layer falls apart into `stride` complete blocks.

    Args:
        stride: number of cycles; in a RadiX-Net the place value, as node u lies on cycle u mod stride.
        length: classes on each cycle.
        radix: classes of targets that each class of sources feeds; below the length, or both are 1.
        direction: 1 if node u of a RadiX-Net feeds u, u + stride, ..., -1 if u, u - stride, ...; None where
            the numbers of the nodes do not show it.
    """

    stride: int
    length: int
    radix: int
    direction: int | None

    @property
    def blocks(self) -> bool:
        """Whether the layer falls apart into complete blocks."""
        return self.length == 1


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What one edge layer is made of.

    Args:
        sources: its sources; with a band, cycle after cycle and in its order.
        targets: its targets, likewise.
        band: None if the classes do not lie on cycles.
        fan_in: in-degree of every target, None where it varies.
        fan_out: out-degree of every source, None where it varies.
        groups: n:m sparsity, None where there is none, and not looked for in a band.
    """

    sources: Classes
    targets: Classes
    band: Band | None
    fan_in: int | None
    fan_out: int | None
    groups: Groups | None = None

    def __str__(self) -> str:
        if self.band is not None:
            size = f"{self.sources} x {self.targets}"
            if self.band.blocks:
                return f"{self.band.stride} block{'s' * (self.band.stride > 1)} of {size}"
            way = {1: ", forward", -1: ", backward", None: ""}[self.band.direction]
            return f"band: radix {self.band.radix}, stride {self.band.stride}, length {self.band.length}{way}, x {size}"
        parts = [str(self.groups)] * bool(self.groups)
        parts += [f"fan-in {self.fan_in}"] * bool(self.fan_in) + [f"fan-out {self.fan_out}"] * bool(self.fan_out)
        return ", ".join(parts) or "none"


def structures(net: Layered) -> Iterator[Structure]:
    """The structure of each edge layer, one layer after another; layers known to be equal are read once.

    >>> from topokit.families.radix_net import RadixNet
    >>> [str(found) for found in structures(RadixNet(radices=[(3, 4)], kron=(1, 2, 1)))]
    ['band: radix 3, stride 1, length 12, forward, x 1 x 2', '3 blocks of 8 x 4']
    """
    return each_layer(net, structure)


def structure(layer: Layer) -> Structure:
    """What a layer is made of.

    Cropping leaves classes of different sizes and is survived as long as every class keeps a node; a permutation
    of the nodes on either side is survived, but by n:m sparsity, which is in the numbers of the nodes. Every edge is
    compared with what is reported.

    Cost: O(edges) time, and O(edges log edges) of what is left when twins are taken together; about 40 bytes an edge.

    Source: the topology is that of Robinett & Kepner 2019, arXiv:1905.00416.
    """
    fan_out, fan_in = LayerDegrees(layer.out_degrees, layer.in_degrees).constant
    quotient = quotient_of(layer)
    orders = cyclic_orders(quotient.sources, quotient.targets)
    if orders is None:
        classes = _classes(quotient.source_class), _classes(quotient.target_class)
        return Structure(*classes, None, fan_in, fan_out, _groups_of(layer, fan_in, fan_out))
    stride, length = orders.sources.shape
    ordered = (
        _classes(quotient.source_class, orders.sources.ravel()),
        _classes(quotient.target_class, orders.targets.ravel()),
    )
    return Structure(*ordered, Band(stride, length, orders.radix, _direction(orders)), fan_in, fan_out)


def _classes(labels: Labels, order: Labels | None = None) -> Classes:
    """The classes of labelled nodes (-1: none), in the given order of the labels or the ascending one."""
    if order is None:
        order = np.arange(labels.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    nodes = np.flatnonzero(labels >= 0)
    ranks = rank[labels[nodes]]
    return Classes(nodes[np.argsort(ranks, kind="stable")], np.bincount(ranks, minlength=order.size))


def _direction(orders: CyclicOrders) -> int | None:
    """The direction of a RadiX layer, whose class u is that of node u; see `Band`."""
    stride, length = orders.sources.shape
    in_order = np.arange(stride * length).reshape(length, stride).T
    if orders.radix > 1 and np.array_equal(orders.sources, in_order):
        if np.array_equal(orders.targets, in_order):
            return 1
        if np.array_equal(np.roll(orders.targets, 1 - orders.radix, axis=1), in_order):
            return -1
    return None


def _groups_of(layer: Layer, fan_in: int | None, fan_out: int | None) -> Groups | None:
    """Return the n:m sparsity with the smallest m that a layer has: along the sources if it is there, else the targets.

    There are at least two groups, as a single one says no more than the fan-in does; and a complete layer, in which
    n = m, has none.

    Args:
        layer: the layer.
        fan_in: in-degree of every target, None where it varies.
        fan_out: out-degree of every source, None where it varies.

    Cost: O(edges) for each m that divides the width and fits the degree; O(edges / groups) where the first group
    shows that there is none, as it does in a random layer.

    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378.
    """
    sources, targets = layer.shape
    for n, m in _fitting(fan_in, sources):
        if all(_has_along_sources(layer, n, low, low + m) for low in range(0, sources, m)):
            return Groups(n, m, "sources")
    for n, m in _fitting(fan_out, targets):
        ends = layer.indices.reshape(sources, targets // m, n)  # each source's targets are sorted
        if all((ends[:, k] // np.uint64(m) == k).all() for k in range(targets // m)):
            return Groups(n, m, "targets")
    return None


def _fitting(degree: int | None, width: int) -> list[tuple[int, int]]:
    """(n, m) of the groups that so many edges can be spread over evenly, the smallest m first."""
    if not degree or degree == width:
        return []
    step = width // gcd(degree, width)
    sizes = range(step, min(LARGEST, width // 2) + 1, step)
    return [(degree * m // width, m) for m in sizes if width % m == 0]


def _has_along_sources(layer: Layer, n: int, low: int, high: int) -> bool:
    """Whether each target has n edges from sources low to high - 1."""
    start, end = layer.indptr[[low, high]].tolist()
    if end - start != n * layer.shape[1]:
        return False
    counts = np.bincount(layer.indices[start:end].view(np.intp), minlength=layer.shape[1])
    return bool((counts == n).all())


MEASURE = Measure(
    structures, values=lambda found: {"layers": [str(one) for one in found]}, cost=300, columns={"structure": ""}
)
