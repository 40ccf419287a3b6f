"""Transforms that change the widths: crop and Kronecker product."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from topokit.csr import Buffers, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.layered import Layered, Promises, Source
from topokit.reprs import counted
from topokit.spec import Bounds, dotted, option, slug_of
from topokit.transforms.base import Transform, copied


@dataclass(frozen=True, kw_only=True)
class Crop(Transform):
    """The first (or last) nodes of each node layer, and the edges between them.

    Kept nodes are numbered from 0 again. If only the first and the last node layer are cropped, each input
    and output keep their number of paths.

    Args:
        of: the network to crop.
        widths: how many nodes of each node layer are kept.
        keep: "first" or "last".

    Raises:
        InvalidSpecError: a width too many or too few, below 1, or above that of the node layer.

    Cost of a layer: O(edges of that layer of `of`). Counting the edges reads `of` once, layer by layer.

    >>> from topokit.families.radix_net import RadixNet
    >>> net = crop(RadixNet(radices=(10, 10), kron=(8, 3, 1)), (784, 300, 100))
    >>> net.layer_edges, net.promises.paths
    ((23520, 3000), 3)
    """

    name = "crop"

    of: Layered = option("The network to crop.", kind="net")
    widths: tuple[int, ...] = option("How many nodes of each node layer are kept.", kind="ints", bounds=Bounds(1))
    keep: str = option(
        "Which nodes are kept: first or last.", kind="choice", default="first", choices=("first", "last")
    )

    def __post_init__(self) -> None:
        _require_one_each("crop", self.widths, self.of.widths)
        for i, (width, wanted) in enumerate(zip(self.of.widths, self.widths, strict=True)):
            if wanted > width:
                raise InvalidSpecError(
                    f"crop: node layer {i} has {counted(width, 'node')} and {wanted} are to be kept: give at most "
                    f"{width}"
                )

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        edges: list[int] = []
        for i, first in enumerate(self._first):
            edges.append(edges[first] if first < i else self._cropped(i).nnz)
        return tuple(edges)

    @property
    def promises(self) -> Promises:
        old = self.of.promises
        if self.widths == self.of.widths:
            return old
        if self.widths[1:-1] == self.of.widths[1:-1]:
            return Promises(connected=old.connected, paths=old.paths)
        return Promises()

    @property
    def slug(self) -> str:
        return f"{slug_of(self.of)}-crop-{dotted(self.widths)}{'-last' if self.keep == 'last' else ''}"

    def layer_key(self, i: int) -> Hashable:
        return self.of.same_layer(i), self.widths[i : i + 2]

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        return copied(self._cropped(i), buffers)

    def _cropped(self, i: int) -> Any:
        """Return edge layer i as a scipy.sparse.csr_array."""
        kept = [
            slice(0, new) if self.keep == "first" else slice(old - new, old)
            for old, new in zip(self.of.widths[i : i + 2], self.widths[i : i + 2], strict=True)
        ]
        return self.of.layer(i).to_scipy()[kept[0], kept[1]]


@dataclass(frozen=True, kw_only=True)
class Kron(Transform):
    """The Kronecker product with complete layers: nodes are copied, and all copies of neighbours are joined.

    With B the numbers of copies, edge layer i is ones(B_i, B_{i+1}) (x) W_i: copy b of node u is number
    b * (old width) + u. Each layer keeps its density; the paths are multiplied by the interior B.

    Args:
        of: the network to widen.
        kron: B, how many copies of each node layer there are.

    Raises:
        InvalidSpecError: a number too many or too few, below 1, or a node layer of 2**32 nodes or more.

    Cost of a layer: O(edges).
    Source: Robinett & Kepner 2019, arXiv:1905.00416, where it makes a RadiX-Net of a mixed radix topology.

    >>> from topokit.families.radix_net import RadixNet
    >>> net = kron(RadixNet(radices=(2, 2, 2)), (1, 10, 10, 1))
    >>> net.widths, net.promises.paths
    ((8, 80, 80, 8), 100)
    """

    name = "kron"

    of: Layered = option("The network to widen.", kind="net")
    kron: tuple[int, ...] = option("How many copies of each node layer there are.", kind="ints", bounds=Bounds(1))

    def __post_init__(self) -> None:
        _require_one_each("kron", self.kron, self.of.widths)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return tuple(width * b for width, b in zip(self.of.widths, self.kron, strict=True))

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(edges * a * b for edges, (a, b) in zip(self.of.layer_edges, pairwise(self.kron), strict=True))

    @property
    def promises(self) -> Promises:
        old = self.of.promises
        degrees = old.degrees and tuple(
            (out and out * b, into and into * a)
            for (out, into), (a, b) in zip(old.degrees, pairwise(self.kron), strict=True)
        )
        return Promises(
            connected=old.connected,
            paths=old.paths and old.paths * prod(self.kron[1:-1]),
            degrees=degrees,
            density=old.density and self.exact_density,
        )

    @property
    def slug(self) -> str:
        return f"{slug_of(self.of)}-kron-{dotted(self.kron)}"

    def layer_key(self, i: int) -> Hashable:
        return self.of.same_layer(i), self.kron[i : i + 2]

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        from scipy.sparse import hstack

        a, b = self.kron[i : i + 2]
        indptr, indices = buffers.take(self.widths[i], self.layer_edges[i])
        row = hstack([self.of.layer(i).to_scipy()] * b, format="csr")  # the targets of one copy of the sources
        first = np.arange(a)[:, None] * row.nnz
        indptr[:-1].reshape(a, -1)[:] = first + row.indptr[:-1]
        indptr[-1] = indices.size
        indices.reshape(a, -1)[:] = row.indices
        return indptr, indices


def _require_one_each(what: str, numbers: Sequence[int], widths: Sequence[int]) -> None:
    if len(numbers) != len(widths):
        raise InvalidSpecError(
            f"{what} has {counted(len(numbers), 'width')}; the network has {counted(len(widths), 'node layer')}: "
            "give one each"
        )


def crop(net: Source, widths: Sequence[int], keep: str = "first") -> Crop:
    """Keep the first (or last) `widths[i]` nodes of each node layer i of `net`; see `Crop`."""
    return Crop(of=net, widths=widths, keep=keep)  # type: ignore[arg-type]  # made a tuple there


def kron(net: Source, widths: Sequence[int]) -> Kron:
    """Make `widths[i]` copies of each node layer i of `net`, all joined; see `Kron`."""
    return Kron(of=net, kron=widths)  # type: ignore[arg-type]  # made a tuple there
