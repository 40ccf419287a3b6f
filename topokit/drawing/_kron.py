"""The Kronecker product that widens a RadiX-Net's layers: W* = ones (x) W, which keeps their density, or F (x) W."""

from __future__ import annotations

import numpy as np

from topokit.drawing._pattern import add_grid, panel_size, percent, show_matrix
from topokit.drawing._sheet import Block, Picture, new_picture, shown_first, title
from topokit.drawing._steps import radix_net_of
from topokit.drawing._style import STRONG
from topokit.families.radix_net import RadixNet
from topokit.layered import Layer, Layered
from topokit.topologies import Topology

_MAX_LAYERS = 6
_SIDES = (1.4, 2.0, 2.5)  # inches of their panels
_SIGNS = ("", "⊗", "=")  # left of the panels
_MAX_COPIES = 32  # a side, up to which lines separate them; more would leave nothing but lines


def draw_kron_steps(net: Layered) -> Picture:
    """See `topokit.drawing.draw_kron_steps`."""
    spec, later = radix_net_of(net)
    layers = range(min(len(spec), _MAX_LAYERS))
    sizes = [panel_size(shape, side) for i in layers for shape, side in zip(_shapes(spec, i), _SIDES, strict=True)]
    lines = (*_heading(spec), *later, *shown_first(_MAX_LAYERS, len(spec)))
    picture, [panels] = new_picture([Block(lines, sizes, len(_SIDES))])
    names = ("ones" if _is_full(spec) else "F", "W", "W*")
    for i in layers:
        row = panels[3 * i : 3 * i + 3]
        for panel, layer, name, sign in zip(row, _factors(spec, i), names, _SIGNS, strict=True):
            panel.set_title(f"{name}, layer {i}: {percent(layer)}")
            show_matrix(panel, layer)
            panel.annotate(sign, (0, 1), (-45, -50), "axes fraction", "offset points", ha="right", va="center", size=14)
        (a, b), _, shape = _shapes(spec, i)
        row[0].set(ylabel=f"B = {a:,}", xlabel=f"B = {b:,}")
        if max(a, b) <= _MAX_COPIES:
            add_grid(row[2], shape, spec.nodes, STRONG)
    return picture


def _is_full(spec: RadixNet) -> bool:
    """Return whether all copies are joined, in every layer."""
    return set(spec.steps) == {1}


def _heading(spec: RadixNet) -> tuple[str, ...]:
    if _is_full(spec):
        return (
            title(spec),
            "W* = ones ⊗ W: each node layer has B copies of every node, and all copies are joined.",
            "W* has the density of W.",
        )
    moduli = ", ".join(map(str, spec.steps[:_MAX_LAYERS]))
    return (
        title(spec),
        "W* = F ⊗ W: each node layer has B copies of every node, and F says which copies are joined:",
        f"copies a and b if a = b modulo {moduli}{' …' if len(spec) > _MAX_LAYERS else ''}, layer by layer.",
        "W* has the density of F times that of W.",
    )


def _shapes(spec: RadixNet, i: int) -> list[tuple[int, int]]:
    """Return the shapes of the factor, W and W* of edge layer i."""
    sources, targets = spec.widths[i : i + 2]
    return [(sources // spec.nodes, targets // spec.nodes), (spec.nodes, spec.nodes), (sources, targets)]


def _factors(spec: RadixNet, i: int) -> tuple[Layer, Layer, Layer]:
    """Return the factor (ones if all copies are joined), W and W* of edge layer i."""
    product = spec.layer(i)  # the largest first: it refuses what does not fit into memory
    a, b = _shapes(spec, i)[0]
    step = spec.steps[i]
    joined = np.arange(a)[:, None] % step + np.arange(0, b, step)
    factor = Topology.from_csr([(np.arange(a + 1) * (b // step), joined.ravel())], (a, b)).layer(0)
    return factor, RadixNet(radices=spec.radices, direction=spec.direction).layer(i), product
