"""block: classes of nodes with equal neighbours, each multiplied as one dense product.

All targets of a class read the same sources, so a class is one dense block of weights times the gathered sources.
Classes of one shape are multiplied in one batched product, a few of them at a time, so that the gathered numbers are
still in the cache when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.layered import Layer
from topokit.measures.structure import Classes, Structure, structure
from topokit_train.kernels.base import Kernel, Plan, keep_buffers

CACHED = 2**18
"""Numbers gathered at a time on a CPU, which stay in its cache. Measured from 2^14 to 2^19 at batch 128 and 512."""

GATHERED = 2**26
"""Numbers gathered at a time elsewhere, which bounds their memory."""


class Part(NamedTuple):
    """Classes of one shape, `classes` of them, each of `size` nodes that are joined to `degree` others.

    `member` and `weight` are the first of their nodes and of their weights.
    """

    classes: int
    size: int
    degree: int
    member: int
    weight: int

    def rows(self, members: Tensor) -> Tensor:
        """Their rows of a tensor that has one for each member, a view of shape (classes, size, batch)."""
        rows = members.narrow(0, self.member, self.classes * self.size)
        return rows.view(self.classes, self.size, members.shape[1])

    def block(self, values: Tensor) -> Tensor:
        """Their weights, a view of shape (classes, size, degree)."""
        weights = values.narrow(0, self.weight, self.classes * self.size * self.degree)
        return weights.view(self.classes, self.size, self.degree)


class Side(nn.Module):
    """The nodes on one side of a layer in the order of their classes, those of one shape together.

    Args:
        classes: its nodes.
        degrees: shape (nodes,), how many nodes of the other side each is joined to.
    """

    members: Tensor  # the nodes that have edges
    place: Tensor  # (nodes,): the place of each among the members; past their end if it has no edges
    read: Tensor  # the nodes of the other side that each class is joined to, class after class

    def __init__(self, classes: Classes, degrees: NDArray[np.int64]):
        super().__init__()
        shapes, shape_of, counts = np.unique(
            np.stack([joined(classes, degrees), classes.sizes]), axis=1, return_inverse=True, return_counts=True
        )
        self.shapes = [(count, size, degree) for degree, size, count in np.stack([*shapes, counts], 1).tolist()]
        members = classes.members[np.argsort(np.repeat(shape_of.reshape(-1), classes.sizes), kind="stable")]
        place = np.full(degrees.size, members.size, np.int32)
        place[members] = np.arange(members.size)
        keep_buffers(self, members=members.astype(np.int32), place=place)

    def owners(self) -> NDArray[np.intp]:
        """The class of each member, counted in this order."""
        counts, sizes, _ = np.array(self.shapes, np.intp).reshape(-1, 3).T
        sizes = np.repeat(sizes, counts)
        return np.repeat(np.arange(sizes.size), sizes)

    def leads(self) -> NDArray[np.bool_]:
        """Whether each member is the first of its class."""
        return np.diff(self.owners(), prepend=-1) > 0

    def parts(self, features: Tensor) -> Iterator[tuple[Part, Tensor]]:
        """Yield all classes, some at a time, and the features that they read, shape (classes, degree, batch).

        Their memory is used again: allocating it takes longer than filling it.

        Args:
            features: of the other side, shape (nodes, batch).
        """
        batch = features.shape[1]
        room = (CACHED if features.device.type == "cpu" else GATHERED) // max(1, batch)
        steps = [min(classes, max(1, room // degree)) for classes, _, degree in self.shapes]
        rows = max([step * degree for step, (_, _, degree) in zip(steps, self.shapes, strict=True)] or [0])
        recycled = features.new_empty(rows, batch)
        member = read = weight = 0
        for step, (classes, size, degree) in zip(steps, self.shapes, strict=True):
            for low in range(0, classes, step):
                part = Part(min(step, classes - low), size, degree, member, weight)
                nodes = self.read.narrow(0, read, part.classes * degree)
                gathered = recycled.narrow(0, 0, nodes.numel())
                torch.index_select(features, 0, nodes, out=gathered)
                yield part, gathered.view(part.classes, degree, batch)
                member += part.classes * size
                read += part.classes * degree
                weight += part.classes * size * degree

    def product(self, features: Tensor, block: Callable[[Part], Tensor]) -> Tensor:
        """Return each class's block times the features that it reads, shape (nodes, batch); 0 for nodes without edges.

        Args:
            features: of the other side, shape (nodes, batch).
            block: the weights of a part, shape (classes, size, degree).
        """
        members = features.new_empty(self.members.numel() + 1, features.shape[1])
        members[-1] = 0
        for part, read in self.parts(features):
            torch.bmm(block(part), read, out=part.rows(members))
        return members.index_select(0, self.place)


def joined(classes: Classes, degrees: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of nodes that each class is joined to; degrees are those of all nodes. O(classes)."""
    return degrees[classes.members[np.cumsum(classes.sizes) - 1]]


class BlockPlan(Plan):
    """The classes on both sides of a layer. Values have shape (edges,): the blocks of the classes of targets.

    A block has a row for each target and a column for each source it reads, those of one class together. The blocks
    of the transpose consist of runs of these rows, which are copied when it is multiplied. A product takes
    O(edges * batch) time, forward and backward, none of it for products by zero. A nan or inf in x reaches the outputs
    that it is connected to, and no others.
    About 4 bytes an edge beside the values, and 4 more for each run.
    """

    runs: Tensor  # (edges / run,): the run of the values, which is `run` of them, at each place of the transpose

    def __init__(self, layer: Layer):
        super().__init__()
        found = structure(layer)
        self.sources = Side(found.sources, layer.out_degrees)
        self.targets = Side(found.targets, layer.in_degrees)
        source, target = layer.sources, layer.targets
        column, row = self.sources.place.numpy()[source], self.targets.place.numpy()[target]
        order = np.lexsort((column, row))
        back = np.lexsort((column, row, self.sources.owners()[column]))
        self.number(order)
        self.run = int(np.gcd.reduce(found.sources.sizes)) or 1
        keep_buffers(self, runs=self.position.numpy()[back[:: self.run]] // self.run)
        keep_buffers(self.targets, read=source[order][self.targets.leads()[row[order]]].astype(np.int32))
        keep_buffers(self.sources, read=target[back][self.sources.leads()[column[back]]].astype(np.int32))

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        x = x.contiguous()
        return self.targets.product(x, lambda part: part.block(values)), (x,)

    def gradient_of_x(self, grad: Tensor, values: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        return self.sources.product(grad.contiguous(), lambda part: self._transposed(part, values))

    def gradient_of_values(self, grad: Tensor, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
        (x,) = saved or (x.contiguous(),)
        found, members = x.new_empty(self.edges), grad.index_select(0, self.targets.members)
        for part, read in self.targets.parts(x):
            torch.bmm(part.rows(members), read.transpose(1, 2), out=part.block(found))
        return found

    def _transposed(self, part: Part, values: Tensor) -> Tensor:
        """The weights of a part of the sources, shape (classes, size, degree), copied."""
        first, count = part.weight // self.run, part.classes * part.size * part.degree // self.run
        weights = values.view(-1, self.run).index_select(0, self.runs.narrow(0, first, count))
        return weights.view(part.classes, part.degree, part.size).transpose(1, 2)


# microseconds for a step, per group of classes of one shape, per node that a class reads, per such node and image, per
# edge, and per edge and image; see `Kernel`
_COST = {"cpu": (269, 21, 3e-3, 3.4e-4, 7e-4, 9.2e-5), "cuda": (19, 5.8, 0, 6e-7, 0, 1.5e-7)}


def cost(layer: Layer, found: Structure, device: str, batch: int) -> float:
    """See `Kernel`. O(classes log classes)."""
    read = groups = 0
    for classes, degrees, uses in ((found.targets, layer.in_degrees, 2), (found.sources, layer.out_degrees, 1)):
        read_by_each = joined(classes, degrees)
        read += uses * int(read_by_each.sum())
        groups += uses * np.unique(np.stack([read_by_each, classes.sizes]), axis=1).shape[1]
    fixed, per_group, per_read, per_gathered, per_edge, per_product = _COST[device]
    gathering = per_group * groups + (per_read + per_gathered * batch) * read
    return fixed + gathering + (per_edge + per_product * batch) * layer.edges


KERNEL = Kernel(
    "block", BlockPlan, ("cpu", "cuda"), (torch.float32, torch.float64, torch.bfloat16), cost, in_bfloat16=1.8
)
