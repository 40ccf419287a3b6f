"""What stands above a picture: which network it shows, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topokit.layered import Layered, Recipe

_FAMILIES = {
    "radix-net": "RadiX-Net",
    "regular": "Random, the same degree at every node",
    "fixed-fan-in": "Random, fixed fan-in",
    "bernoulli": "Random, each edge by chance",
    "graph-challenge": "Graph Challenge network",
    "n-of-m": "Random, n of every m",
    "block": "Random, blocks",
    "lps": "LPS Ramanujan graph",
    "margulis": "Margulis expander",
    "small-world": "Small world",
}
_LONGEST = 200  # characters of a title; a recipe may come from a file and be of any length


def title(recipe: Recipe | None) -> str:
    """A network's name, from its recipe: its family and its radices or its seed.

    A recipe from a file may hold anything, so its parts are only printed, never computed with.
    """
    inner, transforms = origin(recipe)
    text = " of ".join([*transforms, _name(inner)])
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return text[:1].upper() + text[1:]


def origin(recipe: Any) -> tuple[Any, list[str]]:
    """The recipe of the network that the transforms of one network started from, and their names, last one first."""
    transforms = []
    while isinstance(recipe, Mapping) and "transform" in recipe and isinstance(_options(recipe).get("of"), Mapping):
        transforms.append(str(recipe["transform"]))
        recipe = _options(recipe)["of"]
    return recipe, transforms


def _options(recipe: Recipe) -> Mapping[str, Any]:
    options = recipe.get("options")
    return options if isinstance(options, Mapping) else {}


def _name(recipe: Any) -> str:
    if not isinstance(recipe, Mapping):
        return "Network"
    family = str(recipe.get("family", recipe.get("transform", "Network")))
    parts = [_FAMILIES.get(family, family)]
    for key, name in (("radices", "radices"), ("kron", "Kronecker widths"), ("seed", "seed")):
        value = _options(recipe).get(key)
        if value is not None and not (key == "kron" and is_ones(value)):
            parts.append(f"{name} {listed(value)}")
    return ", ".join(parts)


def is_ones(kron: Any) -> bool:
    """Whether Kronecker widths change nothing."""
    return isinstance(kron, list | tuple) and all(width == 1 for width in kron)


def listed(values: Any) -> str:
    """A list as people write it: (2, 3), and (2, 3) (6) for a list of lists."""
    if not isinstance(values, list | tuple):
        return str(values)
    if any(isinstance(value, list | tuple) for value in values):
        return " ".join(map(listed, values))
    return f"({', '.join(map(str, values))})"


def caption(net: Layered) -> str:
    """One line: widths, edges, and density in words."""
    widths = net.widths
    shown = "-".join(map(str, widths))
    if len(widths) > 8:
        shown = f"{widths[0]}-…-{widths[-1]} in {len(widths)} node layers"
    return f"{shown}: {counted(net.edges, 'edge')}, {percent(net.edges, net.possible_edges)} of the possible ones"


def counted(number: int, noun: str) -> str:
    """A number and its noun: 1 edge, 2,000 edges."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """A share in percent, to three digits."""
    return f"{100 * part / whole:.3g} %"


def shown_first(most: int, layers: int) -> tuple[str, ...]:
    """The line that says that only the first `most` edge layers are shown; none where all are."""
    return () if layers <= most else (f"The first {most} of {layers} edge layers are shown.",)
