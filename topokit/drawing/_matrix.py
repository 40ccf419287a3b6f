"""One layer's matrix as an image: sources downwards, targets to the right. Large ones are counted in bins."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from topokit.drawing._style import PALE
from topokit.layered import Layer
from topokit.reprs import counted

MAX_BINS = 400  # a side: about as many as a panel has pixels
_GRID_UP_TO = 32  # nodes: lines separate the cells of smaller layers
_CRISP_UP_TO = 128  # bins a side; more come close to the sheet's pixels, where only smoothing shows each alike

_BLUES = LinearSegmentedColormap.from_list("density", ["#9ecae1", "#4292c6", "#08306b"])
COUNTS = _BLUES.with_extremes(bad="white")  # zero is white, and the least other value is not


def bin_size(width: int) -> int:
    """Return how many nodes of a node layer share a bin: 1 if each can have its own.

    Otherwise as few as possible, or up to twice as many if these divide the width: bins then fit the blocks that
    layers often consist of.
    """
    if width <= MAX_BINS:
        return 1
    fitting = (width // bins for bins in range(MAX_BINS, MAX_BINS // 2, -1) if width % bins == 0)
    return next(fitting, ceil(width / MAX_BINS))


def bin_sizes(layer: Layer) -> tuple[int, int]:
    """Return (sources, targets) of a bin; only the last bins may have fewer."""
    return bin_size(layer.shape[0]), bin_size(layer.shape[1])


def bin_counts(layer: Layer) -> NDArray[np.int64]:
    """Return the number of edges in each bin, shape (source bins, target bins). O(edges) time, without a matrix.

    Edges are stored source by source, so those of a row of bins are one slice.
    """
    rows, columns = bin_sizes(layer)
    bins = ceil(layer.shape[1] / columns)
    bounds = [*layer.indptr[:-1:rows].tolist(), layer.edges]
    slices = (layer.targets[low:high] // columns for low, high in pairwise(bounds))
    return np.stack([np.bincount(row, minlength=bins) for row in slices])


def bin_densities(layer: Layer) -> NDArray[np.float64]:
    """Return edges over possible edges of each bin, shape (source bins, target bins)."""
    rows, columns = (
        np.minimum(size, width - np.arange(0, width, size))
        for size, width in zip(bin_sizes(layer), layer.shape, strict=True)
    )
    densities: NDArray[np.float64] = bin_counts(layer) / np.outer(rows, columns)
    return densities


def panel_size(shape: tuple[int, int], side: float = 2.5) -> tuple[float, float]:
    """Return inches (wide, high) of a matrix's panel: the area of a square one, proportions of at most 1 : 2."""
    root = min(max(shape[0] / shape[1], 0.5), 2.0) ** 0.5
    return side / root, side * root


def show_matrix(axes: Axes, layer: Layer) -> AxesImage:
    """Draw a layer's biadjacency matrix: the more of a bin's cells are edges, the darker it is; without any, white."""
    densities, (rows, columns) = bin_densities(layer), bin_sizes(layer)
    down, right = densities.shape[0] * rows, densities.shape[1] * columns
    full = densities[: layer.shape[0] // rows, : layer.shape[1] // columns]  # a smaller last bin must not set the scale
    crisp = max(densities.shape) <= _CRISP_UP_TO
    for axis, bins in enumerate(densities.shape):  # else smoothing many short rows would smear a few long columns
        densities = densities.repeat(MAX_BINS // bins, axis)
    image = axes.imshow(
        np.ma.masked_equal(densities, 0),
        cmap=COUNTS,
        vmin=0,
        vmax=full.max() or 1,
        aspect="auto",
        extent=(-0.5, right - 0.5, down - 0.5, -0.5),
        interpolation="nearest" if crisp else "antialiased",
    )
    label_ends(axes.xaxis, layer.shape[1], "target")
    label_ends(axes.yaxis, layer.shape[0], "source")
    axes.set(xlim=(-0.5, layer.shape[1] - 0.5), ylim=(layer.shape[0] - 0.5, -0.5))
    if max(layer.shape) <= _GRID_UP_TO:
        add_grid(axes, layer.shape, 1, PALE)
    return image


def percent(layer: Layer) -> str:
    """Return the density of a layer in percent, to three digits."""
    return f"{100 * layer.edges / prod(layer.shape):.3g} %"


def label_ends(axis: Any, width: int, noun: str) -> None:
    """Number the first and the last node on an axis, and say how many there are."""
    ends = [0, width - 1] if width > 1 else [0]
    axis.set_ticks(ends, labels=[f"{node:,}" for node in ends])
    shared = f", in bins of {bin_size(width):,}" if bin_size(width) > 1 else ""
    axis.set_label_text(counted(width, noun) + shared)


def add_grid(axes: Axes, shape: tuple[int, int], step: int, colour: str) -> None:
    """Draw thin lines between every `step` sources, and between every `step` targets."""
    for width, line in ((shape[0], axes.axhline), (shape[1], axes.axvline)):
        for node in range(step, width, step):
            line(node - 0.5, color=colour, linewidth=0.5)
