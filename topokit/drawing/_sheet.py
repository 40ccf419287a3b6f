"""The sheet of a picture: blocks one below another, each a heading and a grid of axes. All sizes are inches.

Everything is placed by its size, so equal things are equal in all pictures, and nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from topokit.drawing._style import TEXT, TITLE, house_style

AROUND = (0.75, 0.0, 0.3, 0.5)  # left of, right of, above and below a panel, for its words
_LINE = 0.17  # of a line of text
_MARGIN = 0.15
_NARROWEST = 5.0  # a caption fits on one line


class Picture(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        png = BytesIO()
        with house_style():
            self.savefig(png, format="png")
        return png.getvalue()


@dataclass(frozen=True)
class Block:
    """One network's part of a picture: a heading, and panels in a grid below it.

    Args:
        heading: its lines, the first of which is the title.
        sizes: (wide, high) of each panel, row by row.
        columns: of the grid.
        around: widths left and right of a panel, heights above and below it.
        beside: width right of the grid.
    """

    heading: Sequence[str]
    sizes: Sequence[tuple[float, float]]
    columns: int = 1
    around: tuple[float, float, float, float] = AROUND
    beside: float = 0.2

    @property
    def widths(self) -> list[float]:
        """The width of each column, with those left and right of a panel."""
        columns = range(min(self.columns, len(self.sizes)))
        return [sum(self.around[:2]) + max(wide for wide, _ in self.sizes[k :: self.columns]) for k in columns]

    @property
    def heights(self) -> list[float]:
        """The height of each row, with those above and below a panel."""
        rows = range(0, len(self.sizes), self.columns)
        return [sum(self.around[2:]) + max(high for _, high in self.sizes[k : k + self.columns]) for k in rows]


def new_picture(blocks: Sequence[Block]) -> tuple[Picture, list[list[Axes]]]:
    """Return a white sheet with every block's heading written, and each block's panels."""
    wide = max(_NARROWEST, *(sum(block.widths) + block.beside for block in blocks)) + 2 * _MARGIN
    headings = [_wrapped(block.heading, wide - 2 * _MARGIN) for block in blocks]
    lines = sum(len(heading) + 1 for heading in headings)
    high = _MARGIN + _LINE * lines + sum(sum(block.heights) for block in blocks)
    picture = Picture(figsize=(wide, high))
    top, panels = _MARGIN, []
    for block, heading in zip(blocks, headings, strict=True):
        for k, (line, look) in enumerate(heading):
            picture.text(_MARGIN / wide, 1 - (top + k * _LINE) / high, line, va="top", **look)
        panels.append(_add_panels(picture, block, top + _LINE * (len(heading) + 0.5)))
        top += _LINE * (len(heading) + 1) + sum(block.heights)
    return picture, panels


def _add_panels(picture: Picture, block: Block, top: float) -> list[Axes]:
    """Make the panels of a block whose grid is `top` below the upper edge of the picture."""
    sheet_wide, sheet_high = picture.get_size_inches()
    panels = []
    for k, (wide, high) in enumerate(block.sizes):
        row, column = divmod(k, block.columns)
        left = _MARGIN + sum(block.widths[:column]) + block.around[0]
        bottom = sheet_high - (top + sum(block.heights[:row]) + block.around[2] + high)
        panels.append(picture.add_axes((left / sheet_wide, bottom / sheet_high, wide / sheet_wide, high / sheet_high)))
    return panels


def add_bar(picture: Picture, panels: Sequence[Axes], high: float, image: Any, ticks: Any, label: str) -> Any:
    """Draw the colour scale of an image, right of all panels and this high; return matplotlib's colour bar."""
    sheet_wide, sheet_high = picture.get_size_inches()
    right, top = max(panel.get_position().x1 for panel in panels), panels[0].get_position().y1
    place = picture.add_axes((right + 0.3 / sheet_wide, top - high / sheet_high, 0.12 / sheet_wide, high / sheet_high))
    bar = picture.colorbar(image, cax=place, ticks=ticks, label=label)
    bar.outline.set_visible(False)
    return bar


def _wrapped(lines: Sequence[str], most: float) -> list[tuple[str, dict[str, Any]]]:
    """Return lines of text that are at most this wide, each with its look."""
    found = []
    for k, line in enumerate(lines):
        look: dict[str, Any] = {"size": TEXT if k else TITLE, "weight": "normal" if k else "bold"}
        points, _, _ = TextToPath().get_text_width_height_descent(line, FontProperties(**look), ismath=False)
        letters = 0.9 * len(line) * 72 * most / points  # some parts are wider than the mean
        found += [(part, look) for part in ([line] if points <= 72 * most else wrap(line, int(letters)))]
    return found
