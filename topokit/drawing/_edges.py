"""Networks as node layers with lines between them, in the manner of the usual figures of RadiX-Nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from topokit.drawing._captions import counted, heading
from topokit.drawing._sheet import Block, new_picture
from topokit.drawing._style import INK, PALE, SMALL, STRONG
from topokit.layered import Layered

_MAX_LAYERS = 24
_BESIDE, _BELOW = 0.9, 0.35  # inches left of rows, and below columns, for the layers' widths
_VECTOR_EDGES = 5_000  # above, lines are stored as an image: the file stays small and opens quickly
_LARGEST = 6.0  # points, a node's diameter
_MANY_NODES = 2_000  # stored as an image: a column of this many circles is a line anyway


@dataclass(frozen=True)
class Trace:
    """What one input reaches.

    Args:
        source: the input.
        edges: for each edge layer, shape (edges,): whether the edge lies on a path from the input.
        nodes: for each node layer, shape (width,): whether the node is the input or reached from it.
    """

    source: int
    edges: list[NDArray[np.bool_]]
    nodes: list[NDArray[np.bool_]]


def trace_from(net: Layered, source: int) -> Trace:
    """Follow every path from input `source`, layer by layer. O(edges)."""
    start = np.zeros(net.widths[0], np.bool_)
    start[source] = True
    trace = Trace(source, [], [start])
    for layer in net.stream():
        followed = trace.nodes[-1][layer.sources]
        reached = np.zeros(layer.shape[1], np.bool_)
        reached[layer.indices[followed]] = True
        trace.edges.append(followed)
        trace.nodes.append(reached)
    return trace


def draw_edges(nets: Sequence[Layered], trace: int | None, rows: bool) -> Figure:
    """Draw the networks below one another, each with its heading; see `topokit.drawing.draw`."""
    traces = [None if trace is None else trace_from(net, trace) for net in nets]
    blocks = []
    for net, followed in zip(nets, traces, strict=True):
        lines = heading(net, _MAX_LAYERS, *([_sentence(followed)] if followed else []))
        around = (_BESIDE, 0, 0, 0) if rows else (0, 0, 0, _BELOW)
        blocks.append(Block(lines, [_size(net, rows)], around=around, beside=0))
    picture, panels = new_picture(blocks)
    for net, followed, block, [axes] in zip(nets, traces, blocks, panels, strict=True):
        axes.set_axis_off()
        _draw_lines(axes, net, followed, rows)
        _draw_nodes(axes, net, followed, rows, block.sizes[0][0 if rows else 1])
    return picture


def _sentence(trace: Trace) -> str:
    outputs, reached = trace.nodes[-1].size, int(trace.nodes[-1].sum())
    edges = sum(int(followed.sum()) for followed in trace.edges)
    share = f"{'all' if reached == outputs else f'{reached:,} of'} {counted(outputs, 'output')}"
    return f"In colour: input {trace.source} reaches {share}, its paths use {counted(edges, 'edge')}."


def _size(net: Layered, rows: bool) -> tuple[float, float]:
    """Return inches (wide, high): as the widest node layer needs one way, and the number of layers the other way."""
    layers, widest = min(len(net), _MAX_LAYERS), max(net.widths[: _MAX_LAYERS + 1])
    if rows:
        return min(max(0.45 * widest, 4.0), 10.0), min(max(1.1 * layers, 1.6), 10.0)
    return min(max(1.7 * layers, 5.0), 12.0), min(max(0.27 * widest, 1.6), 5.0)


def _draw_lines(axes: Axes, net: Layered, trace: Trace | None, rows: bool) -> None:
    as_image = sum(net.layer_edges[:_MAX_LAYERS]) > _VECTOR_EDGES
    for i, layer in zip(range(_MAX_LAYERS), net.stream(), strict=False):
        start, end = (node_points(i + side, net.widths[i + side], rows) for side in (0, 1))
        segments = np.stack((start[layer.sources], end[layer.indices]), axis=1)
        if trace is None:
            add_lines(axes, segments, INK, rasterized=as_image, label="edges")
            continue
        followed = trace.edges[i]
        add_lines(axes, segments[~followed], PALE, rasterized=as_image, label="edges")
        add_lines(axes, segments[followed], STRONG, rasterized=as_image, label="traced edges", zorder=1.5)


def _draw_nodes(axes: Axes, net: Layered, trace: Trace | None, rows: bool, inches: float) -> None:
    last = min(len(net), _MAX_LAYERS)
    for i, width in enumerate(net.widths[: last + 1]):
        reached = np.zeros(width, np.bool_) if trace is None else trace.nodes[i]
        add_nodes(axes, node_points(i, width, rows), inches / width, np.where(reached, STRONG, INK), filled=reached)
        role = {0: "input", len(net): "output"}.get(i)
        _label(axes, counted(width, role) if role else f"{width:,}", i, rows)
    margin = 0.06 * last
    if rows:
        axes.set(xlim=(0, 1), ylim=(-last - margin, margin))
    else:
        axes.set(xlim=(-margin, last + margin), ylim=(0, 1))


def _label(axes: Axes, text: str, layer: int, rows: bool) -> None:
    """Write a node layer's width below its column, or left of its row."""
    axes.annotate(
        text,
        (0, -layer) if rows else (layer, 0),
        (-6, 0) if rows else (0, -6),
        textcoords="offset points",
        ha="right" if rows else "center",
        va="center" if rows else "top",
        fontsize=SMALL,
    )


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


def add_nodes(
    axes: Axes, points: NDArray[np.float64], inches: float, colours: NDArray[np.str_], *, filled: NDArray[np.bool_]
) -> None:
    """Draw circles around points, above the lines.

    Args:
        axes: where.
        points: shape (width, 2).
        inches: from one point to the next; a circle takes a part of it.
        colours: shape (width,).
        filled: shape (width,); the others are white inside.
    """
    diameter = min(_LARGEST, 0.62 * 72 * inches)
    inside = np.where(filled | (diameter < 2), colours, "white")
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=diameter**2,
        c=inside.tolist(),
        edgecolors=colours.tolist(),
        linewidths=min(0.8, diameter / 4),
        rasterized=len(points) > _MANY_NODES,
        zorder=2,
    )
