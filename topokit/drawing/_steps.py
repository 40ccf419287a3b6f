"""How a mixed radix system becomes layers: one shift of all nodes after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from topokit.drawing._edges import add_lines, add_nodes, node_points
from topokit.drawing._sheet import Block, Picture, new_picture, title
from topokit.drawing._style import SHIFTS, SMALL
from topokit.errors import InvalidSpecError, OutsideRecipeError
from topokit.families.radix_net import RadixNet
from topokit.layered import Layer, Layered
from topokit.recipes import from_recipe, origin
from topokit.reprs import counted

_MAX_NODES = 32
_MAX_STEPS = 5  # panels above one another
_NUMBERED_UP_TO = 16  # nodes
_COLUMN = 1.7  # inches, a panel's width


def radix_net_of(net: Layered) -> tuple[RadixNet, tuple[str, ...]]:
    """Return the RadiX-Net that a network's recipe starts from, and a line that names the transforms after it.

    Raises:
        InvalidSpecError: the recipe does not start from a RadiX-Net, or there is none.
    """
    recipe, transforms = origin(net.recipe)
    try:
        spec = recipe and from_recipe(recipe)
    except OutsideRecipeError:
        spec = None
    if not isinstance(spec, RadixNet):
        raise InvalidSpecError(
            "these are the steps of a RadiX-Net, and this network's recipe starts from none: "
            "take a network that was built from radices"
        )
    return spec, (f"Not shown, transforms that follow: {', '.join(reversed(transforms))}.",) if transforms else ()


def draw_steps(net: Layered) -> Picture:
    """See `topokit.drawing.draw_steps`."""
    spec, later = radix_net_of(net)
    if spec.nodes > _MAX_NODES:
        raise InvalidSpecError(
            f"{counted(spec.nodes, 'node')} a layer are too many to follow each shift: "
            f"the radices' product may be at most {_MAX_NODES}; for more, draw the network itself"
        )
    base = RadixNet(radices=spec.radices[:1], direction=spec.direction)
    high = min(max(0.2 * base.nodes, 1.0), 3.4)
    layers, most = len(base), max(len(steps(radix)) for radix, _ in base.places)
    shifts = Block((*_heading(spec), *later), [(_COLUMN, high)] * layers * most, layers)
    picture, [panels, [whole]] = new_picture([shifts, Block((), [(max(_COLUMN * layers, 5.1), high)])])
    for i, (radix, _) in enumerate(base.places):
        column = iter(panels[i::layers])
        for newest, panel in zip(steps(radix), column, strict=False):
            _draw_step(panel, base, i, newest, high)
        for panel in column:
            panel.remove()
    whole.set_title("all layers joined: one path from every input to every output", fontsize=SMALL)
    for i, (radix, _) in enumerate(base.places):
        _draw_shifts(whole, base, i, at=i, newest=range(radix))
    _draw_nodes(whole, base.nodes, layers, high)
    return picture


def _heading(spec: RadixNet) -> tuple[str, ...]:
    sign = "+" if spec.direction == 1 else "−"
    lines = [
        f"{title(spec)}: shift by shift",
        f"Node u of a layer is joined to the nodes (u {sign} k·p) mod {spec.nodes}, k from 0 to the radix less 1.",
        "The place value p is the product of the radices before.",
    ]
    if len(spec.radices) > 1:
        lines.append(f"Shown is the first of {len(spec.radices)} systems; the others are made in the same way.")
    if set(spec.kron) != {1}:
        lines.append("The Kronecker widths then multiply the nodes (not shown).")
    return tuple(lines)


def steps(radix: int) -> list[range]:
    """Return the shifts that each panel adds: one each; if there are many, the last panel adds the rest."""
    if radix <= _MAX_STEPS:
        return [range(k, k + 1) for k in range(radix)]
    return [*(range(k, k + 1) for k in range(_MAX_STEPS - 2)), range(_MAX_STEPS - 2, radix)]


def _draw_step(axes: Axes, base: RadixNet, i: int, newest: range, high: float) -> None:
    """Draw edge layer i up to its newest shifts, in axes this high."""
    (radix, place), sign = base.places[i], "+" if base.direction == 1 else "−"
    _draw_shifts(axes, base, i, at=0, newest=newest)
    _draw_nodes(axes, base.nodes, 1, high)
    k, name = (newest[0], f"k = {newest[0]}") if len(newest) == 1 else ("k", f"k = {newest[0]} … {newest[-1]}")
    axes.set_title(f"{name}: (u {sign} {k}·{place}) mod {base.nodes}", fontsize=SMALL, color=_colour(newest[0]))
    if newest[0] == 0:
        _note(axes, f"layer {i}: radix {radix}, p = {place}", (0.5, 1), (0, 18), xycoords="axes fraction")


def shift_of(base: RadixNet, i: int, layer: Layer) -> NDArray[np.int64]:
    """Return the k of each edge of base layer i, shape (edges,), from its two ends."""
    difference = (layer.targets - layer.sources) * base.direction
    return difference % base.nodes // base.places[i][1]


def _draw_shifts(axes: Axes, base: RadixNet, i: int, at: int, newest: range) -> None:
    """Draw the shifts up to the newest ones, which are emphasised, between node columns `at` and `at` + 1."""
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
    """Draw the node columns, numbered if there is room."""
    for column in range(layers + 1):
        points = node_points(column, nodes)
        add_nodes(axes, points, high / nodes)
        if nodes <= _NUMBERED_UP_TO and column in (0, layers):
            for u, point in enumerate(points):
                _note(axes, str(u), point, (-8 if column == 0 else 8, 0))
    axes.set(xlim=(-0.05 * layers, 1.05 * layers), ylim=(0, 1))
    axes.set_axis_off()


def _note(axes: Axes, text: str, point: Any, offset: tuple[int, int], **look: Any) -> None:
    """Write a few characters centred `offset` points from a point."""
    look = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": SMALL, **look}
    axes.annotate(text, point, offset, **look)
