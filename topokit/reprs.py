"""The repr of results, at most one screen, and tables as text, HTML and pandas frames."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from html import escape
from reprlib import Repr
from typing import Any, ClassVar

from topokit.errors import needing

SCREEN = 1500
"""Most characters of a repr: 19 lines of 80."""

MOST_ROWS = 60
"""Rows of an HTML table; `to_frame` has all."""


_SHORT = Repr()
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = 12
_SHORT.maxstring, _SHORT.maxother = 200, 400


def described(name: str, values: Mapping[str, object]) -> str:
    """name(key=value, ...) on one line: long values are shortened, and so is the whole."""
    shown = ", ".join(f"{key}={_SHORT.repr(value)}" for key, value in values.items())
    text = " ".join(f"{name}({shown})".split())
    return text if len(text) <= SCREEN else f"{text[: SCREEN - 4]}...)"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Return the first names as text, and the number of the others."""
    names = [*names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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


def decimal(number: int) -> str:
    """Return the decimal digits of an integer of any size: `str` refuses more than 4,300 of them."""
    return str(Decimal(number))


def in_words(number: int | str) -> str:
    """Return an integer, or its decimal digits, for people: up to eighteen digits, else 2^n or the leading digits."""
    number = int(Decimal(number))
    if number < 10**18:
        return f"{number:,}"
    if number & (number - 1) == 0:
        return f"2^{number.bit_length() - 1}"
    digits = decimal(number)
    return f"about {digits[0]}.{digits[1:4]}e{len(digits) - 1}"


def cell(value: object) -> str:
    """Return a value as the cell of a table: all digits of an integer, four of another number, "-" for None."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return in_words(value)
    return "-" if value is None else str(value) if isinstance(value, str) else _SHORT.repr(value)


def html_table(rows: Sequence[Sequence[str]], title: str = "", most: int = MOST_ROWS, noun: str = "row") -> str:
    """Return rows, headings first, as an HTML table below a title.

    Args:
        rows: cells of every column, headings included.
        title: a line above the table.
        most: number of rows that are shown; a line below the table counts the others.
        noun: what a row is, for that line.
    """
    head, *body = rows
    lines = ["".join(f"<td>{escape(one)}</td>" for one in row) for row in body[:most]]
    more = f"<p>and {counted(len(body) - most, f'more {noun}')}</p>" if len(body) > most else ""
    heads = "".join(f"<th>{escape(one)}</th>" for one in head)
    table = "".join(f"<tr>{line}</tr>" for line in (heads, *lines))
    return f"{title and f'<p>{escape(title)}</p>'}<table>{table}</table>{more}"


class Tabular:
    """A result that is a table: a subclass has `records`, and `rows` or a `title` if it wants others.

    `columns` are those of a frame without rows, if a result may have none.
    """

    columns: ClassVar[Sequence[str]] = ()

    @property
    def title(self) -> str:
        """A line above the table."""
        return ""

    def records(self) -> list[dict[str, Any]]:
        """The table's rows as plain values by column, for `to_frame`."""
        raise NotImplementedError

    def rows(self) -> Sequence[Sequence[str]]:
        """The table's headings and rows as text."""
        records = self.records()
        return [list(records[0]) if records else ["-"], *(list(map(cell, record.values())) for record in records)]

    def __str__(self) -> str:
        return "\n".join([*filter(None, [self.title]), *aligned(self.rows())])

    def to_frame(self) -> Any:
        """Return the table as a pandas.DataFrame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        with needing("to_frame"):
            import pandas as pd
        records = self.records()
        return pd.DataFrame(records) if records else pd.DataFrame(columns=self.columns)

    def _repr_html_(self) -> str:
        return html_table(self.rows(), self.title)
