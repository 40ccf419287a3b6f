"""Degrees ranked, the busiest node first, beside what they would be if edges were there by chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from topokit.drawing._canvas import Area, Block, new_picture
from topokit.drawing._captions import caption, counted, shown_first, title
from topokit.drawing._matrix import ABOVE, BELOW, LEFT
from topokit.drawing._style import BARS, SMALL, STRONG
from topokit.layered import Layered
from topokit.measures.hubs import inequality

_MAX_LAYERS = 6
_WIDE, _HIGH = 2.7, 1.45  # inches of a panel
_EDGE = 0.2
_MAX_RANKS = 1_000  # of a curve; no sheet has more pixels there
_WAY = "Nodes by rank, the busiest first. Dashed: chance, a Bernoulli layer of the same density."


def draw_degrees(nets: Sequence[Layered]) -> Figure:
    """The networks below one another; see `topokit.drawing.draw`."""
    blocks = []
    for net in nets:
        lines = (title(net.recipe), caption(net), _WAY, *shown_first(_MAX_LAYERS, len(net)))
        rows = min(len(net), _MAX_LAYERS)
        blocks.append(Block(lines, 2 * (LEFT + _WIDE) + _EDGE, rows * (ABOVE + _HIGH + BELOW)))
    picture, areas = new_picture(blocks)
    for net, area in zip(nets, areas, strict=True):
        _draw_panels(net, area)
    return picture


def _draw_panels(net: Layered, area: Area) -> None:
    for i, layer in zip(range(_MAX_LAYERS), net.stream(), strict=False):
        share = layer.edges / prod(layer.shape)
        sides = (
            ("out", layer.out_degrees, layer.shape[1], "source"),
            ("in", layer.in_degrees, layer.shape[0], "target"),
        )
        for column, (way, degrees, most, noun) in enumerate(sides):
            corner = column * (LEFT + _WIDE) + LEFT, i * (ABOVE + _HIGH + BELOW) + ABOVE
            panel = area.axes(*corner, _WIDE, _HIGH)
            gini = inequality(degrees).gini
            panel.set_title(f"layer {i}: Gini coefficient {'undefined' if gini is None else f'{gini:.3g}'}")
            panel.set(xlabel=counted(degrees.size, noun), ylabel=f"{way}-degree")
            _show(panel, degrees, expected(degrees.size, most, share))


def expected(nodes: int, most: int, share: float) -> NDArray[np.float64]:
    """The degrees of so many nodes in a Bernoulli layer, the largest first: quantiles of the binomial distribution.

    Args:
        nodes: number of nodes.
        most: largest possible degree.
        share: probability of an edge.

    Returns:
        Shape (nodes,): at place r the degree that a share (r + 1/2) / nodes of the nodes is expected to exceed.
    """
    from scipy.stats import binom

    quantiles: NDArray[np.float64] = binom.isf((np.arange(nodes) + 0.5) / nodes, most, share)
    return quantiles


def _show(axes: Axes, degrees: NDArray[np.int64], chance: NDArray[np.float64]) -> None:
    ranked, nodes = np.sort(degrees)[::-1], degrees.size
    ranks = np.unique(np.linspace(0, nodes - 1, min(nodes, _MAX_RANKS)).astype(np.intp))
    edges = np.append(ranks, nodes)  # rank r fills the axis from r to r + 1
    axes.stairs(ranked[ranks], edges, fill=True, color=BARS)
    axes.stairs(chance[ranks], edges, baseline=None, color=STRONG, linestyle=(0, (3, 2)), linewidth=1.2)
    top = max(int(ranked[0]), float(chance[0]), 1.0)
    axes.set(xlim=(0, nodes), ylim=(0, 1.05 * top))
    for axis, most, ticks in ((axes.xaxis, nodes, 5), (axes.yaxis, top, 4)):
        found = np.asarray(MaxNLocator(ticks, integer=True).tick_values(0, most))
        axis.set_ticks(found[found <= most])
    without = int((ranked == 0).sum())
    if without:
        said = f"{without:,} without an edge"
        axes.annotate(said, (1, 1), (-4, -4), "axes fraction", "offset points", ha="right", va="top", fontsize=SMALL)
