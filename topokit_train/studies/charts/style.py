"""Colours and markers: an arm has the same ones in all charts. Told apart by colour-blind readers, on white and black."""

from __future__ import annotations

from dataclasses import dataclass

from topokit.drawing._style import INK, PALE


@dataclass(frozen=True)
class Style:
    """How a series looks: its colour on white and on black, and its marker."""

    name: str
    light: str
    dark: str
    marker: str


STYLES = {  # of Okabe and Ito, the lighter ones a little darker on white
    "radix": Style("RadiX-Net", "#0072b2", "#5ab4f0", "o"),
    "radix-split": Style("RadiX-Net, split", "#3a9bd1", "#8fd0ff", "p"),
    "random": Style("random", "#d55e00", "#ff9248", "s"),
    "regular": Style("regular", "#009e73", "#35d3a4", "^"),
    "dense": Style("dense", "#2b3a4b", "#d5dbe2", "D"),
    "iterative": Style("iterative", "#b0568f", "#e79cc9", "o"),
    "one-time": Style("one-time", "#b27a00", "#ecb73c", "s"),
    "paper": Style("paper's recipe", "#d55f00", "#ff9249", "s"),
    "modern": Style("modern recipe", "#0073b2", "#5ab5f0", "o"),
    "dead": Style("classes died", "#d45e00", "#ff9247", ""),
    "alive": Style("all classes alive", "#0071b2", "#5ab3f0", ""),
}
PAGE = {INK: ("ink", "#e3e8ee"), PALE: ("pale", "#56616d"), "#ffffff": ("page", "#12161b")}
"""Colours of no arm -> (variable of the page, the colour on black)."""


def variables(*, dark: bool) -> str:
    """The declarations of all colours, as variables of a style sheet."""
    page = [(name, black if dark else white) for white, (name, black) in PAGE.items()]
    arms = [(key, style.dark if dark else style.light) for key, style in STYLES.items()]
    return " ".join(f"--{name}: {colour};" for name, colour in [*page, *arms])


def with_variables(svg: str) -> str:
    """An SVG whose colours are those that the page around it declares."""
    for key, style in STYLES.items():
        svg = svg.replace(style.light, f"var(--{key})")
    for colour, (name, _) in PAGE.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
