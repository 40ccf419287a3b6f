"""Colours and markers: an arm has the same ones in all charts, and colour-blind readers tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

from topokit.drawing._style import INK, PALE

COLOURS = {  # of Okabe and Ito; the light ones darker on white, the dark ones lighter on black
    "ink": (INK, "#e3e8ee"),
    "pale": (PALE, "#56616d"),
    "page": ("#ffffff", "#12161b"),
    "blue": ("#0072b2", "#5ab4f0"),
    "sky": ("#3a9bd1", "#8fd0ff"),
    "orange": ("#d55e00", "#ff9248"),
    "green": ("#008a65", "#35d3a4"),
    "purple": ("#b0568f", "#e79cc9"),
    "ochre": ("#b27a00", "#ecb73c"),
}
"""Name -> (on white, on black)."""


@dataclass(frozen=True)
class Style:
    """How a series looks, and what it is called in the key."""

    name: str
    colour: str
    marker: str = ""

    @property
    def hex(self) -> str:
        """Its colour on white."""
        return COLOURS[self.colour][0]


STYLES = {
    "radix": Style("RadiX-Net", "blue", "o"),
    "radix-split": Style("split RadiX-Net", "sky", "p"),
    "random": Style("random", "orange", "s"),
    "regular": Style("regular", "green", "^"),
    "dense": Style("dense", "ink", "D"),
    "iterative": Style("iterative", "purple", "o"),
    "one-time": Style("one-time", "ochre", "s"),
    "paper": Style("paper recipe", "orange", "s"),
    "modern": Style("modern recipe", "blue", "o"),
    "dead": Style("classes died", "orange"),
    "alive": Style("all classes alive", "blue"),
}


def style_of(name: str) -> Style:
    """The style of an arm or a recipe; one that is not known is drawn in ink."""
    return STYLES.get(name, Style(name, "ink", "v"))


def variables(*, dark: bool) -> str:
    """The declarations of all colours, as variables of a style sheet."""
    return " ".join(f"--{name}: {both[dark]};" for name, both in COLOURS.items())


def with_variables(svg: str) -> str:
    """An SVG whose colours are those that the page around it declares."""
    for name, (white, _) in COLOURS.items():
        svg = svg.replace(white, f"var(--{name})")
    return svg
