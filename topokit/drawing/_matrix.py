"""One layer's matrix as an image: sources downwards, targets to the right."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage

from topokit.drawing._bins import MAX_BINS, bin_densities, bin_size, bin_sizes
from topokit.drawing._captions import counted
from topokit.drawing._style import PALE
from topokit.layered import Layer

LEFT, ABOVE, BELOW = 0.75, 0.3, 0.5  # inches around a panel, for its words
SIDE = 2.5  # inches of a square panel
_GRID_UP_TO = 32  # nodes: cells of smaller layers are parted by lines
_CRISP_UP_TO = 128  # bins a side; more come close to the sheet's pixels, where only smoothing shows each alike

_BLUES = LinearSegmentedColormap.from_list("density", ["#9ecae1", "#4292c6", "#08306b"])
COUNTS = _BLUES.with_extremes(bad="white")  # nothing is white, and the least that is there is not


def panel_size(shape: tuple[int, int], side: float = SIDE) -> tuple[float, float]:
    """Inches (wide, high) of a matrix's panel: as large as a square one, in its own proportions up to 1 : 2."""
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
    _label(axes.xaxis, layer.shape[1], "target")
    _label(axes.yaxis, layer.shape[0], "source")
    axes.set(xlim=(-0.5, layer.shape[1] - 0.5), ylim=(layer.shape[0] - 0.5, -0.5))
    if max(layer.shape) <= _GRID_UP_TO:
        add_grid(axes, layer.shape, 1, PALE)
    return image


def _label(axis: Any, width: int, noun: str) -> None:
    ends = [0, width - 1] if width > 1 else [0]
    axis.set_ticks(ends, labels=[f"{node:,}" for node in ends])
    shared = f", {bin_size(width):,} a bin" if bin_size(width) > 1 else ""
    axis.set_label_text(counted(width, noun) + shared)


def add_grid(axes: Axes, shape: tuple[int, int], step: int, colour: str) -> None:
    """Part every `step` sources, and every `step` targets, by thin lines."""
    for width, line in ((shape[0], axes.axhline), (shape[1], axes.axvline)):
        for node in range(step, width, step):
            line(node - 0.5, color=colour, linewidth=0.5)
