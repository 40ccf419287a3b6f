"""Names and patterns of a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from topokit._registry import matching
from topokit.errors import InvalidSpecError
from topokit.placement.weights import Weight
from topokit.reprs import listed


def matches(pattern: str, weights: Mapping[str, Weight]) -> list[str]:
    """Return the names of the weights that a name or pattern matches.

    Raises:
        InvalidSpecError: it matches no weight.
    """
    if "*" not in pattern:
        return [known_name(pattern, weights)]
    fits = matching(pattern, weights)
    # if all matches are filled only by name, keep them: the error then names the reason why they cannot be filled
    found = [name for name in fits if not weights[name].only_by_name] or fits
    if not found:
        raise InvalidSpecError(f"the pattern {pattern!r} matches no weight: the model has {listed(weights) or 'none'}")
    return found


def known_name(name: str, weights: Mapping[str, Any]) -> str:
    """Return the full name of a weight, for `fc1`, `fc1.weight` or the name of a mask, `fc1.weight_mask`.

    Raises:
        InvalidSpecError: there is no such weight; the message gives similar names.
    """
    for known in (name, f"{name}.weight" if name else "weight", name.removesuffix("_mask")):
        if known in weights:
            return known
    raise InvalidSpecError(f"the model has no weight named {name!r} that a topology can fill: {hint(name, weights)}")


def hint(name: str, weights: Mapping[str, Any]) -> str:
    """Return advice for an unknown name: the most similar names, or all."""
    near = get_close_matches(str(name), [*weights, *(known.removesuffix(".weight") for known in weights)], n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {listed(weights) or 'none'}"
