"""The repr of results, at most one screen, and tables as text."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import fields
from reprlib import Repr
from typing import Any

SCREEN = 1500
"""Most characters of a repr: 19 lines of 80."""


class _Short(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 12
        self.maxstring, self.maxother = 200, 400


def described(name: str, values: Mapping[str, object]) -> str:
    """name(key=value, ...) on one line: long values are shortened, and so is the whole."""
    shown = ", ".join(f"{key}={_Short().repr(value)}" for key, value in values.items())
    text = " ".join(f"{name}({shown})".split())
    return text if len(text) <= SCREEN else f"{text[: SCREEN - 4]}...)"


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural unless there is one.

    >>> counted(1, "epoch"), counted(2000, "edge")
    ('1 epoch', '2,000 edges')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Return a line for each row, with columns of equal width.

    Args:
        rows: cells of every column, headings included.
        right: numbers of the columns whose cells end at the right.
    """
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(size) if i in right else cell.ljust(size) for i, (cell, size) in enumerate(cells)).rstrip()
        for cells in (zip(row, sizes, strict=True) for row in rows)
    ]


def short_repr(result: Any) -> str:
    """The `__repr__` of a dataclass whose values may be large."""
    return described(type(result).__name__, {field.name: getattr(result, field.name) for field in fields(result)})
