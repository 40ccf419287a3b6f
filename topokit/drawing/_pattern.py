"""Networks as matrices: a panel for each edge layer, which stays legible and quick at millions of edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from topokit.drawing._captions import counted, heading, percent
from topokit.drawing._matrix import bin_size, bin_sizes, panel_size, show_matrix
from topokit.drawing._sheet import Block, Picture, add_bar, new_picture
from topokit.layered import Layered

_MAX_LAYERS = 12
_COLUMNS = 4
_BAR, _EDGE = 1.2, 0.2  # inches beside the panels, with a colour scale and without


def draw_pattern(nets: Sequence[Layered]) -> Figure:
    """Draw the networks below one another; see `topokit.drawing.draw`."""
    blocks = []
    for net in nets:
        widths = net.widths[: _MAX_LAYERS + 1]
        beside = _BAR if any(bin_size(width) > 1 for width in widths) else _EDGE
        sizes = list(map(panel_size, pairwise(widths)))
        blocks.append(Block(heading(net, _MAX_LAYERS), sizes, _COLUMNS, beside=beside))
    picture, panels = new_picture(blocks)
    for net, own in zip(nets, panels, strict=True):
        _draw_panels(picture, net, own)
    return picture


def _draw_panels(picture: Picture, net: Layered, panels: list[Axes]) -> None:
    binned = []
    for i, (panel, layer) in enumerate(zip(panels, net.stream(), strict=False)):
        panel.set_title(f"layer {i}: {counted(layer.edges, 'edge')}, {percent(layer.edges, prod(layer.shape))}")
        image = show_matrix(panel, layer)
        if bin_sizes(layer) != (1, 1):
            binned.append(image)
    if binned:
        scale = max(image.get_clim() for image in binned)  # all start at 0
        for image in binned:
            image.set_clim(scale)
        bar = add_bar(picture, panels, 2.0, binned[0], MaxNLocator(5), "share of a bin's possible edges")
        bar.formatter = FuncFormatter(lambda share, _: f"{100 * share:g} %")
