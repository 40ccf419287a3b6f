"""The sheet a picture is drawn on: blocks below one another, each with its heading. All sizes are inches.

Everything is placed by its size, so that equal things are equal on all pictures and nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from topokit.drawing._style import TEXT, TITLE, house_style

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
    """One network's part of a picture.

    Args:
        lines: the heading; its first line is the title.
        width: of the area below the heading.
        height: likewise.
    """

    lines: Sequence[str]
    width: float
    height: float


@dataclass(frozen=True)
class Area:
    """Where a block is drawn: below its heading, `top` from the upper edge of the picture."""

    picture: Picture
    top: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """New axes whose upper left corner is x to the right of and y below the area's."""
        wide, high = self.picture.get_size_inches()
        corner = (_MARGIN + x) / wide, 1 - (self.top + y + height) / high
        return self.picture.add_axes((*corner, width / wide, height / high))


def new_picture(blocks: Sequence[Block]) -> tuple[Picture, list[Area]]:
    """A white sheet with every block's heading written, and the places to draw the blocks in."""
    wide = max(_NARROWEST, *(block.width for block in blocks)) + 2 * _MARGIN
    headings = [_wrapped(block.lines, wide) for block in blocks]
    tops = [_MARGIN]
    for block, heading in zip(blocks, headings, strict=True):
        tops.append(tops[-1] + _LINE * (len(heading) + 1) + block.height)
    high = tops.pop()
    picture = Picture(figsize=(wide, high))
    areas = []
    for top, heading in zip(tops, headings, strict=True):
        for k, (line, size, weight) in enumerate(heading):
            y = 1 - (top + k * _LINE) / high
            picture.text(_MARGIN / wide, y, line, va="top", fontsize=size, fontweight=weight)
        areas.append(Area(picture, top + _LINE * (len(heading) + 0.5)))
    return picture, areas


def _wrapped(lines: Sequence[str], wide: float) -> list[tuple[str, float, str]]:
    """(line, size, weight), broken where it would leave a sheet this wide."""
    looks = [(TITLE, "bold"), *[(TEXT, "normal")] * (len(lines) - 1)]
    return [
        (part, size, weight)
        for line, (size, weight) in zip(lines, looks, strict=True)
        for part in _broken(line, size, weight, wide - 2 * _MARGIN)
    ]


def _broken(line: str, size: float, weight: str, most: float) -> list[str]:
    points, _, _ = TextToPath().get_text_width_height_descent(
        line, FontProperties(size=size, weight=weight), ismath=False
    )
    if points <= 72 * most:
        return [line]
    letters = len(line) * 72 * most / points
    return wrap(line, int(0.9 * letters))  # some parts are wider than the mean
