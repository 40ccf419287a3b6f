"""Circulant layers: the common form of the layers of RadiX-Nets and of Graph Challenge networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit import _native
from topokit.csr import Buffers, UInt64Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Circulant:
    """A layer of copies of a circulant graph of `nodes` nodes.

    Node u is joined to the nodes (u + direction * k * place) mod nodes, 0 <= k < radix. Node u of copy c is number
    c * nodes + u of its node layer. Two copies are joined if their numbers are equal modulo `step`.

    Args:
        nodes: number of nodes; radix * place is at most this.
        radix: number of targets of a node in each joined copy.
        place: distance of these targets.
        direction: 1 or -1.
        copies: number of copies of the sources and of the targets, two multiples of `step`.
        step: see above.
        order: shape (sources,), int64: row i of the layer is row order[i] of the layer above. None: row i itself.
    """

    nodes: int
    radix: int
    place: int
    direction: int = 1
    copies: tuple[int, int] = (1, 1)
    step: int = 1
    order: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(sources, targets)."""
        return self.nodes * self.copies[0], self.nodes * self.copies[1]

    @property
    def joined(self) -> int:
        """Number of copies of the targets that a source is joined to."""
        return self.copies[1] // self.step

    @property
    def degree(self) -> int:
        """Number of targets of a source."""
        return self.radix * self.joined

    def rows(self) -> _native.LayerRows | None:
        """Return the rows for the native library; None if there is none."""
        sizes = (self.nodes, self.radix, self.place, self.direction, self.joined, self.step)
        return _native.circulant_rows(self.shape, sizes, self.order)

    def arrays(self, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        """Return indptr and indices in canonical order, in arrays from `buffers`. O(edges)."""
        indptr, indices = buffers.take_rows(self.shape[0], self.degree)
        rows = self.rows()
        if rows is None:
            self._fill(indices)
        else:
            _native.fill(rows, indices)
        return indptr, indices

    def _fill(self, indices: UInt64Array) -> None:
        """Fill in the targets of all sources, shape (edges,), without the native library."""
        if self.order is not None:
            plain = np.empty((self.step * self.nodes, self.degree), indices.dtype)
            self._fill_plain(plain)
            # rows are in range; any mode but "raise" lets take write to `out` directly
            rows = self.order % len(plain)
            np.take(plain, rows, axis=0, out=indices.reshape(self.shape[0], self.degree), mode="clip")
            return
        copies = indices.reshape(self.copies[0], self.nodes, self.degree)
        self._fill_plain(copies[: self.step].reshape(-1, self.degree))
        for copy in range(self.step, self.copies[0]):  # one memory copy each: by far the most edges are made here
            copies[copy] = copies[copy - self.step]

    def _fill_plain(self, out: UInt64Array) -> None:
        """Fill in the targets of the first `step` copies, shape (step * nodes, degree): all others are equal."""
        copies = out.reshape(self.step, self.nodes, self.joined, self.radix)
        _fill_circulant(copies[0, :, 0], self.place, self.direction)
        for k in range(1, self.joined):
            np.add(copies[0, :, 0], np.uint64(k * self.step * self.nodes), out=copies[0, :, k])
        for copy in range(1, self.step):
            np.add(copies[0], np.uint64(copy * self.nodes), out=copies[copy])


def _fill_circulant(out: UInt64Array, place: int, direction: int) -> None:
    """Fill out[u, :] with the sorted targets (u + direction * k * place) mod n, 0 <= k < radix.

    Node u's targets are an arithmetic progression that wraps around at most once, so they are sorted
    by starting at the first one past the wrap: no sort. Done in blocks that stay in cache.

    Args:
        out: shape (n, radix), uint64; radix * place <= n.
        place: the place value.
        direction: 1 or -1.
    """
    n, radix = out.shape
    digits = np.arange(radix, dtype=np.int64)
    block = max(1, (1 << 15) // radix)
    for low in range(0, n, block):
        u = np.arange(low, min(low + block, n), dtype=np.int64)[:, None]
        start = u if direction == 1 else (u - (radix - 1) * place) % n
        unwrapped = np.minimum((n - start + place - 1) // place, radix)  # how many stay below n
        digit = digits + unwrapped
        wrapped = digit < radix
        digit[~wrapped] -= radix
        target = start + digit * place
        target[wrapped] -= n
        out[low : low + block] = target
