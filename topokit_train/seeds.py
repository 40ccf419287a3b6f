"""Seeds as text, such as 0-4,7."""

from __future__ import annotations

import re

from topokit.errors import InvalidSpecError

MOST_SEEDS = 10_000  # in one range


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds in a text of numbers and ranges, separated by commas.

    Raises:
        InvalidSpecError: another text.

    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part, re.ASCII)
        if not found:
            raise InvalidSpecError(f"{text!r} is not a list of numbers or ranges such as 0-7 separated by commas")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < first + MOST_SEEDS:
            raise InvalidSpecError(f"{part.strip()} is not a range of 1 to {MOST_SEEDS} seeds")
        seeds += range(first, last + 1)
    return tuple(seeds)
