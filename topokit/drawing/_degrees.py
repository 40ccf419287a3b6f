"""Degrees ranked, the largest first, beside what they would be if edges were there by chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from topokit.drawing._sheet import Block, Picture, heading, new_picture
from topokit.drawing._style import BARS, SMALL, STRONG
from topokit.layered import Layered
from topokit.measures.hubs import inequality
from topokit.reprs import counted

_MAX_LAYERS = 6
_PANEL = (2.7, 1.45)  # inches (wide, high)
_MAX_RANKS = 1_000  # of a curve; no sheet has more pixels there
_KEY = "Nodes by rank, the busiest first. Dashed: chance, a Bernoulli layer of the same density."


def draw_degrees(nets: Sequence[Layered]) -> Picture:
    """Draw the networks below one another; see `topokit.drawing.draw`."""
    blocks = [Block(heading(net, _MAX_LAYERS, _KEY), [_PANEL] * 2 * min(len(net), _MAX_LAYERS), 2) for net in nets]
    picture, panels = new_picture(blocks)
    for net, own in zip(nets, panels, strict=True):
        for i, (left, right, layer) in enumerate(zip(own[::2], own[1::2], net.stream(), strict=False)):
            (sources, targets), density = layer.shape, layer.edges / prod(layer.shape)
            _show(left, i, ("out", "source"), layer.out_degrees, expected(sources, targets, density))
            _show(right, i, ("in", "target"), layer.in_degrees, expected(targets, sources, density))
    return picture


def expected(nodes: int, most: int, density: float) -> NDArray[np.float64]:
    """Return the degrees of nodes in a Bernoulli layer, the largest first: quantiles of the binomial distribution.

    Args:
        nodes: number of nodes.
        most: largest possible degree.
        density: probability of an edge.

    Returns:
        Shape (nodes,): at place r the degree that a share (r + 1/2) / nodes of the nodes is expected to exceed.
    """
    from scipy.stats import binom

    quantiles: NDArray[np.float64] = binom.isf((np.arange(nodes) + 0.5) / nodes, most, density)
    return quantiles


def _show(axes: Axes, i: int, words: tuple[str, str], degrees: NDArray[np.int64], chance: NDArray[np.float64]) -> None:
    ranked, nodes = np.sort(degrees)[::-1], degrees.size
    gini = inequality(degrees).gini
    axes.set_title(f"layer {i}: Gini coefficient {'undefined' if gini is None else f'{gini:.3g}'}")
    axes.set(xlabel=counted(nodes, words[1]), ylabel=f"{words[0]}-degree")
    ranks = np.unique(np.linspace(0, nodes - 1, min(nodes, _MAX_RANKS)).astype(np.intp))
    edges = np.append(ranks, nodes)  # rank r fills the axis from r to r + 1
    axes.stairs(ranked[ranks], edges, fill=True, color=BARS)
    axes.stairs(chance[ranks], edges, baseline=None, color=STRONG, linestyle=(0, (3, 2)), linewidth=1.2)
    axes.set(xlim=(0, nodes), ylim=(0, 1.05 * max(ranked[0], chance[0], 1)))
    axes.locator_params(nbins=5, integer=True)
    without = int((ranked == 0).sum())
    if without:
        text = f"{without:,} without an edge"
        axes.annotate(text, (1, 1), (-4, -4), "axes fraction", "offset points", ha="right", va="top", fontsize=SMALL)
