"""Pictures of networks. matplotlib is imported when something is drawn.

>>> from topokit.families.radix_net import RadixNet
>>> figure = draw(RadixNet(radices=[(2, 2, 2)]), trace=3)
>>> [text.get_text() for text in figure.texts][-1]
'In colour: input 3 reaches all 8 outputs, its paths use 14 edges.'
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokit.drawing._style import house_style
from topokit.errors import InvalidSpecError
from topokit.fields import integer, one_of
from topokit.formats import replacing
from topokit.layered import Layered, Source, network
from topokit.reprs import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topokit.drawing._sheet import Picture

__all__ = ["STYLES", "draw", "draw_kron_steps", "draw_steps", "save_figure"]

STYLES = {
    "auto": "by size",
    "edges": "nodes and edges",
    "pattern": "each layer's matrix",
    "pixels": "the inputs as an image",
    "degrees": "degrees by rank, beside a random network's",
}
"""Styles of `draw`: name -> what it shows. Style a-b is the function `draw_a_b` of networks in `drawing/_a_b.py`."""

_AUTO_LINES = 1_000
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
            edges up to 1,000 edges and with `trace` or `rows`, else pattern.
        beside: one network or several, drawn below, each with its heading.
        trace: an input whose paths are drawn in colour, and counted in the heading.
        rows: node layers as rows instead of columns.
        image: for the style pixels: (rows, columns) or (rows, columns, channels) of the image that the inputs are,
            channel after channel and row after row, as torch flattens images [a square].

    Raises:
        InvalidSpecError: an unknown style, an input that does not exist, trace or rows with another style than
            edges, an image with another number of pixels than there are inputs, or more than 100,000 lines or circles.
        MissingDependencyError: matplotlib is not installed.

    Cost: O(edges). A pattern of a million edges takes under a second, 100,000 lines about ten.
    """
    others = [beside] if isinstance(beside, Layered | str | PathLike) else beside
    nets = [network(one, "what is drawn") for one in (net, *others)]
    if trace is not None:
        last = min(net.widths[0] for net in nets) - 1
        if integer(trace, "`trace`", 0) > last:
            raise InvalidSpecError(f"`trace` {trace} is not an input of every network drawn: inputs are 0 to {last}")
    style = _resolve(style, nets, lines_only=rows or trace is not None)
    if image is not None and style != "pixels":
        raise InvalidSpecError(f"`image` is for the style pixels, not for {style}: leave it out, or take that style")
    options: dict[str, dict[str, Any]] = {"edges": {"trace": trace, "rows": rows}, "pixels": {"image": image}}
    with house_style():
        word = style.replace("-", "_")
        draw_style = getattr(import_module(f"topokit.drawing._{word}"), f"draw_{word}")
        picture: Picture = draw_style(nets, **options.get(style, {}))
        picture.arrange()
    return picture


def draw_steps(net: Source) -> Figure:
    """Draw the construction of a RadiX-Net's first mixed radix system: a column a layer, its shifts added one by one.

    The network of all layers joined is below; every shift has its own colour. The Kronecker widths,
    further systems and later transforms are named in the heading and not drawn.

    Args:
        net: a RadixNet, or any network whose recipe starts from one. The recipe is drawn, not the edges.

    Raises:
        InvalidSpecError: not a RadiX-Net, or one of more than 32 nodes a layer before the Kronecker widths.
        MissingDependencyError: matplotlib is not installed.

    Source: Robinett & Kepner 2019, arXiv:1905.00416, definition of mixed radix topologies.
    """
    with house_style():
        from topokit.drawing import _steps

        picture = _steps.draw_steps(network(net))
        picture.arrange()
    return picture


def draw_kron_steps(net: Source) -> Figure:
    """Draw the Kronecker product of each layer of a RadiX-Net, ones (x) W = W*, with the densities of all three.

    If the network has diagonals, the factor F that they make takes the place of the ones.
    At most six layers are drawn; the heading says how many there are.

    Args:
        net: a RadixNet, or any network whose recipe starts from one. The recipe is drawn, not the edges.

    Raises:
        InvalidSpecError: not a RadiX-Net.
        MissingDependencyError: matplotlib is not installed.

    Cost: O(edges of the layers drawn), one of them in memory.
    Source: Robinett & Kepner 2019, arXiv:1905.00416, definition of RadiX-Nets.
    """
    with house_style():
        from topokit.drawing import _kron

        picture = _kron.draw_kron_steps(network(net))
        picture.arrange()
    return picture


def _resolve(style: str, nets: Sequence[Layered], *, lines_only: bool) -> str:
    """Return the style to draw in: one of STYLES but "auto"."""
    if style not in STYLES:
        raise InvalidSpecError(f"`style` must be one of {one_of(style, tuple(STYLES))}")
    most = max(max(net.edges, *net.widths) for net in nets)
    if style == "auto":
        style = "edges" if lines_only or most <= _AUTO_LINES else "pattern"
    if style != "edges" and lines_only:
        raise InvalidSpecError("`trace` and `rows` need lines between nodes: leave them out, or take the style edges")
    if style == "edges" and most > _MAX_LINES:
        raise InvalidSpecError(
            f"{counted(most, 'edge')} or nodes are too many to draw one by one: at most {_MAX_LINES:,}; "
            "take the style pattern, without `trace` and `rows`"
        )
    return style


_METADATA: dict[str, dict[str, Any]] = {  # a date would make every file another one
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def save_figure(figure: Figure, path: str | Path, *, force: bool = False) -> None:
    """Write a figure to a .png (200 dots an inch), .svg or .pdf file. Equal figures give equal files.

    The text of an SVG stays text.

    Args:
        figure: what `draw`, `draw_steps` or `draw_kron_steps` returned.
        path: its suffix is the format.
        force: replace an existing file.

    Raises:
        InvalidSpecError: another suffix.
        OutputExistsError: the file exists and `force` is not set.
        TopokitError: the file cannot be written; an existing file is untouched.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _METADATA:
        raise InvalidSpecError(f"cannot draw to {path}: a picture's name must end in {', '.join(_METADATA)}")
    with house_style(), replacing(path, force=force) as temporary:
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])
