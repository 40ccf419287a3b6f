"""Panels as SVG, by matplotlib. Equal panels give equal bytes."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from topokit.drawing._style import INK, PALE, SMALL, house_style
from topokit_train.studies import words
from topokit_train.studies.charts import Line, Panel, style_of
from topokit_train.studies.claims import CLASSES

COLOURS: dict[str, list[str]] = {"ink": [INK, "#e3e8ee"], "pale": [PALE, "#56616d"], **words.TEXTS["colours"]}
"""Name -> [on white, on black]."""
SIZE, AXES_AT = (3.7, 2.75), (0.135, 0.164, 0.6, 0.793)  # inches: full size on a telephone; names stand at the right
_LEAST_ERROR = 1e-4
_DODGE = 2.4  # points between the marks of neighbours


_LOG = ("density", "times", "sparsity", "accuracy")
_COMPLEMENT = ("sparsity", "accuracy")
"""Axes of densities and errors, reversed, with ticks at sparsities and accuracies."""


def svg(panel: Panel, salt: str) -> str:
    """Return a panel as SVG, its text as text.

    Args:
        panel: what is drawn.
        salt: of the ids, which must differ from those of other panels on one page.
    """
    with house_style(), matplotlib.rc_context({"svg.hashsalt": f"topokit-{salt}"}):
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes(AXES_AT)
        axes.spines[["top", "right"]].set_visible(False)
        heights = [_heights(panel, line) for line in panel.lines]
        _scale(axes.xaxis, panel.x, np.concatenate([line.points.x for line in panel.lines]))
        _scale(axes.yaxis, panel.y, np.concatenate([ends for of_line in heights for ends in of_line]))
        if panel.y == "plateaus":
            axes.set_ylim(0, 1)
            for k in range(1, CLASSES):
                axes.axhline(k / CLASSES, color=PALE, linewidth=0.5, alpha=0.7, zorder=0)
        _draw(axes, panel, heights)
        file = StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r' id="[a-z0-9]+(?:\.[a-z]+)?_\d+"', "", text)  # matplotlib's names of groups, on every panel alike
    return text[text.index("<svg") :]


def _heights(panel: Panel, line: Line) -> tuple[Any, Any, Any]:
    """Return the heights of a line and of both ends of its intervals; errors instead of accuracies."""
    y, half = line.points.y.to_numpy(), line.points.half.fillna(0).to_numpy()
    if panel.y != "accuracy":
        return y, y - half, y + half
    error = np.maximum(1 - y, _LEAST_ERROR)
    return error, np.maximum(error - half, 0.4 * error), error + half  # a wide interval would make all others small


def _scale(axis: Any, name: str, values: Any) -> None:
    low, high = values.min(), values.max()
    locator: Locator = MaxNLocator(5, steps=[1, 2, 5, 10], integer=name == "epoch")
    if name in _LOG:
        getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
        room = (high / low) ** 0.06 if high > low else 1.25
        limits = low / room, high * room
        if name == "sparsity":
            locator = FixedLocator([1, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001])
        elif high / low > 8:
            locator = LogLocator(subs=(1, 2, 3, 5, 7) if name == "accuracy" and high / low < 200 else (1, 2, 5))
    else:
        room = 0.06 * (high - low) or 0.1
        limits = low - room, high + room
    limits = limits[::-1] if name in _COMPLEMENT else limits
    axis.axes.set(**{f"{axis.axis_name}label": words.TEXTS["axes"][name], f"{axis.axis_name}lim": limits})
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: _tick(name, x)))


def _tick(name: str, x: float) -> str:
    x = 1 - x if name in _COMPLEMENT else x
    return f"{100 * x:.4g}" if "%" in words.TEXTS["axes"][name] else f"{x:.4g}"


def _draw(axes: Axes, panel: Panel, heights: list[tuple[Any, Any, Any]]) -> None:
    beside = [line.style for line in panel.lines if line.look == "points"]
    named = []
    for order, (line, (y, low, high)) in enumerate(zip(panel.lines, heights, strict=True)):
        _, colour, marker = style_of(line.style)
        about: dict[str, Any] = {"color": COLOURS[colour][0]}
        x = line.points.x.to_numpy()
        if line.look == "paper":
            axes.plot(x, y, "D", markersize=4.6, markerfacecolor="#ffffff", zorder=2.5, **about)
        elif line.look == "points":
            shift = _DODGE * (beside.index(line.style) - (len(beside) - 1) / 2)
            moved = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
            about |= {"transform": moved, "zorder": 3 + 0.1 * order}
            axes.plot(x, y, marker=marker, markersize=3.4, linewidth=1.1, label=line.name, **about)
            axes.vlines(x, low, high, linewidth=1.4, **about)
        else:
            thin, marker = line.look == "thin", "o" if len(x) == 1 else ""
            axes.plot(x, y, linewidth=0.7 if thin else 1.4, marker=marker, markersize=3, label=line.name, **about)
            axes.fill_between(x, low, high, alpha=0.2, linewidth=0, zorder=1, **about)
        if line.name:
            named.append((y[-1], axes.lines[-1]))
    if any(line.look == "paper" for line in panel.lines):
        axes.text(1, 1, "◇ paper, single runs", transform=axes.transAxes, fontsize=6.5, ha="right", va="bottom")
    named.sort(key=lambda end: end[0], reverse=panel.y not in _COMPLEMENT)
    axes.legend(
        handles=[line for _, line in named],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        labelcolor="linecolor",
        handlelength=1,
        handletextpad=0.5,
        borderaxespad=0.2,
        frameon=False,
        fontsize=SMALL,
    )
