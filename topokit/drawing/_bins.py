"""How many edges lie where in a layer's matrix, counted in bins: no matrix of the layer is ever made."""

from __future__ import annotations

from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from topokit.layered import Layer

MAX_BINS = 400  # a side: about as many as a panel has pixels


def bin_size(width: int) -> int:
    """How many nodes of a node layer share a bin: 1 where each can have its own.

    Otherwise as few as may be, or up to twice as many where these divide the width: bins then fit the
    blocks that layers are often made of.
    """
    if width <= MAX_BINS:
        return 1
    fitting = (width // bins for bins in range(MAX_BINS, MAX_BINS // 2, -1) if width % bins == 0)
    return next(fitting, ceil(width / MAX_BINS))


def bin_sizes(layer: Layer) -> tuple[int, int]:
    """(sources, targets) of a bin; only the last bins may have fewer."""
    return bin_size(layer.shape[0]), bin_size(layer.shape[1])


def bin_counts(layer: Layer) -> NDArray[np.int64]:
    """Number of edges in each bin, shape (source bins, target bins). O(edges) time.

    Edges are stored source by source, so those of a row of bins are one slice.
    """
    rows, columns = bin_sizes(layer)
    bins = ceil(layer.shape[1] / columns)
    bounds = [*layer.indptr[:-1:rows].tolist(), layer.edges]
    slices = (layer.indices[low:high] // np.uint64(columns) for low, high in pairwise(bounds))
    return np.stack([np.bincount(row.astype(np.intp), minlength=bins) for row in slices])


def bin_densities(layer: Layer) -> NDArray[np.float64]:
    """Edges over possible edges of each bin, shape (source bins, target bins)."""
    rows, columns = (
        np.minimum(size, width - np.arange(0, width, size))
        for size, width in zip(bin_sizes(layer), layer.shape, strict=True)
    )
    densities: NDArray[np.float64] = bin_counts(layer) / np.outer(rows, columns)
    return densities
