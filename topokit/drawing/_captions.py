"""The words above and in pictures."""

from __future__ import annotations

from topokit.descriptions import describe
from topokit.errors import InvalidSpecError
from topokit.layered import Layered

_LONGEST = 150  # characters of a title: a recipe may come from a file and be of any length


def title(net: Layered) -> str:
    """Return the description of a network, or "Network" if it has none."""
    try:
        text = describe(net)
    except InvalidSpecError:
        return "Network"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def heading(net: Layered, most: float, *more: str) -> tuple[str, ...]:
    """Return a network's title and summary, further lines, and how many layers are shown if not all are."""
    return (title(net), net.summary(), *more, *shown_first(most, len(net)))


def shown_first(most: float, layers: int) -> tuple[str, ...]:
    """Return the line that says that only the first `most` edge layers are shown; none if all are."""
    return () if layers <= most else (f"The first {most} of {layers} edge layers are shown.",)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: 1 edge, 2,000 edges."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """Return a share in percent, to three digits."""
    return f"{100 * part / whole:.3g} %"
