"""Networks as matrices: a panel for each edge layer, sources downwards. Large matrices are counted in bins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, prod
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from topokit.drawing._sheet import Block, Picture, add_bar, heading, new_picture
from topokit.drawing._style import PALE
from topokit.layered import Layer, Layered
from topokit.reprs import counted

_MAX_LAYERS = 12
_COLUMNS = 4
_NODE = 0.6  # inches of a node, at most, if a side has few nodes and the other one has many
MAX_BINS = 400  # a side: about as many as a panel has pixels
_GRID_UP_TO = 32  # nodes: lines separate the cells of smaller layers
_CRISP_UP_TO = 128  # bins a side; more come close to the sheet's pixels, where only smoothing shows each alike

_BLUES = LinearSegmentedColormap.from_list("density", ["#9ecae1", "#4292c6", "#08306b"])
COUNTS = _BLUES.with_extremes(bad="white")  # zero is white, and the least other value is not


def draw_pattern(nets: Sequence[Layered]) -> Picture:
    """Draw the networks below one another; see `topokit.drawing.draw`."""
    blocks = [
        Block(heading(net, _MAX_LAYERS), list(map(panel_size, pairwise(net.widths[: _MAX_LAYERS + 1]))), _COLUMNS)
        for net in nets
    ]
    picture, panels = new_picture(blocks)
    for net, own in zip(nets, panels, strict=True):
        _draw_panels(net, own)
    return picture


def _draw_panels(net: Layered, panels: list[Axes]) -> None:
    binned = []
    for i, (panel, layer) in enumerate(zip(panels, net.stream(), strict=False)):
        panel.set_title(f"layer {i}: {counted(layer.edges, 'edge')}, {percent(layer)}")
        image = show_matrix(panel, layer)
        if bin_sizes(layer) != (1, 1):
            binned.append(image)
    if binned:
        scale = max(image.get_clim() for image in binned)  # all start at 0
        for image in binned:
            image.set_clim(scale)
        percents = FuncFormatter(lambda share, _: f"{100 * share:g} %")
        add_bar(panels[:_COLUMNS], binned[0], "density of a bin; white: no edge", percents)


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


def bin_densities(layer: Layer) -> NDArray[np.float64]:
    """Return edges over possible edges of each bin, shape (source bins, target bins). O(edges), without a matrix.

    Edges are stored source by source, so those of a row of bins are one slice.
    """
    rows, columns = bin_sizes(layer)
    high, wide = (
        np.minimum(size, width - np.arange(0, width, size))
        for size, width in zip((rows, columns), layer.shape, strict=True)
    )
    bounds = [*layer.indptr[:-1:rows].tolist(), layer.edges]
    slices = (layer.targets[start:end] // columns for start, end in pairwise(bounds))
    counts = np.stack([np.bincount(row, minlength=wide.size) for row in slices])
    densities: NDArray[np.float64] = counts / np.outer(high, wide)
    return densities


def panel_size(shape: tuple[int, int], side: float = 2.5) -> tuple[float, float]:
    """Return inches (wide, high) of a matrix's panel: the area of a square one, proportions of at most 1 : 2.

    The side of very few nodes is shorter, so that one node does not fill it.
    """
    root = min(max(shape[0] / shape[1], 0.5), 2.0) ** 0.5
    wide, high = side / root, side * root
    across, down = high * shape[1] / shape[0], wide * shape[0] / shape[1]  # inches if cells are squares
    return min(wide, max(_NODE * shape[1], across)), min(high, max(_NODE * shape[0], down))


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
    for side, width, noun in ((axes.xaxis, layer.shape[1], "target"), (axes.yaxis, layer.shape[0], "source")):
        bins = f", in bins of {bin_size(width):,}" if bin_size(width) > 1 else ""
        label_ends(side, width, counted(width, noun) + bins)
    axes.set(xlim=(-0.5, layer.shape[1] - 0.5), ylim=(layer.shape[0] - 0.5, -0.5))
    if max(layer.shape) <= _GRID_UP_TO:
        add_grid(axes, layer.shape, 1, PALE)
    return image


def percent(layer: Layer) -> str:
    """Return the density of a layer in percent, to three digits."""
    return f"{100 * layer.edges / prod(layer.shape):.3g} %"


def label_ends(axis: Any, width: int, label: str) -> None:
    """Number the first and the last node on an axis, and label it."""
    ends = [0, width - 1] if width > 1 else [0]
    axis.set_ticks(ends, labels=[f"{node:,}" for node in ends])
    axis.set_label_text(label)


def add_grid(axes: Axes, shape: tuple[int, int], step: int, colour: str) -> None:
    """Draw thin lines between every `step` sources, and between every `step` targets."""
    for width, line in ((shape[0], axes.axhline), (shape[1], axes.axvline)):
        for node in range(step, width, step):
            line(node - 0.5, color=colour, linewidth=0.5)
