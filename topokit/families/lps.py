"""LPS networks: the Ramanujan graphs of Lubotzky, Phillips and Sarnak, as layers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from topokit.csr import Buffers, UInt64Array, require_memory
from topokit.errors import InvalidSpecError
from topokit.families.margulis import gap_connects
from topokit.layered import Promises
from topokit.spec import LAYERS, Bounds, Spec, option

Ints = NDArray[np.int64]
Matrices = tuple[Ints, Ints, Ints, Ints]  # a, b, c, d of the rows (a, b) and (c, d), for each node


@dataclass(frozen=True, kw_only=True)
class LPS(Spec):
    """Layers of q (q^2 - 1) / 2 nodes and degree p + 1 that expand as well as large ones of that degree can.

    Nodes are the invertible 2 x 2 matrices over the integers modulo q, up to a factor: half of them, those whose
    determinant is a square, or the other half. The p + 1 integer quaternions a of norm p with a_0 odd and
    positive and the others even are such matrices too, and node g feeds the nodes g * a. All of them lead from
    one half to the other if p is not a square modulo q, so the node layers alternate; otherwise every node layer is
    the half of the squares, and all edge layers are equal.

    Each layer is a Ramanujan graph: every singular value but the largest, p + 1, is at most 2 sqrt(p).
    Connectivity is promised from the number of layers on for which this bound proves it; fewer may do.

    Args:
        p: a prime, 1 modulo 4; the degree is p + 1.
        q: another prime, 1 modulo 4, above 2 sqrt(p). The width is 1092 for 13, 2448 for 17, 12180 for 29.
        layers: number of edge layers; at most 65,536.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: There are p + 1 such quaternions (Jacobi). Were two of them, a and b, equal up to a factor modulo q, then
    a * conj(b) = r + 2 q v with an odd r and an integer vector v, which is 0 only if a = b. Its norm is
    p^2 = r^2 + 4 q^2 |v|^2, and q divides p - r or p + r but not both; so q^2 would divide one of these even
    numbers, which are between 0 and 2 p: but q^2 > p. So each node feeds p + 1 different ones, and as conj(a) is
    one of the quaternions and undoes a, as many feed it. The bound on the singular values is the theorem of
    Lubotzky, Phillips & Sarnak. With n nodes, the path counts of L layers are (p + 1)^L / n everywhere plus entries
    of at most (1 - 1/n) (2 sqrt(p))^L, so there is a path between all pairs if (p + 1)^L exceeds
    (n - 1) (2 sqrt(p))^L.

    Cost of a layer: O(edges log p) time, 8 bytes an edge and some 160 bytes a node while it is made.
    Source: Lubotzky, Phillips & Sarnak 1988, "Ramanujan graphs", Combinatorica 8; expanders as layers of a
    neural network, Prabhu, Varma & Namboodiri 2018, "Deep Expander Networks", arXiv:1711.08757.

    >>> net = LPS(p=5, q=13, layers=2)
    >>> net.widths, net.promises.degrees
    ((1092, 1092, 1092), ((6, 6), (6, 6)))
    """

    name = "lps"

    p: int = option("Prime number, 1 modulo 4; every degree is p + 1.", kind="int", bounds=Bounds(5))
    q: int = option(
        "Prime number, 1 modulo 4, above 2 sqrt(p); widths are q (q^2 - 1) / 2.", kind="int", bounds=Bounds(5, 2**11)
    )
    _layers: int = option("Number of edge layers.", kind="int", bounds=LAYERS, default=1, alias="layers")

    def __post_init__(self) -> None:
        if self.q**2 <= 4 * self.p:
            raise InvalidSpecError(f"`q` must be above 2 sqrt(p), so above {isqrt(4 * self.p)}, not {self.q}")
        for field, number in (("p", self.p), ("q", self.q)):
            if number % 4 != 1 or not all(number % divisor for divisor in range(3, isqrt(number) + 1, 2)):
                raise InvalidSpecError(
                    f"`{field}` must be a prime that is 1 modulo 4, such as 5, 13 or 17, not {number}"
                )
        if self.p == self.q:
            raise InvalidSpecError(f"`p` and `q` must be two different primes, not both {self.p}")

    @property
    def nodes(self) -> int:
        """Nodes in each node layer."""
        return self.q * (self.q**2 - 1) // 2

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return (self.nodes,) * (self._layers + 1)

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return (self.nodes * (self.p + 1),) * self._layers

    @property
    def bipartite(self) -> bool:
        """Whether the node layers alternate between the two halves: p is not a square modulo q."""
        return pow(self.p, self.q // 2, self.q) != 1

    @property
    def promises(self) -> Promises:
        degree = self.p + 1
        connected = gap_connects(self.nodes, degree, 4 * self.p, self._layers)
        density = Fraction(degree, self.nodes)
        return Promises(connected=connected, degrees=((degree, degree),) * self._layers, density=density)

    def layer_key(self, i: int) -> int:
        return i % 2 if self.bipartite else 0

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        degree = self.p + 1
        require_memory(160 * self.nodes, "an LPS layer's matrices")
        indptr, indices = buffers.take_rows(self.nodes, degree)
        targets = indices.reshape(self.nodes, degree)
        matrices = _matrices(self.q, odd=self.bipartite and i % 2 == 1)
        for j, generator in enumerate(_generators(self.p, self.q)):
            targets[:, j] = _numbers(_times(matrices, generator, self.q), self.q)
        targets.sort(axis=1)
        return indptr, indices


def _generators(p: int, q: int) -> list[tuple[int, ...]]:
    """Return the p + 1 quaternions of norm p with an odd positive and three even parts, as matrices modulo q."""
    root = next(i for i in range(q) if (i * i + 1) % q == 0)
    limit = isqrt(p)
    evens = range(-(limit // 2) * 2, limit + 1, 2)
    pairs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for y, z in product(evens, evens):
        pairs[y * y + z * z].append((y, z))
    return [
        tuple(part % q for part in (w + root * x, y + root * z, -y + root * z, w - root * x))
        for w, x in product(range(1, limit + 1, 2), evens)
        for y, z in pairs.get(p - w * w - x * x, ())
    ]


def _matrices(q: int, *, odd: bool) -> Matrices:
    """Return the matrix of each node of one half, in order: those whose determinants are squares, unless `odd`.

    Node (x * (q - 1) / 2 + e) * q + y has the first row (1, x), or (0, 1) for x = q, the e-th determinant of its
    half, and y below the 1.
    """
    x, e, y = np.unravel_index(np.arange(q * (q * q - 1) // 2), (q + 1, q // 2, q))
    determinant = _determinants(q)[int(odd)][e]
    last = x == q
    c, d = np.where(last, (-determinant, y), (y, determinant + x * y)) % q
    return np.where(last, 0, 1), np.where(last, 1, x), c, d


def _numbers(matrices: Matrices, q: int) -> Ints:
    """Return the nodes of matrices with nonzero determinants, whatever their factors."""
    inverse = np.array([0, *(pow(k, -1, q) for k in range(1, q))])
    rank = np.empty(q, np.int64)
    rank[_determinants(q)] = np.arange(q // 2)
    last = matrices[0] == 0
    factor = inverse[np.where(last, matrices[1], matrices[0])]
    a, b, c, d = (part * factor % q for part in matrices)
    x, y = np.where(last, q, b), np.where(last, d, c)
    numbers: Ints = (x * (q // 2) + rank[(a * d - b * c) % q]) * q + y
    return numbers


def _determinants(q: int) -> Ints:
    """Return the squares modulo q but 0, and the other numbers, each increasing; shape (2, (q - 1) / 2)."""
    squares = np.unique(np.arange(1, q) ** 2 % q)
    return np.array([squares, np.setdiff1d(np.arange(1, q), squares)])


def _times(matrices: Matrices, generator: tuple[int, ...], q: int) -> Matrices:
    a, b, c, d = matrices
    e, f, g, h = generator
    return (a * e + b * g) % q, (a * f + b * h) % q, (c * e + d * g) % q, (c * f + d * h) % q
