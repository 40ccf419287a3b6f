"""The two shapes of a network's picture: lines for edges, circles for nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

_LARGEST = 6.0  # points, a node's diameter
_MANY_NODES = 2_000  # stored as an image: a column of this many circles is a line anyway


def node_points(layer: int, width: int, rows: bool = False) -> NDArray[np.float64]:
    """Where the nodes of a node layer stand, shape (width, 2): evenly spread, the first one on top (or left)."""
    across = (np.arange(width) + 0.5) / width
    along = np.full(width, float(layer))
    return np.column_stack((across, -along) if rows else (along, 1 - across))


def add_lines(axes: Axes, segments: NDArray[np.float64], colour: str, **look: Any) -> None:
    """Draw segments, shape (edges, 2, 2): thinner and fainter the more they are."""
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
