"""Butterfly networks: the edges of the fast Fourier transform."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from topokit.csr import INDEX, Buffers, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.layered import Promises
from topokit.spec import Bounds, Spec, option


@dataclass(frozen=True, kw_only=True)
class Butterfly(Spec):
    """A butterfly: k edge layers between layers of 2^k nodes.

    Edge layer i, 0 <= i < k, joins node u to node u and to the node whose number differs from u in bit i alone.
    Exactly one path joins each input and output.

    The RadiX-Net of k radices 2 has the same widths, degrees and number of paths, and adds 2^i modulo 2^k
    instead of flipping bit i. For k >= 2 they are not isomorphic, whatever the numbering: the first layer of that
    RadiX-Net is a single cycle, and each layer of a butterfly falls apart into complete graphs of 2 by 2.

    Args:
        nodes: nodes in each layer: a power of 2, 2 at least.

    Raises:
        InvalidSpecError: any other number.

    Proof: Layer i keeps or flips bit i and leaves the others alone. So a path from u to v has no choice: it flips
    the bits in which u and v differ and keeps the others, and that is one path. Node u feeds the two nodes that
    differ from it in bit i at most, and as this is mutual, the same two feed it.

    Cost of a layer: O(edges) time, 8 bytes an edge.
    Source: Cooley & Tukey 1965, "An Algorithm for the Machine Calculation of Complex Fourier Series"; as layers
    of a neural network, Dao, Gu, Eichhorn, Rudra & Re 2019, "Learning Fast Algorithms for Linear Transforms
    Using Butterfly Factorizations", arXiv:1903.05895.

    >>> net = Butterfly(nodes=8)
    >>> net.widths, net.edges, net.promises.paths
    ((8, 8, 8, 8), 48, 1)
    """

    name = "butterfly"

    nodes: int = option("Nodes in each layer: a power of 2.", kind="int", bounds=Bounds(2))

    def __post_init__(self) -> None:
        if self.nodes & (self.nodes - 1):
            raise InvalidSpecError(f"`nodes` must be a power of 2, not {self.nodes}")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return (self.nodes,) * self.nodes.bit_length()

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return (2 * self.nodes,) * len(self)

    @property
    def promises(self) -> Promises:
        return Promises(connected=True, paths=1, degrees=((2, 2),) * len(self), density=Fraction(2, self.nodes))

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        indptr, indices = buffers.take_rows(self.nodes, 2)
        u, bit = np.arange(self.nodes, dtype=INDEX), INDEX.type(1 << i)
        pairs = indices.reshape(self.nodes, 2)
        np.bitwise_and(u, ~bit, out=pairs[:, 0])
        np.bitwise_or(u, bit, out=pairs[:, 1])
        return indptr, indices
