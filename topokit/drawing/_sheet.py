"""The parts of a picture, one below another: a heading, and panels of a given size in a grid.

The sheet is as large as the panels and the words around them need. So no panel can lose its room to its words, and the
time is proportional to the number of panels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator

from topokit.descriptions import describe
from topokit.drawing._style import TEXT, TITLE, house_style
from topokit.errors import InvalidSpecError
from topokit.families.regular import Regular
from topokit.layered import Layered

_LINE = 0.17  # inches, a line of text
_MARGIN = 0.15  # inches
_GAP = 0.12  # inches between panels with their words
_NARROWEST = 5.3  # inches; a caption fits on one line
_LOWEST_BAR = 1.4  # inches; the numbers of a scale have room
_LONGEST = 150  # characters of a title: a recipe may come from a file and be of any length


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


class Picture(Figure):
    """A figure that notebooks show without pyplot.

    Attributes:
        parts: each block with its panels.
        bars: first panel of a row -> the colour scale right of the row.
    """

    def __init__(self, blocks: Sequence[Block]):
        super().__init__(figsize=(_NARROWEST, _NARROWEST))
        self.parts = [(block, [self._add(size) for size in block.sizes]) for block in blocks]
        self.bars: dict[Axes, Axes] = {}

    def _add(self, size: tuple[float, float]) -> Axes:
        """Add a panel of its size in inches; `arrange` moves it to its place."""
        return self.add_axes((0, 0, size[0] / _NARROWEST, size[1] / _NARROWEST))

    def add_bar(self, panel: Axes) -> Axes:
        """Add axes for a colour scale right of the row that a panel begins."""
        high = max(0.8 * panel.get_position().height * _NARROWEST, _LOWEST_BAR)
        self.bars[panel] = self._add((high / 16, high))
        return self.bars[panel]

    def arrange(self) -> None:
        """Give the sheet its size, the panels their places, and write the headings. Everything else must be drawn."""
        renderer = RendererAgg(1, 1, self.dpi)  # type: ignore[no-untyped-call]  # which measures texts
        grids = [_Grid.of(block, panels, self.bars, renderer) for block, panels in self.parts]
        wide = max(_NARROWEST, *(grid.wide + _GAP for grid in grids))
        top, lines = _MARGIN, []
        boxes: list[tuple[Axes, tuple[float, float, float, float]]] = []
        for (block, _), grid in zip(self.parts, grids, strict=True):
            for line, look in _wrapped(block.heading, wide - 2 * _MARGIN):
                lines.append((top, line, look))
                top += _LINE
            boxes += grid.boxes((wide - grid.wide) / 2, top + _GAP)
            top += grid.high + 2 * _GAP
        self.set_size_inches(wide, top)
        for axes, (left, above, across, down) in boxes:
            axes.set_position((left / wide, 1 - (above + down) / top, across / wide, down / top))
        for above, line, look in lines:
            self.text(_MARGIN / wide, 1 - above / top, line, va="top", **look)

    def _repr_png_(self) -> bytes:
        png = BytesIO()
        with house_style():
            self.savefig(png, format="png")
        return png.getvalue()


@dataclass
class _Cell:
    """Axes in a grid, and the inches that they and their words need around their middle, and below their upper edge."""

    axes: Axes
    row: int
    column: int
    size: tuple[float, float]
    sides: tuple[float, float]
    above: float
    below: float
    lowered: float = 0.0

    @classmethod
    def of(cls, axes: Axes, row: int, column: int, renderer: Any, lowered: float = 0.0) -> _Cell:
        dots = axes.get_figure(root=True).dpi  # type: ignore[union-attr]
        box, whole = axes.bbox, axes.get_tightbbox(renderer) or axes.bbox
        middle = (box.x0 + box.x1) / 2
        left, right = middle - min(whole.x0, box.x0), max(whole.x1, box.x1) - middle
        above, below = max(whole.y1 - box.y1, 0), box.y1 - min(whole.y0, box.y0)
        size = box.width / dots, box.height / dots
        return cls(axes, row, column, size, (left / dots, right / dots), above / dots - lowered, below / dots, lowered)


@dataclass
class _Grid:
    """The cells of a block; each row and each column is as large as the largest of its cells."""

    cells: list[_Cell]

    @classmethod
    def of(cls, block: Block, panels: Sequence[Axes], bars: Mapping[Axes, Axes], renderer: Any) -> _Grid:
        cells = []
        for i, axes in enumerate(panels):
            row, column = divmod(i, block.columns)
            if axes.get_figure() is not None:  # not removed
                cells.append(_Cell.of(axes, row, column, renderer))
            if axes in bars:
                lowered = 0.1 * block.sizes[i][1]
                cells.append(_Cell.of(bars[axes], row, min(block.columns, len(panels)), renderer, lowered))
        return cls(cells)

    @cached_property
    def columns(self) -> list[tuple[float, float]]:
        """Inches left and right of the middle of each column."""
        count = 1 + max((cell.column for cell in self.cells), default=-1)
        several = [[cell.sides for cell in self.cells if cell.column == k] or [(0.0, 0.0)] for k in range(count)]
        return [(max(left for left, _ in sides), max(right for _, right in sides)) for sides in several]

    @cached_property
    def rows(self) -> list[tuple[float, float]]:
        """Inches above and below the upper edge of the panels of each row."""
        count = 1 + max((cell.row for cell in self.cells), default=-1)
        several = [
            [(cell.above, cell.below + cell.lowered) for cell in self.cells if cell.row == k] for k in range(count)
        ]
        return [(max(above for above, _ in sides), max(below for _, below in sides)) for sides in several]

    @property
    def wide(self) -> float:
        return sum(map(sum, self.columns)) + _GAP * max(len(self.columns) - 1, 0)

    @property
    def high(self) -> float:
        return sum(map(sum, self.rows)) + _GAP * max(len(self.rows) - 1, 0)

    def boxes(self, left: float, top: float) -> Iterator[tuple[Axes, tuple[float, float, float, float]]]:
        """Yield each axes with its (left, top, wide, high) in inches from the sheet's upper left corner."""
        for cell in self.cells:
            across = left + sum(sum(one) + _GAP for one in self.columns[: cell.column]) + self.columns[cell.column][0]
            down = top + sum(sum(one) + _GAP for one in self.rows[: cell.row]) + self.rows[cell.row][0]
            yield cell.axes, (across - cell.size[0] / 2, down + cell.lowered, *cell.size)


def new_picture(blocks: Sequence[Block]) -> tuple[Picture, list[list[Axes]]]:
    """Return a figure, and the panels of each block; `Picture.arrange` places them when they are drawn."""
    picture = Picture(blocks)
    return picture, [panels for _, panels in picture.parts]


def add_bar(panels: Sequence[Axes], image: AxesImage, label: str, form: Any = None) -> None:
    """Draw the colour scale of an image right of panels that are in one row; the scale has whole numbers or a form."""
    ticks = MaxNLocator(5, integer=form is None)
    figure = panels[0].get_figure(root=True)
    assert isinstance(figure, Picture)
    bar = figure.colorbar(image, cax=figure.add_bar(panels[0]), ticks=ticks, format=form, label=label)
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
    """Return the description of a network; if it has none, the names of its layers, or "Network".

    That of a random equivalent begins with the title of the network whose degrees it has.
    """
    try:
        text = describe(net)
    except InvalidSpecError:
        text = ", ".join(net.names) or "Network"
        if isinstance(net, Regular):
            text = f"{title(net.like)} random-equivalent={net.name} seed={net.seed}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def heading(net: Layered, most: float, *more: str) -> tuple[str, ...]:
    """Return a network's title and summary, further lines, and how many layers are shown if not all are."""
    return (title(net), net.summary(), *more, *shown_first(most, len(net)))


def shown_first(most: float, layers: int) -> tuple[str, ...]:
    """Return the line that says that only the first `most` edge layers are shown; none if all are."""
    return () if layers <= most else (f"The first {most} of {layers} edge layers are shown.",)
