"""Colours, text sizes and settings of all pictures. matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topokit.errors import needing

INK = "#2b3a4a"  # lines, nodes, text
PALE = "#b9c2cc"  # background: frames, edges off the traced paths
STRONG = "#d55e00"  # the traced paths, and what chance would give
BARS = "#9ecae1"  # areas, as light as a line over them needs
# Of Okabe and Ito, which colour-blind readers can distinguish.
SHIFTS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)

TITLE = 9.5  # points
TEXT = 8.0
SMALL = 7.0

_SETTINGS: Any = {
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.labelsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.titlecolor": INK,
    "axes.titlesize": TEXT,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a network's description is a "$"
    "xtick.color": PALE,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "xtick.major.size": 2.0,
    "ytick.color": PALE,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
    "ytick.major.size": 2.0,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text: searchable, and small
    "svg.hashsalt": "topokit",  # else the ids in an SVG are random
}


@contextmanager
def house_style() -> Iterator[None]:
    """Use topokit's settings of matplotlib inside the block; the user's settings are back after it.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    with needing("a figure"):
        import matplotlib
    with matplotlib.rc_context(_SETTINGS):
        yield
