"""Pictures of networks, made with matplotlib, which is imported when something is drawn.

>>> from topokit.families.radix_net import RadixNet
>>> figure = draw(RadixNet(radices=[(2, 2, 2)]), trace=3)
>>> [text.get_text() for text in figure.texts][-1]
'In colour: input 3 reaches all 8 outputs, its paths use 14 edges.'
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from topokit.drawing._saving import save_figure
from topokit.drawing._style import house_style
from topokit.errors import InvalidSpecError
from topokit.layered import Layered, Source, network
from topokit.spec import integer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STYLES", "draw", "draw_kron_steps", "draw_steps", "save_figure"]

STYLES = ("auto", "edges", "pattern", "pixels", "degrees")
_AUTO_LINES = 4_000
_MAX_LINES = 100_000


def draw(
    net: Source,
    *,
    style: str = "auto",
    beside: Source | Sequence[Source] = (),
    trace: int | None = None,
    rows: bool = False,
    image: Sequence[int] | None = None,
) -> Figure:
    """Draw a network, and others below it to compare it with.

    Args:
        net: the network on top: a topology, its description or its file.
        style: "edges" draws nodes and lines between them, "pattern" each layer's matrix (sources downwards,
            targets to the right), "pixels" the inputs as an image, each as dark as it has edges, "degrees" each layer's
            out-degrees and in-degrees by rank, beside those of a Bernoulli network of the same density; "auto" takes
            edges up to 4,000 edges and with `trace` or `rows`, else pattern.
        beside: one network or several, drawn below, each with its heading.
        trace: an input whose paths are drawn in colour, and counted in the heading.
        rows: node layers as rows instead of columns.
        image: for the style pixels: (rows, columns) or (rows, columns, channels) of the image that the inputs are,
            channel after channel and row after row, as torch flattens images; a square where left out.

    Raises:
        InvalidSpecError: an unknown style, an input that is not there, trace or rows of anything but edges, an
            image that has not as many pixels as there are inputs, or more than 100,000 lines or circles.
        MissingDependencyError: matplotlib is not installed.

    Cost: O(edges). A pattern of a million edges takes under a second, 100,000 lines about ten.
    """
    others = [beside] if isinstance(beside, Layered | str | PathLike) else beside
    nets = [network(one, "what is drawn") for one in (net, *others)]
    if trace is not None:
        _check_trace(trace, nets)
    style = _resolve(style, nets, lines_only=rows or trace is not None)
    if image is not None and style != "pixels":
        raise InvalidSpecError(f"image is for the style pixels, not for {style}: leave it out, or take that style")
    with house_style():
        if style == "edges":
            from topokit.drawing._edges import draw_edges

            return draw_edges(nets, trace, rows)
        if style == "pixels":
            from topokit.drawing._pixels import draw_pixels

            return draw_pixels(nets, image)
        if style == "degrees":
            from topokit.drawing._degrees import draw_degrees

            return draw_degrees(nets)
        from topokit.drawing._pattern import draw_pattern

        return draw_pattern(nets)


def draw_steps(net: Source) -> Figure:
    """Draw how a RadiX-Net's first mixed radix system is made: a column for each layer, its shifts added one by one.

    The network of all layers joined stands below; every shift has its own colour. The Kronecker widths,
    further systems and what was done to the network later are named in the heading and not drawn.

    Args:
        net: a RadixNet, or any network whose recipe starts from one. The recipe is drawn, not the edges.

    Raises:
        InvalidSpecError: no RadiX-Net, or one of more than 32 nodes a layer before the Kronecker widths.
        MissingDependencyError: matplotlib is not installed.

    Source: Robinett & Kepner 2019, arXiv:1905.00416, definition of mixed radix topologies.
    """
    with house_style():
        from topokit.drawing import _steps

        return _steps.draw_steps(network(net))


def draw_kron_steps(net: Source) -> Figure:
    """Draw the Kronecker product of each layer of a RadiX-Net, ones (x) W = W*, with the densities of all three.

    Where the network has diagonals, the factor F that they make stands in place of the ones.
    At most six layers are drawn; the heading says how many there are.

    Args:
        net: a RadixNet, or any network whose recipe starts from one. The recipe is drawn, not the edges.

    Raises:
        InvalidSpecError: no RadiX-Net.
        MissingDependencyError: matplotlib is not installed.

    Cost: O(edges of the layers drawn), one of them in memory.
    Source: Robinett & Kepner 2019, arXiv:1905.00416, definition of RadiX-Nets.
    """
    with house_style():
        from topokit.drawing import _kron

        return _kron.draw_kron_steps(network(net))


def _check_trace(trace: int, nets: Sequence[Layered]) -> None:
    integer(trace, "trace", 0)
    narrowest = min(net.widths[0] for net in nets)
    if trace >= narrowest:
        raise InvalidSpecError(f"trace {trace} is no input of every network drawn: inputs are 0 to {narrowest - 1}")


def _resolve(style: str, nets: Sequence[Layered], *, lines_only: bool) -> str:
    """The style to draw in: one of STYLES but "auto"."""
    most = max(max(net.edges, *net.widths) for net in nets)
    if style not in STYLES:
        raise InvalidSpecError(f"no style named {style!r}: it must be one of {', '.join(STYLES)}")
    if style == "auto":
        style = "edges" if lines_only or most <= _AUTO_LINES else "pattern"
    if style != "edges" and lines_only:
        raise InvalidSpecError("trace and rows need lines between nodes: leave them out, or take the style edges")
    if style == "edges" and most > _MAX_LINES:
        raise InvalidSpecError(
            f"{most:,} edges or nodes are too many to draw one by one: at most {_MAX_LINES:,}; "
            "take the style pattern, without trace and rows"
        )
    return style
