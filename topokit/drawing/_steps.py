"""How a mixed radix system becomes layers: one shift of all nodes after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from topokit.drawing._canvas import Area, Block, new_picture
from topokit.drawing._captions import is_ones, listed
from topokit.drawing._radix import radix_net_of
from topokit.drawing._shapes import add_lines, add_nodes, node_points
from topokit.drawing._style import INK, SHIFTS, SMALL
from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.layered import Layer, Layered

_MAX_NODES = 32
_MAX_STEPS = 5  # panels above one another
_NUMBERED_UP_TO = 16  # nodes
_COLUMN, _GAP, _ABOVE = 1.7, 0.7, 0.45  # inches
_NARROWEST = 4.5  # inches, for the words above all layers joined


def draw_steps(net: Layered) -> Figure:
    """See `topokit.drawing.draw_steps`."""
    spec, later = radix_net_of(net)
    if spec.nodes > _MAX_NODES:
        raise InvalidSpecError(
            f"{spec.nodes} nodes a layer are too many to follow each shift: "
            f"the radices' product may be at most {_MAX_NODES}; for more, draw the network itself"
        )
    base = RadixNet(radices=spec.radices[:1], direction=spec.direction)
    high = min(max(0.2 * base.nodes, 1.0), 3.4)
    rows = max(len(steps(radix)) for radix, _ in base.places)
    width = max(len(base) * (_COLUMN + _GAP), _NARROWEST)
    picture, [area] = new_picture([Block((*_heading(spec), *later), width, (rows + 1) * (high + _ABOVE) + 0.2)])
    for i in range(len(base)):
        _draw_column(area, base, i, high)
    whole = area.axes(_GAP / 2, rows * (high + _ABOVE) + _ABOVE, width - _GAP, high)
    whole.set_title("all layers joined: one path from every input to every output", fontsize=SMALL)
    for i, (radix, _) in enumerate(base.places):
        _draw_shifts(whole, base, i, at=i, newest=range(radix))
    _draw_nodes(whole, base.nodes, len(base), high)
    return picture


def _heading(spec: RadixNet) -> tuple[str, ...]:
    sign = "+" if spec.direction == 1 else "−"
    lines = [
        f"RadiX-Net, radices {listed(spec.radices)}: shift by shift",
        f"Node u of a layer is joined to the nodes (u {sign} k·p) mod {spec.nodes}, k from 0 to the radix less 1.",
        "The place value p is the product of the radices before.",
    ]
    if len(spec.radices) > 1:
        lines.append(f"Shown is the first of {len(spec.radices)} systems; the others are made in the same way.")
    if not is_ones(spec.kron):
        lines.append(f"The Kronecker widths {listed(spec.kron)} then multiply the nodes (not shown).")
    return tuple(lines)


def steps(radix: int) -> list[range]:
    """The shifts that each panel adds: one each, and where they are many the last panel adds the rest."""
    if radix <= _MAX_STEPS:
        return [range(k, k + 1) for k in range(radix)]
    return [*(range(k, k + 1) for k in range(_MAX_STEPS - 2)), range(_MAX_STEPS - 2, radix)]


def _draw_column(area: Area, base: RadixNet, i: int, high: float) -> None:
    radix, place = base.places[i]
    sign = "+" if base.direction == 1 else "−"
    for row, added in enumerate(steps(radix)):
        panel = area.axes(_GAP / 2 + i * (_COLUMN + _GAP), row * (high + _ABOVE) + _ABOVE, _COLUMN, high)
        _draw_shifts(panel, base, i, at=0, newest=added)
        _draw_nodes(panel, base.nodes, 1, high)
        k, name = (added[0], f"k = {added[0]}") if len(added) == 1 else ("k", f"k = {added[0]} … {added[-1]}")
        panel.set_title(f"{name}: (u {sign} {k}·{place}) mod {base.nodes}", fontsize=SMALL, color=_colour(added[0]))
        if row == 0:
            _note(panel, f"layer {i}: radix {radix}, p = {place}", (0.5, 1), (0, 18), xycoords="axes fraction")


def shift_of(base: RadixNet, i: int, layer: Layer) -> NDArray[np.int64]:
    """Shape (edges,): the k of each edge of base layer i, found from its two ends."""
    difference = (layer.targets - layer.sources) * base.direction
    return difference % base.nodes // base.places[i][1]


def _draw_shifts(axes: Axes, base: RadixNet, i: int, at: int, newest: range) -> None:
    """Draw the shifts up to the newest ones, which stand out, between node columns `at` and `at` + 1."""
    layer = base.layer(i)
    start, end = node_points(at, base.nodes), node_points(at + 1, base.nodes)
    segments = np.stack((start[layer.sources], end[layer.indices]), axis=1)
    shifts = shift_of(base, i, layer)
    for k in range(newest.stop):
        look = {"linewidths": 1.1, "alpha": 1.0} if k in newest else {"linewidths": 0.8, "alpha": 0.4}
        add_lines(axes, segments[shifts == k], _colour(k), label=f"k = {k}", **look)


def _colour(k: int) -> str:
    return SHIFTS[k % len(SHIFTS)]


def _draw_nodes(axes: Axes, nodes: int, layers: int, high: float) -> None:
    """Draw the node columns, numbered where there is room."""
    for column in range(layers + 1):
        points = node_points(column, nodes)
        add_nodes(axes, points, high / nodes, np.full(nodes, INK), filled=np.zeros(nodes, np.bool_))
        if nodes <= _NUMBERED_UP_TO and column in (0, layers):
            for u, point in enumerate(points):
                _note(axes, str(u), point, (-8 if column == 0 else 8, 0))
    axes.set(xlim=(-0.05 * layers, 1.05 * layers), ylim=(0, 1))
    axes.set_axis_off()


def _note(axes: Axes, text: str, point: Any, offset: tuple[int, int], **look: Any) -> None:
    """Write a few characters centred `offset` points from a point."""
    look = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": SMALL, **look}
    axes.annotate(text, point, offset, **look)
