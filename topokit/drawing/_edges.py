"""Networks as node layers with lines between them, in the manner of the usual figures of RadiX-Nets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from topokit.drawing._sheet import Block, Picture, heading, new_picture
from topokit.drawing._style import INK, PALE, SMALL, STRONG
from topokit.layered import Layered
from topokit.reprs import counted

Reached = Sequence[NDArray[np.bool_]]

_MAX_LAYERS = 24
_VECTOR_EDGES = 5_000  # above, lines are stored as an image: the file stays small and opens quickly
_LARGEST = 6.0  # points, a node's diameter
_MANY_NODES = 2_000  # stored as an image: a column of this many circles is a line anyway


def reached_from(net: Layered, source: int) -> list[NDArray[np.bool_]]:
    """Return for each node layer whether each node is input `source` or reached from it. O(edges)."""
    reached = [np.arange(net.widths[0]) == source]
    for layer in net.stream():
        ends = np.zeros(layer.shape[1], np.bool_)
        ends[layer.targets[reached[-1][layer.sources]]] = True
        reached.append(ends)
    return reached


def draw_edges(nets: Sequence[Layered], trace: int | None, rows: bool) -> Picture:
    """Draw the networks below one another, each with its heading; see `topokit.drawing.draw`."""
    traces = [None if trace is None else reached_from(net, trace) for net in nets]
    blocks = [
        Block(heading(net, _MAX_LAYERS, *_traced(net, reached, trace)), [_size(net, rows)])
        for net, reached in zip(nets, traces, strict=True)
    ]
    picture, panels = new_picture(blocks)
    for net, reached, block, [axes] in zip(nets, traces, blocks, panels, strict=True):
        axes.set_axis_off()
        _draw_lines(axes, net, reached, rows)
        _draw_nodes(axes, net, reached, rows, block.sizes[0][0 if rows else 1])
    return picture


def _traced(net: Layered, reached: Reached | None, source: int | None) -> tuple[str, ...]:
    """Return the line of the heading about the traced paths; none without a trace."""
    if reached is None:
        return ()
    outputs, found = net.widths[-1], int(reached[-1].sum())
    edges = sum(int(nodes[layer.sources].sum()) for nodes, layer in zip(reached, net.stream(), strict=False))
    share = f"{'all' if found == outputs else f'{found:,} of'} {counted(outputs, 'output')}"
    return (f"In colour: input {source} reaches {share}, its paths use {counted(edges, 'edge')}.",)


def _size(net: Layered, rows: bool) -> tuple[float, float]:
    """Return inches (wide, high): as the widest node layer needs one way, and the number of layers the other way."""
    layers, widest = min(len(net), _MAX_LAYERS), max(net.widths[: _MAX_LAYERS + 1])
    if rows:
        return min(max(0.45 * widest, 4.0), 10.0), min(max(1.1 * layers, 1.6), 10.0)
    return min(max(1.7 * layers, 5.0), 12.0), min(max(0.27 * widest, 1.6), 5.0)


def _draw_lines(axes: Axes, net: Layered, reached: Reached | None, rows: bool) -> None:
    as_image = sum(net.layer_edges[:_MAX_LAYERS]) > _VECTOR_EDGES
    for i, layer in zip(range(_MAX_LAYERS), net.stream(), strict=False):
        start, end = (node_points(i + side, net.widths[i + side], rows) for side in (0, 1))
        segments = np.stack((start[layer.sources], end[layer.indices]), axis=1)
        if reached is None:
            add_lines(axes, segments, INK, rasterized=as_image, label="edges")
            continue
        followed = reached[i][layer.sources]
        add_lines(axes, segments[~followed], PALE, rasterized=as_image, label="edges")
        add_lines(axes, segments[followed], STRONG, rasterized=as_image, label="traced edges", zorder=1.5)


def _draw_nodes(axes: Axes, net: Layered, reached: Reached | None, rows: bool, inches: float) -> None:
    last = min(len(net), _MAX_LAYERS)
    for i, width in enumerate(net.widths[: last + 1]):
        filled = None if reached is None else reached[i]
        add_nodes(axes, node_points(i, width, rows), inches / width, filled)
        role = {0: "input", len(net): "output"}.get(i)
        text = counted(width, role) if role else f"{width:,}"  # below a column, left of a row
        point, offset, ha, va = ((0, -i), (-6, 0), "right", "center") if rows else ((i, 0), (0, -6), "center", "top")
        axes.annotate(text, point, offset, textcoords="offset points", ha=ha, va=va, fontsize=SMALL)
    margin = 0.06 * last
    if rows:
        axes.set(xlim=(0, 1), ylim=(-last - margin, margin))
    else:
        axes.set(xlim=(-margin, last + margin), ylim=(0, 1))


def node_points(layer: int, width: int, rows: bool = False) -> NDArray[np.float64]:
    """Return the points of a node layer, shape (width, 2): evenly spread, the first one at the top (or left)."""
    across = (np.arange(width) + 0.5) / width
    along = np.full(width, float(layer))
    return np.column_stack((across, -along) if rows else (along, 1 - across))


def add_lines(axes: Axes, segments: NDArray[np.float64], colour: str, **look: Any) -> None:
    """Draw segments, shape (edges, 2, 2): the more, the thinner and fainter."""
    edges = max(1, len(segments))
    width = float(np.clip(2.4 * edges**-0.3, 0.12, 1.1))
    alpha = float(np.clip(4 * edges**-0.35, 0.08, 0.9))
    look = {"linewidths": width, "alpha": alpha, "zorder": 1, **look}
    axes.add_collection(LineCollection(list(segments), colors=colour, **look), autolim=False)


def add_nodes(axes: Axes, points: NDArray[np.float64], inches: float, filled: NDArray[np.bool_] | None = None) -> None:
    """Draw circles around points, above the lines.

    Args:
        axes: to draw in.
        points: shape (width, 2).
        inches: from one point to the next; a circle takes a part of it.
        filled: shape (width,), those that are filled and in the strong colour; none by default.
    """
    strong = np.zeros(len(points), np.bool_) if filled is None else filled
    diameter = min(_LARGEST, 0.62 * 72 * inches)
    edges = np.where(strong, STRONG, INK)
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=diameter**2,
        c=np.where(strong | (diameter < 2), edges, "white").tolist(),
        edgecolors=edges.tolist(),
        linewidths=min(0.8, diameter / 4),
        rasterized=len(points) > _MANY_NODES,
        zorder=2,
    )
