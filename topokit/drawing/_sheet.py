"""The parts of a picture, one below another: a heading, and panels that matplotlib's constrained layout places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator

from topokit.descriptions import describe
from topokit.drawing._style import TEXT, TITLE, house_style
from topokit.errors import InvalidSpecError
from topokit.layered import Layered

_LINE = 0.17  # inches, a line of text
_MARGIN = 0.15  # inches
_WORDS = (0.7, 0.6)  # inches (wide, high) beside a panel, for its words
_NARROWEST = 5.3  # inches; a caption fits on one line
_LONGEST = 150  # characters of a title: a recipe may come from a file and be of any length


class Layout(ConstrainedLayoutEngine):
    """The constrained layout, of which equal figures get equal positions."""

    def execute(self, fig: Figure) -> None:
        """Place the panels in two passes.

        The engine measures labels around a panel before it gives the panel its aspect: after one pass a label may lie
        outside the figure, after two passes none does. The positions are rounded, because their last bits depend on
        addresses in memory, and equal networks must give equal files.
        """
        for _ in range(2):
            super().execute(fig)
            for part in fig.subfigs:
                part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 6))
            for axes in fig.axes:
                axes.set_position(np.round(axes.get_position(original=True).bounds, 6).tolist())
                axes.set_in_layout(True)  # set_position takes it out


class Picture(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        png = BytesIO()
        with house_style():
            self.savefig(png, format="png")
        return png.getvalue()


@dataclass(frozen=True)
class Block:
    """One part of a picture: a heading, and panels in a grid below it.

    Args:
        heading: its lines, the first of which is the title.
        sizes: (wide, high) of each panel in inches, row by row.
        columns: of the grid.
    """

    heading: Sequence[str]
    sizes: Sequence[tuple[float, float]]
    columns: int = 1

    @property
    def widths(self) -> list[float]:
        """The width of each column."""
        columns = range(min(self.columns, len(self.sizes)))
        return [_WORDS[0] + max(wide for wide, _ in self.sizes[k :: self.columns]) for k in columns]

    @property
    def heights(self) -> list[float]:
        """The height of each row."""
        rows = range(0, len(self.sizes), self.columns)
        return [_WORDS[1] + max(high for _, high in self.sizes[k : k + self.columns]) for k in rows]


def new_picture(blocks: Sequence[Block]) -> tuple[Picture, list[list[Axes]]]:
    """Return a figure in which every block's heading is written, and each block's panels."""
    wide = max(_NARROWEST, *(sum(block.widths) for block in blocks))
    headings = [_wrapped(block.heading, wide - 2 * _MARGIN) for block in blocks]
    heights = []
    for block, lines in zip(blocks, headings, strict=True):
        heights += [_LINE * (len(lines) + 1), sum(block.heights)]
    layout = Layout(h_pad=0.06, w_pad=0.06)
    picture = Picture(figsize=(wide, sum(heights)), layout=layout)
    parts = picture.subfigures(len(heights), 1, squeeze=False, height_ratios=heights, hspace=0)
    panels = []
    for i, (block, lines) in enumerate(zip(blocks, headings, strict=True)):
        top = sum(heights[: 2 * i]) + _MARGIN
        for k, (line, look) in enumerate(lines):
            picture.text(_MARGIN / wide, 1 - (top + k * _LINE) / sum(heights), line, va="top", **look)
        panels.append(_add_panels(parts[2 * i + 1, 0], block))
    return picture, panels


def _add_panels(part: SubFigure, block: Block) -> list[Axes]:
    widths, heights = block.widths, block.heights
    shape = len(heights), len(widths)
    grid: list[Axes] = list(part.subplots(*shape, squeeze=False, width_ratios=widths, height_ratios=heights).flat)
    for axes, (wide, high) in zip(grid, block.sizes, strict=False):
        axes.set_box_aspect(high / wide)
        axes.set_anchor("N")
    for axes in grid[len(block.sizes) :]:
        axes.remove()
    return grid[: len(block.sizes)]


def add_bar(panels: Sequence[Axes], image: AxesImage, label: str, form: Any = None) -> None:
    """Draw the colour scale of an image right of panels that are in one row; the scale has whole numbers or a form."""
    ticks = MaxNLocator(5, integer=form is None)
    figure = panels[0].get_figure(root=False)
    assert figure is not None  # the panels were made in one
    bar = figure.colorbar(image, ax=panels, ticks=ticks, format=form, label=label, aspect=16, shrink=0.8)
    bar.outline.set_visible(False)


def _wrapped(lines: Sequence[str], most: float) -> list[tuple[str, dict[str, Any]]]:
    """Return the lines of a heading, none wider than so many inches, each with its look."""
    found = []
    for k, line in enumerate(lines):
        look: dict[str, Any] = {"size": TEXT if k else TITLE, "weight": "normal" if k else "bold"}
        points, _, _ = TextToPath().get_text_width_height_descent(line, FontProperties(**look), ismath=False)
        letters = 0.9 * len(line) * 72 * most / points  # some parts are wider than the mean
        found += [(part, look) for part in ([line] if points <= 72 * most else wrap(line, int(letters)))]
    return found


def title(net: Layered) -> str:
    """Return the description of a network; if it has none, the names of its layers, or "Network"."""
    try:
        text = describe(net)
    except InvalidSpecError:
        text = ", ".join(net.names) or "Network"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def heading(net: Layered, most: float, *more: str) -> tuple[str, ...]:
    """Return a network's title and summary, further lines, and how many layers are shown if not all are."""
    return (title(net), net.summary(), *more, *shown_first(most, len(net)))


def shown_first(most: float, layers: int) -> tuple[str, ...]:
    """Return the line that says that only the first `most` edge layers are shown; none if all are."""
    return () if layers <= most else (f"The first {most} of {layers} edge layers are shown.",)
