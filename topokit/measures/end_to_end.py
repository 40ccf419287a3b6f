"""The end-to-end spectrum: singular values of the product of all layers, which is formed for few nodes only.

Entry (u, v) of the product is the number of paths from input u to output v. If all are equal its rank is one.

Keys:
    log2_largest, ratios: the largest singular values of the product of all layers, the first as its logarithm, all over
        the first
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.layered import Layer, Layered
from topokit.measures._measure import Measure, Values
from topokit.measures._singular import largest_values
from topokit.reprs import cell

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
    share of the paths from u to the outputs that pass v. Rows then sum to 1, and what remains is
    one factor for each input, the number of its paths to all outputs, which is carried as a logarithm.

    Raises:
        TooLargeError: not enough free memory, or no convergence.

    Cost: some 20 to 100 times O(edges); about 16 bytes an edge and 8 bytes a node.

    >>> from topokit.families.radix_net import RadixNet
    >>> end_to_end(RadixNet(radices=[(2, 2, 2)], kron=(10, 10)), count=2)  # 8 x 8, all 100
    EndToEnd(log2_largest=9.643856189774725, ratios=(1.0, 0.0))
    """
    from scipy.sparse.linalg import LinearOperator

    require_memory(16 * net.edges, "the product of all layers")
    backward, paths = [], np.zeros(net.widths[-1])
    for layer in net.stream(reverse=True):
        matrix, paths = _scaled(layer, paths)
        backward.append(matrix)
    scale = paths.max()
    if scale == -np.inf:
        return EndToEnd(None, ())
    matrix.data *= np.repeat(np.exp2(paths - scale), np.diff(matrix.indptr))
    forward = [matrix.T for matrix in reversed(backward)]
    operator = LinearOperator(
        shape=(net.widths[0], net.widths[-1]),
        dtype=np.float64,
        matvec=partial(reduce, _times, backward),
        rmatvec=partial(reduce, _times, forward),
    )
    values = largest_values(operator, min(count, *operator.shape))
    return EndToEnd(float(scale + np.log2(values[0])), tuple((values / values[0]).tolist()))


def _times(columns: Vector, matrix: Any) -> Any:
    return matrix @ columns


def _scaled(layer: Layer, paths: Vector) -> tuple[Any, Vector]:
    """Scale a layer by the paths from its targets to the outputs.

    Args:
        layer: the layer.
        paths: log2 of the number of paths from each target to all outputs, -inf for none.

    Returns:
        The layer as a scipy.sparse.csr_array whose rows sum to 1, or to 0 without a path; and log2 of the number of
        paths from each source.
    """
    matrix = layer.to_scipy(np.float64)
    degrees, onward = np.diff(matrix.indptr), paths[matrix.indices]
    found = np.full(degrees.size, -np.inf)
    found[degrees > 0] = np.logaddexp2.reduceat(onward, matrix.indptr[:-1][degrees > 0])
    matrix.data = np.exp2(onward - np.repeat(np.where(np.isfinite(found), found, 0), degrees))
    return matrix, found


def _line(values: Values) -> dict[str, str]:
    if values["log2_largest"] is None:
        return {"end to end": "no path, so no singular value"}
    second = f", sigma_2 / sigma_1 = {cell(values['ratios'][1])}" if len(values["ratios"]) > 1 else ""
    return {"end to end": f"sigma_1 = 2^{values['log2_largest']:.4g}{second}"}


MEASURE = Measure(
    end_to_end,
    cost=600,
    scalars={"end-to-end sigma_2/sigma_1": lambda values: (*values["ratios"], None, None)[1]},
    line=_line,
)
