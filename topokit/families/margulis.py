"""Margulis networks: an explicit expander of any square width, as layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from topokit.csr import Buffers, UInt64Array, require_memory
from topokit.layered import Promises
from topokit.spec import LAYERS, Bounds, Spec, option

DEGREE = 8  # with multiplicity

_ENOUGH = 180
"""Layers that are enough for all widths below 2^32: in all our families d^2 >= 1.28 s^2, and 1.28^180 > 2^64."""


@dataclass(frozen=True, kw_only=True)
class Margulis(Spec):
    """Layers of side^2 nodes on a torus, each node joined to up to 8 others, all layers equal.

    Node x * side + y, the point (x, y) modulo side, feeds (x +- 2y, y), (x +- (2y + 1), y), (x, y +- 2x) and
    (x, y +- (2x + 1)): the Margulis-Gabber-Galil graph. Counted with multiplicity it is 8-regular, and every
    singular value but the largest is at most 5 sqrt(2) = 7.07, whatever the side. Here an edge is there or not, so
    the nodes for which some of the 8 points coincide, on a few lines of the torus, have fewer edges: the density
    is promised and no degree. Connectivity is promised from the number of layers on for which the bound proves it;
    fewer may do.

    Args:
        side: points on each side of the torus; at least 2.
        layers: number of edge layers; at most 65,536.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: Points on a line y are shifted alike, by +-2y and +-(2y + 1), and points on a line x likewise; the edges are
    the different shifts of all lines, counted. A shift along both lines is the same edge only if both are 0:
    that is at 4 points, as 0 is among the shifts of two lines each way. The bound on the singular values is
    proved in the survey of Hoory, Linial & Wigderson. With n nodes, the path counts of L layers, with multiplicity, are
    8^L / n everywhere plus entries of at most (1 - 1/n) (5 sqrt(2))^L, so there is a path between all pairs if
    8^L > (n - 1) (5 sqrt(2))^L.

    Cost of a layer: O(edges) time, some 20 bytes an edge while it is made.
    Source: Gabber & Galil 1981, "Explicit Constructions of Linear-Sized Superconcentrators", Journal of Computer
    and System Sciences 22; this form and its bound, Hoory, Linial & Wigderson 2006, "Expander graphs and their
    applications", section 8.

    >>> net = Margulis(side=8)
    >>> net.widths, net.layer_edges
    ((64, 64), (444,))
    """

    name = "margulis"

    side: int = option("Number of points on each side of the torus; widths are side^2.", kind="int", bounds=Bounds(2))
    _layers: int = option("Number of edge layers.", kind="int", bounds=LAYERS, default=1, alias="layers")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return (self.side**2,) * (self._layers + 1)

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        line = np.sort(_shifts(self.side), axis=1)
        distinct = line.size - int(np.count_nonzero(line[:, 1:] == line[:, :-1]))
        twice = 4  # two rows and two columns of the torus are shifted by 0 among others: there the point itself
        return (2 * self.side * distinct - twice,) * self._layers

    @property
    def promises(self) -> Promises:
        nodes = self.side**2
        connected = gap_connects(nodes, DEGREE, 50, self._layers)
        return Promises(connected=connected, density=self.exact_density)

    def layer_key(self, i: int) -> int:  # noqa: ARG002 (all are equal)
        return 0

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        side, shifts = self.side, _shifts(self.side)
        require_memory(20 * DEGREE * side**2, "a Margulis layer")
        x, y = np.arange(side)[:, None, None], np.arange(side)[None, :, None]
        points = np.empty((side, side, DEGREE), np.int64)
        points[..., :4] = (x + shifts) % side * side + y
        points[..., 4:] = x * side + (y + shifts[:, None]) % side
        points.sort(axis=2)
        new = np.ones(points.shape, np.bool_)
        np.not_equal(points[..., 1:], points[..., :-1], out=new[..., 1:])
        indptr, indices = buffers.take(side**2, self.layer_edges[i])
        indptr[0] = 0
        np.cumsum(np.count_nonzero(new, axis=2), out=indptr[1:])
        indices[:] = points[new]
        return indptr, indices


def _shifts(side: int) -> NDArray[np.int64]:
    """Return how far the line through a point is shifted, modulo side; shape (side, 4)."""
    double = 2 * np.arange(side)[:, None]
    return np.hstack([double, -double, double + 1, -double - 1]) % side


def gap_connects(nodes: int, degree: int, squared: int, layers: int) -> bool:
    """Return whether the spectral gap alone proves that every input reaches every output.

    With d the degree and s the largest singular value but d, the path counts of L layers are d^L / n everywhere,
    plus a matrix of norm s^L or less whose entries are at most (1 - 1/n) s^L. So none is 0 if d^L > (n - 1) s^L.

    Args:
        nodes: n, in each node layer.
        degree: d, in and out, in each edge layer; edges are counted with multiplicity.
        squared: s**2, or a bound on it.
        layers: L.
    """
    layers = min(layers, _ENOUGH)  # the powers would grow with the layers, and the answer stays
    gap: int = degree ** (2 * layers) - (nodes - 1) ** 2 * squared**layers
    return gap > 0
