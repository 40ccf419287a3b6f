"""Path counts carried across a network one layer at a time, from either end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from topokit.csr import require_memory
from topokit.errors import TooLargeError
from topokit.layered import Layered
from topokit.measures._classes import equal_columns, quotient, twins
from topokit.measures._limbs import Numbers, carried, product, smallest_type

STEP = 5e-9
"""Seconds that a limb product of path counting takes, sorting included (measured)."""

PASSES = 4
"""What filling, carrying and comparing a number's limb costs, in limb products (measured)."""


class Sweep:
    """The number of paths from each start node to each node of the current node layer.

    The start nodes are inputs; or, if `reverse`, outputs, and the layers are crossed backwards. Starts with
    equal counts to every node stay equal in all later layers, and so do nodes with equal counts from every start: each
    is in a class, and `counts` has one number for each pair of classes. After the first full system of
    a RadiX-Net one class of each is left. What divides every count of a layer is kept apart, in `factor`.

    Args:
        net: any network; read by its stream.
        reverse: from the outputs backwards.
        starts: count from these different nodes only; from all by default.
        together: take all start nodes as one, so that a count is the number of paths from any of them.

    Attributes:
        counts: the numbers of paths over `factor`, shape (node classes, limbs, start classes), see `_limbs`;
            there after the first `advance`.
        factor: what to multiply them by.
        node_class: shape (nodes,), the class of each node of the current node layer.
        start_class: shape (starts,), the class of each start.
        work: what the next `advance` costs, in limb products of about two nanoseconds.
        spent: sum of `work` so far.
        folded: whether one class of each is left: while the layers are regular, only degrees are looked at.
        done: whether the last layer is crossed.
    """

    counts: Numbers

    def __init__(
        self, net: Layered, *, reverse: bool = False, starts: Sequence[int] | None = None, together: bool = False
    ):
        self.reverse = reverse
        self._layers = net.stream(reverse=reverse)
        layer = next(self._layers)
        near = layer.shape[1 if reverse else 0]
        self.starts = np.arange(near) if starts is None else np.array(starts, np.intp)
        if together:
            self.start_class, labels, classes = np.zeros(near, np.intp), np.zeros(near, np.intp), 1
        else:
            if starts is None:
                self.start_class, firsts = twins(layer, reverse=reverse)
            else:
                self.start_class, firsts = np.arange(self.starts.size), self.starts
            classes = firsts.size
            labels = np.full(near, classes)  # nodes no path is counted from
            labels[firsts] = np.arange(classes)
        self.node_class, self.factor = labels, 1
        self._next_class, step = quotient(layer, labels, int(labels.max()) + 1, reverse=reverse)
        first = self._reduced(step[:, :classes])
        self._multiply: Callable[[], Numbers] = first.astype(smallest_type(first.data)).toarray
        self._shape = (step.shape[0], 1, classes)
        self.work = PASSES * prod(self._shape)
        self.spent = 0
        self.folded = self.done = False

    def advance(self) -> None:
        """Cross one layer.

        Raises:
            TooLargeError: not enough free memory.
        """
        nodes, limbs, starts = self._shape
        require_memory(32 * nodes * limbs * starts, "counting paths")
        self.spent += self.work
        sums = self._multiply().reshape(self._shape)
        del self._multiply  # and with it the counts before
        self.counts = carried(sums)
        self.node_class = self._next_class
        self.factor *= self._divisor
        self._merge()
        layer = next(self._layers, None)
        if layer is None:
            self.work, self.done = 0, True
            return
        nodes, limbs, starts = self.counts.shape
        self._next_class, step = quotient(layer, self.node_class, nodes, reverse=self.reverse)
        self._multiply = partial(product, self._reduced(step), self.counts.reshape(nodes, -1))
        self._shape = (step.shape[0], limbs, starts)
        self.work = step.nnz * limbs * starts + PASSES * prod(self._shape)

    def _reduced(self, step: Any) -> Any:
        """The step without the greatest common divisor of its entries, which the next `advance` takes to `factor`."""
        self._divisor = int(np.gcd.reduce(step.data)) or 1
        step.data //= np.uint64(self._divisor)
        return step

    def _merge(self) -> None:
        nodes, limbs, starts = self.counts.shape
        labels, firsts = equal_columns(self.counts.reshape(nodes * limbs, starts))
        if firsts.size < starts:
            self.counts, self.start_class = self.counts[:, :, firsts], labels[self.start_class]
        labels, firsts = equal_columns(self.counts.reshape(nodes, -1).T)
        if firsts.size < nodes:
            self.counts, self.node_class = self.counts[firsts], labels[self.node_class]
        self.folded = self.counts[:, 0].size == 1

    def pair(self, node_class: int, start_class: int) -> tuple[int, int]:
        """Some (input, output) of the two classes, once `done`."""
        node = int(np.argmax(self.node_class == node_class))
        start = int(self.starts[np.argmax(self.start_class == start_class)])
        return (node, start) if self.reverse else (start, node)


def finished_sweep(net: Layered, starts: Sequence[int] | None, budget: float) -> Sweep:
    """A sweep from one end to the other: from the inputs `starts`, or from whichever end is cheaper.

    What a sweep will cost is not known before it is made, so one starts at either end, and the next layer
    is crossed by the one that will then have cost less: together they cost at most twice the cheaper one.
    One whose counts have become equal has as good as won.

    Raises:
        TooLargeError: not enough free memory, or it would take more than `budget` limb products.
    """
    race = [Sweep(net, starts=starts)]
    if starts is None:
        race.append(Sweep(net, reverse=True))
    while True:
        sweep = min(race, key=lambda entry: (not entry.folded, entry.spent + entry.work))
        if sweep.spent + sweep.work > budget:
            raise TooLargeError(f"counting paths exactly needs more than {budget:,.0f} steps: use a probe or a sample")
        sweep.advance()
        if sweep.done:
            return sweep
