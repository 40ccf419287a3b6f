"""The words above a picture: which network it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topokit.layered import Layered, Recipe
from topokit.recipes import origin

RADIX_NET = "RadiX-Net"
_NAMES = {"radix-net": RADIX_NET, "lps": "LPS"}
_LONGEST = 200  # characters of a title; a recipe may come from a file and be of any length


def heading(net: Layered, most: int, *more: str) -> tuple[str, ...]:
    """Return the title of a network, its caption, further lines, and how many layers are shown if not all are."""
    return (title(net.recipe), caption(net), *more, *shown_first(most, len(net)))


def title(recipe: Recipe | None) -> str:
    """Return a network's name, from its recipe: its family and its radices or its seed.

    A recipe from a file may hold anything, so its parts are only printed, never computed with.
    """
    inner, transforms = origin(recipe)
    text = " of ".join([*transforms, _name(inner)])
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return text[:1].upper() + text[1:]


def _name(recipe: Any) -> str:
    if not isinstance(recipe, Mapping):
        return "Network"
    family = str(recipe.get("family", recipe.get("transform", "Network")))
    parts = [_NAMES.get(family, family)]
    options = recipe.get("options")
    for key, name in (("radices", "radices"), ("kron", "Kronecker widths"), ("seed", "seed")):
        value = options.get(key) if isinstance(options, Mapping) else None
        if value is not None and not (key == "kron" and is_ones(value)):
            parts.append(f"{name} {listed(value)}")
    return ", ".join(parts)


def is_ones(kron: Any) -> bool:
    """Return whether Kronecker widths change nothing."""
    return isinstance(kron, list | tuple) and all(width == 1 for width in kron)


def listed(values: Any) -> str:
    """Return a list as people write it: (2, 3), and (2, 3) (6) for a list of lists."""
    if not isinstance(values, list | tuple):
        return str(values)
    if any(isinstance(value, list | tuple) for value in values):
        return " ".join(map(listed, values))
    return f"({', '.join(map(str, values))})"


def caption(net: Layered) -> str:
    """Return one line: widths, edges, and density in words."""
    widths = net.widths
    shown = "-".join(map(str, widths))
    if len(widths) > 8:
        shown = f"{widths[0]}-…-{widths[-1]} in {len(widths)} node layers"
    return f"{shown}: {counted(net.edges, 'edge')}, {percent(net.edges, net.possible_edges)} of the possible ones"


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: 1 edge, 2,000 edges."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """Return a share in percent, to three digits."""
    return f"{100 * part / whole:.3g} %"


def shown_first(most: int, layers: int) -> tuple[str, ...]:
    """Return the line that says that only the first `most` edge layers are shown; none if all are."""
    return () if layers <= most else (f"The first {most} of {layers} edge layers are shown.",)
