"""The end-to-end spectrum: singular values of the product of all layers, which is formed for few nodes only.

Entry (u, v) of the product is the number of paths from input u to output v. If all are equal its rank is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Layer, Layered
from topokit.measures._singular import largest_values

HELD = 2**24
"""Edges of a network up to which its scaled layers are kept between the steps, 12 bytes an edge."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """The largest singular values of the matrix of path counts.

    Args:
        log2_largest: logarithm to base 2 of the largest one; None where there is no path.
        ratios: the largest ones over the largest one, descending, so that the first is 1; none without a path.
    """

    log2_largest: float | None
    ratios: tuple[float, ...]


def end_to_end(net: Layered, *, count: int = 6) -> EndToEnd:
    """The `count` largest singular values of the product of all layers' biadjacency matrices.

    No number can overflow, however deep the network: each layer is scaled so that its entry (u, v) becomes the
    share of the paths from u to the outputs that goes on to v. Rows then sum to 1, and what is left over is
    one factor for each input, the number of its paths to all outputs, which is carried as a logarithm.

    Raises:
        TooLargeError: not enough free memory, or no convergence.

    Cost: some 20 to 100 times O(edges), 12 bytes an edge up to 2^24 edges; above that the layers are streamed
    anew each time, and one is in memory. 8 bytes a node.

    >>> from topokit.families.radix_net import RadixNet
    >>> end_to_end(RadixNet(radices=[(2, 2, 2)], kron=(10, 10)), count=2)  # 8 x 8, all 100
    EndToEnd(log2_largest=9.643856189774725, ratios=(1.0, 0.0))
    """
    from scipy.sparse.linalg import LinearOperator

    product = _Product(net)
    scale = product.paths[0].max()
    if scale == -np.inf:
        return EndToEnd(None, ())
    weights = np.exp2(product.paths[0] - scale)[:, None]
    operator = LinearOperator(
        shape=(net.widths[0], net.widths[-1]),
        dtype=np.float64,
        matvec=lambda y: weights * product.backward(y.reshape(-1, 1)),
        rmatvec=lambda x: product.forward(weights * x.reshape(-1, 1)),
        matmat=lambda y: weights * product.backward(y),
        rmatmat=lambda x: product.forward(weights * x),
    )
    values = largest_values(operator, min(count, *operator.shape))
    return EndToEnd(float(scale + np.log2(values[0])), tuple((values / values[0]).tolist()))


class _Product:
    """The product of the scaled layers.

    Attributes:
        paths: for each node layer, log2 of the number of paths from each node to all outputs, -inf for none.
    """

    def __init__(self, net: Layered):
        self._net = net
        self.paths: list[Vector] = [np.zeros(net.widths[-1])]
        for layer in net.stream(reverse=True):
            self.paths.append(_paths_from(layer, self.paths[-1]))
        self.paths.reverse()
        self._held = [self._scaled(i, layer) for i, layer in enumerate(net.stream())] if net.edges <= HELD else None

    def backward(self, outputs: Vector) -> Vector:
        """The product times columns of outputs."""
        for matrix in self._matrices(reverse=True):
            outputs = matrix @ outputs
        return outputs

    def forward(self, inputs: Vector) -> Vector:
        """The transposed product times columns of inputs."""
        for matrix in self._matrices():
            inputs = matrix.T @ inputs
        return inputs

    def _matrices(self, *, reverse: bool = False) -> Any:
        if self._held is not None:
            return reversed(self._held) if reverse else iter(self._held)
        order = range(len(self._net))
        return map(self._scaled, reversed(order) if reverse else order, self._net.stream(reverse=reverse))

    def _scaled(self, i: int, layer: Layer) -> Any:
        """The layer as a scipy.sparse.csr_array whose rows sum to 1, or to 0 where no path goes on."""
        matrix = layer.to_scipy(np.float64)
        from_source = np.repeat(_finite(self.paths[i]), np.diff(matrix.indptr))
        matrix.data = np.exp2(self.paths[i + 1][matrix.indices] - from_source)
        return matrix


def _paths_from(layer: Layer, paths: Vector) -> Vector:
    """log2 of the number of paths from each source, from that of each target. O(edges)."""
    degrees = np.diff(layer.indptr).view(np.int64)
    found = np.full(degrees.size, -np.inf)
    starts = layer.indptr[:-1][degrees > 0].view(np.int64)
    if starts.size:
        onward = paths[layer.indices.view(np.int64)]
        most = _finite(np.maximum.reduceat(onward, starts))
        onward -= np.repeat(most, degrees[degrees > 0])
        with np.errstate(divide="ignore"):
            found[degrees > 0] = most + np.log2(np.add.reduceat(np.exp2(onward), starts))
    return found


def _finite(logarithms: Vector) -> Vector:
    """The same, with 0 for -inf, which can be subtracted from -inf."""
    return np.where(np.isfinite(logarithms), logarithms, 0)
