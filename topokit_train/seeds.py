"""Seeds as text, such as 0-4,7."""

from __future__ import annotations

import re

from topokit.errors import InvalidSpecError
from topokit.fields import integers

MAX_SEED = 2**63 - 1
"""Largest seed of a run, which every random generator and every file of a run takes."""

MOST_SEEDS = 10_000  # in one range


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds in a text of numbers and ranges, separated by commas.

    Raises:
        InvalidSpecError: another text, or a seed above MAX_SEED.

    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,4000})(?:-(\d{1,4000}))?\s*", part, re.ASCII)
        if not found:
            raise InvalidSpecError(f"{text!r} is not a list of numbers or ranges such as 0-7 separated by commas")
        first, last = integers((int(found[1]), int(found[2] or found[1])), "`seeds`", 0, MAX_SEED)
        if not first <= last < first + MOST_SEEDS:
            raise InvalidSpecError(f"{part.strip()} is not a range of 1 to {MOST_SEEDS} seeds")
        seeds += range(first, last + 1)
    return tuple(seeds)
