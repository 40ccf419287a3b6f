"""The Kronecker product that widens a RadiX-Net's layers: W* = ones (x) W, which keeps their density, or F (x) W."""

from __future__ import annotations

from math import prod

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from topokit.drawing._canvas import Area, Block, new_picture
from topokit.drawing._captions import listed, percent, shown_first
from topokit.drawing._matrix import ABOVE, BELOW, LEFT, add_grid, panel_size, show_matrix
from topokit.drawing._radix import radix_net_of
from topokit.drawing._style import STRONG
from topokit.families.radix_net import RadixNet
from topokit.layered import Layer, Layered
from topokit.topologies import Topology

_MAX_LAYERS = 6
_SIDES = (1.4, 2.0, 2.5)  # inches of their panels
_SIGN = 0.3  # inches, for the signs between them
_COPIES_PARTED_UP_TO = 32  # a side; more would leave nothing but lines


def draw_kron_steps(net: Layered) -> Figure:
    """See `topokit.drawing.draw_kron_steps`."""
    spec, later = radix_net_of(net)
    shapes = [_shapes(spec, i) for i in range(min(len(spec), _MAX_LAYERS))]
    sizes = [[panel_size(shape, side) for shape, side in zip(row, _SIDES, strict=True)] for row in shapes]
    columns = [LEFT + _SIGN + max(wide for wide, _ in column) for column in zip(*sizes, strict=True)]
    heights = [ABOVE + BELOW + max(high for _, high in row) for row in sizes]
    lines = (*_heading(spec), *later, *shown_first(_MAX_LAYERS, len(spec)))
    names = ("ones" if _is_full(spec) else "F", "W", "W*")
    picture, [area] = new_picture([Block(lines, sum(columns), sum(heights))])
    for i, row in enumerate(sizes):
        panels = []
        for k, layer in enumerate(_factors(spec, i)):
            left, top = sum(columns[:k]) + LEFT, sum(heights[:i]) + ABOVE
            panel = area.axes(left, top, *row[k])
            panel.set_title(f"{names[k]}, layer {i}: {percent(layer.edges, prod(layer.shape))}")
            show_matrix(panel, layer)
            panels.append(panel)
            if k:
                _write_sign(area, "⊗="[k - 1], left - LEFT - _SIGN, top)
        _show_copies(panels[0], panels[2], shapes[i], spec.nodes)
    return picture


def _is_full(spec: RadixNet) -> bool:
    """Whether all copies are joined, in every layer."""
    return set(spec.steps) == {1}


def _heading(spec: RadixNet) -> tuple[str, ...]:
    made = f"RadiX-Net, radices {listed(spec.radices)}, widened by {listed(spec.kron)}"
    if _is_full(spec):
        return (
            made,
            "W* = ones ⊗ W: each node layer has B copies of every node, and all copies are joined.",
            "W* has the density of W.",
        )
    moduli = ", ".join(map(str, spec.steps[:_MAX_LAYERS]))
    return (
        f"{made}, with diagonals {listed(spec.diagonals)}",
        "W* = F ⊗ W: each node layer has B copies of every node, and F says which copies are joined:",
        f"copies a and b where a = b modulo {moduli}{' …' if len(spec) > _MAX_LAYERS else ''}, layer by layer.",
        "W* has the density of F times that of W.",
    )


def _shapes(spec: RadixNet, i: int) -> list[tuple[int, int]]:
    """The shapes of the factor, W and W* of edge layer i."""
    sources, targets = spec.widths[i : i + 2]
    return [(sources // spec.nodes, targets // spec.nodes), (spec.nodes, spec.nodes), (sources, targets)]


def _factors(spec: RadixNet, i: int) -> tuple[Layer, Layer, Layer]:
    """The factor, which is ones where all copies are joined, W and W* of edge layer i."""
    product = spec.layer(i)  # the largest comes first: it refuses what does not fit
    a, b = _shapes(spec, i)[0]
    step = spec.steps[i]
    joined = np.arange(a)[:, None] % step + np.arange(0, b, step)
    factor = Topology.from_csr([(np.arange(a + 1) * (b // step), joined.ravel())], (a, b)).layer(0)
    return factor, RadixNet(radices=spec.radices, direction=spec.direction).layer(i), product


def _write_sign(area: Area, sign: str, left: float, top: float) -> None:
    """Write a sign between two matrices, at the height of the upper half of all of them."""
    mark = area.axes(left, top, _SIGN, _SIDES[0])
    mark.text(0.5, 0.5, sign, ha="center", va="center", fontsize=14)
    mark.set_axis_off()


def _show_copies(factor: Axes, product: Axes, shapes: list[tuple[int, int]], nodes: int) -> None:
    """Name the Kronecker widths, and part the copies of W in W* by lines where there is room."""
    a, b = shapes[0]
    factor.set(ylabel=f"B = {a:,}", xlabel=f"B = {b:,}")
    if max(a, b) <= _COPIES_PARTED_UP_TO:
        add_grid(product, shapes[2], nodes, STRONG)
