"""Networks as matrices: a panel for each edge layer, which stays legible and quick at millions of edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from topokit.drawing._matrix import bin_sizes, panel_size, percent, show_matrix
from topokit.drawing._sheet import Block, add_bar, heading, new_picture
from topokit.layered import Layered
from topokit.reprs import counted

_MAX_LAYERS = 12
_COLUMNS = 4


def draw_pattern(nets: Sequence[Layered]) -> Figure:
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
        add_bar(panels[:_COLUMNS], binned[0], "density of a bin; white: no edge", PercentFormatter(1, symbol=" %"))
