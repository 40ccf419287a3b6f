"""Networks as matrices: a panel for each edge layer, which stays legible and quick at millions of edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from topokit.drawing._bins import bin_size, bin_sizes
from topokit.drawing._canvas import Area, Block, Picture, new_picture
from topokit.drawing._captions import caption, counted, percent, shown_first, title
from topokit.drawing._matrix import ABOVE, BELOW, LEFT, panel_size, show_matrix
from topokit.layered import Layered

_MAX_LAYERS = 12
_COLUMNS = 4
_BAR, _EDGE = 1.2, 0.2  # inches beside the panels, with a colour scale and without


def draw_pattern(nets: Sequence[Layered]) -> Figure:
    """The networks below one another; see `topokit.drawing.draw`."""
    blocks = []
    for net in nets:
        lines = (title(net.recipe), caption(net), *shown_first(_MAX_LAYERS, len(net)))
        columns, rows = _grid(net)
        beside = _BAR if any(bin_size(width) > 1 for width in net.widths[: _MAX_LAYERS + 1]) else _EDGE
        blocks.append(Block(lines, sum(columns) + beside, sum(rows)))
    picture, areas = new_picture(blocks)
    for net, area in zip(nets, areas, strict=True):
        _draw_panels(picture, net, area)
    return picture


def _grid(net: Layered) -> tuple[list[float], list[float]]:
    """Inches of each column (wide) and of each row (high) of the panels, with the words around them."""
    sizes = [panel_size(shape) for shape in pairwise(net.widths[: _MAX_LAYERS + 1])]
    columns = [LEFT + max(wide for wide, _ in sizes[k::_COLUMNS]) for k in range(min(len(sizes), _COLUMNS))]
    rows = [ABOVE + BELOW + max(high for _, high in sizes[k : k + _COLUMNS]) for k in range(0, len(sizes), _COLUMNS)]
    return columns, rows


def _draw_panels(picture: Picture, net: Layered, area: Area) -> None:
    columns, rows = _grid(net)
    binned = []
    for i, layer in zip(range(_MAX_LAYERS), net.stream(), strict=False):
        row, column = divmod(i, _COLUMNS)
        corner = sum(columns[:column]) + LEFT, sum(rows[:row]) + ABOVE
        panel = area.axes(*corner, *panel_size(layer.shape))
        panel.set_title(f"layer {i}: {counted(layer.edges, 'edge')}, {percent(layer.edges, prod(layer.shape))}")
        image = show_matrix(panel, layer)
        if bin_sizes(layer) != (1, 1):
            binned.append(image)
    if binned:
        _share_scale(picture, binned, area.axes(sum(columns) + 0.3, ABOVE, 0.12, 2.0))


def _share_scale(picture: Picture, images: list[AxesImage], bar_axes: Axes) -> None:
    """Give the images one colour scale, and draw it."""
    scale = max(image.get_clim() for image in images)  # all start at 0
    for image in images:
        image.set_clim(scale)
    bar = picture.colorbar(images[0], cax=bar_axes, ticks=MaxNLocator(5))
    bar.formatter = FuncFormatter(lambda share, _: f"{100 * share:g} %")
    bar.set_label("share of a bin's possible edges")
    bar.outline.set_visible(False)
