"""The largest singular values of a matrix or a linear operator.

Each call has the same start vector, but ARPACK may restart with a random one: two calls differ by rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import TooLargeError

DENSE = 64
"""Rows or columns up to which a matrix is made dense and all its singular values are computed."""


def largest_values(matrix: Any, count: int) -> NDArray[np.float64]:
    """The `count` largest singular values, descending; those that rounding alone would explain are 0.

    Args:
        matrix: a scipy.sparse array or a scipy.sparse.linalg.LinearOperator.
        count: at most as many as the matrix has rows and columns. If it has nearly no more, or is small, it is
            made dense.

    Raises:
        TooLargeError: not enough free memory, or the iteration does not converge.

    Source: Lehoucq, Sorensen & Yang 1998, ARPACK Users' Guide (implicitly restarted Lanczos).
    """
    from scipy.sparse.linalg import ArpackNoConvergence, svds

    least, most = sorted(matrix.shape)
    if count == 0:
        return np.zeros(0)
    if least <= max(DENSE, count):
        require_memory(24 * least * most, "a dense matrix of singular values")
        values: NDArray[Any] = np.linalg.svd(_as_dense(matrix), compute_uv=False)[:count]
    else:
        start = np.random.Generator(np.random.PCG64(0)).random(least)
        try:
            values = svds(matrix, count, v0=start, return_singular_vectors=False)[::-1]
        except ArpackNoConvergence as error:
            raise TooLargeError(f"no convergence to {count} singular values: ask for fewer or more") from error
    values[values < values[0] * most * np.finfo(float).eps] = 0
    return values


def _as_dense(matrix: Any) -> NDArray[np.float64]:
    """The matrix, or its transpose where it has fewer rows than columns, as it is multiplied by the identity."""
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    dense: NDArray[np.float64] = matrix @ np.eye(matrix.shape[1])
    return dense
