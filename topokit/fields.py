"""Declared fields: help, kind, bounds and choices of a value, and the check of a given value against them."""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

import numpy as np

from topokit._registry import near
from topokit.errors import InvalidSpecError
from topokit.reprs import counted

MAX_DIGITS = 4300
"""Decimal digits of an integer: Python reads and prints no more, as that takes quadratic time."""


class Bounds(NamedTuple):
    """The numbers from `low` to `high`, without `low` if `above` is set and without `high` if `below` is set."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def allow(self, value: float) -> bool:
        """Return whether a number is within the bounds."""
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        """Return the bounds in words: "above 0", "from 0 to below 1"."""
        low = f"{'above' if self.above else 'from'} {self.low:g}"
        if self.high == math.inf:
            return low if self.above else f"{low} on"
        return f"{low} {'to below' if self.below else 'to' if not self.above else 'and at most'} {self.high:g}"


def option(
    help: str,  # noqa: A002 (the flag's help text)
    *,
    kind: str,
    default: Any = dataclasses.MISSING,
    choices: Iterable[str] = (),
    bounds: Bounds | None = None,
    alias: str | None = None,
) -> Any:
    """Declare a field of a spec or of a config, once for Python, descriptions, grids and the command line.

    Args:
        help: a noun phrase for `--help`.
        kind: "int", "ints" (2,3), "systems" (2,3, repeated), "number" (.1), "numbers" (.1,.5), "choice", "flag",
            "text", "path", "names" (a,b, repeated), "permutations", "net" (another topology) or "nets" (several).
        default: as for `dataclasses.field`.
        choices: the values of a "choice".
        bounds: of an "int", of each of "ints", or of a "number".
        alias: the name in the constructor, descriptions, flags and recipes. A field needs one if `Layered` has an
            attribute of that name: `_density: ... = option(..., alias="density")`.
    """
    metadata = {"help": help, "kind": kind, "choices": tuple(choices), "bounds": bounds or Bounds(), "alias": alias}
    return dataclasses.field(default=default, metadata=metadata)


_TYPES: dict[str, tuple[type, str]] = {
    "text": (str, "a text"),
    "choice": (str, "a text"),
    "flag": (bool, "true or false"),
}


def checked(name: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the value of a declared field as its kind has it.

    Raises:
        InvalidSpecError: names the field, what is allowed and what was given.
    """
    kind, bounds = metadata["kind"], metadata["bounds"]
    if kind in _TYPES and not isinstance(value, _TYPES[kind][0]):
        raise InvalidSpecError(f"`{name}` must be {_TYPES[kind][1]}, not {value!r}")
    if kind == "choice" and value not in metadata["choices"]:
        raise InvalidSpecError(f"`{name}` must be one of {one_of(value, metadata['choices'])}")
    if kind == "int":
        return integer(value, f"`{name}`", bounds.low, bounds.high)
    if kind == "ints":
        return integers(value, f"`{name}`", bounds.low, bounds.high)
    if kind == "number":
        return _bounded(name, value, bounds)
    return os.fspath(value) if kind == "path" else value


def one_of(value: object, choices: Sequence[str]) -> str:
    """Return the end of a message that begins with "must be one of": the choices, the value and the nearest choice."""
    hint = near(str(value), choices)
    return f"{', '.join(choices)}, not {shortened(value)}{hint and f': {hint}'}"


def _bounded(name: str, value: Any, bounds: Bounds) -> float:
    with suppress(InvalidSpecError, OverflowError):  # an integer above all floats is refused as infinity is
        number = float(_number(value, name))
        if bounds.allow(number):
            return number
    given = f"{value:g}" if isinstance(value, float) else shortened(value)
    raise InvalidSpecError(f"`{name}` must be a number {bounds}, not {given}")


def path_of(given: object, what: str = "the file") -> Path:
    """Return a path, or InvalidSpecError."""
    if not isinstance(given, str | os.PathLike):
        raise InvalidSpecError(f"{what} must be a path, a str or a pathlib.Path, not {shortened(given)}")
    if not os.fspath(given):
        raise InvalidSpecError(f"{what} has an empty name: give a path")
    if given == "-":
        raise InvalidSpecError(f"{what} cannot be -, which is stdin or stdout on the command line: give a path")
    return Path(given)


def names_of(given: object, what: str, known: Container[object] = ()) -> tuple[str, ...]:
    """Return one name, or several, as a tuple; none of None.

    Args:
        given: a text, in which commas separate names, as on the command line; or the names.
        what: names them in messages.
        known: names that may have commas themselves: a text that is one of them is one name.

    Raises:
        InvalidSpecError: it is something else.

    >>> names_of("fc1, fc2", "the names"), names_of("a,b", "the names", ["a,b"]), names_of(["a,b"], "the names")
    (('fc1', 'fc2'), ('a,b',), ('a,b',))
    """
    if isinstance(given, str):
        return (given,) if given in known else tuple(name.strip() for name in given.split(","))
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    if given is not None and not all(isinstance(name, str) for name in names):
        raise InvalidSpecError(f"{what} must be a name or several, not {shortened(given)}")
    return () if given is None else names


def integers(values: object, what: str, minimum: float, maximum: float = math.inf) -> tuple[int, ...]:
    """Return `values` as a tuple of ints, each from `minimum` to `maximum`.

    Raises:
        InvalidSpecError: names `what` and the first value that is not such an integer.
    """
    items = items_of(values)
    if items is None:
        raise InvalidSpecError(f"{what} must be a list of integers, not {shortened(values)}")
    return tuple(integer(value, what, minimum, maximum) for value in items)


def items_of(values: object) -> tuple[Any, ...] | None:
    """Return the items of a list, an array or an iterator; None of a text, a set, a mapping or a single value."""
    unordered = isinstance(values, str | bytes | Set | Mapping) or not isinstance(values, Iterable)
    return None if unordered or getattr(values, "ndim", 1) == 0 else tuple(values)  # type: ignore[arg-type]


def integer(value: object, what: str, minimum: float, maximum: float = math.inf) -> int:
    """Return `value` as an int from `minimum` to `maximum`, or raise InvalidSpecError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        least = "" if minimum == -math.inf else f" of at least {minimum}"
        raise InvalidSpecError(f"{what} must be integers{least}, not {shortened(value)}") from None
    if number < minimum:
        raise InvalidSpecError(f"{what} must be at least {minimum}, not {shortened(number)}")
    if number > maximum:
        raise InvalidSpecError(f"{what} must be at most {maximum}, not {shortened(number)}")
    return number


_DECIMAL = r"(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?"
_RATIO = r"\d{1,1100}/[1-9]\d{0,1099}"  # holds whatever a decimal becomes as a Fraction
_NUMBER = re.compile(f"-?({_DECIMAL}|{_RATIO})", re.ASCII)  # bounded: "1e999999999" would fill the memory


def numbers(values: object, what: str, layers: int) -> tuple[Fraction, ...]:
    """Return an exact number for each edge layer, from one for all of them or a list.

    Args:
        values: an int, a Fraction, a string such as "1/10" or ".1", or a float (read as the decimal it prints
            as: .1 is 1/10); or a list of these, of length 1 or `layers`.
        what: names them in messages.
        layers: number of edge layers.

    Raises:
        InvalidSpecError: names `what` and the first value that is not a finite number, or the wrong count.
    """
    several = items_of(values)
    items = (values,) if several is None else several
    if len(items) not in (1, layers):
        wanted = "one" if layers == 1 else f"one for all layers, or {layers}, one for each"
        raise InvalidSpecError(f"{what} has {counted(len(items), 'number')}: give {wanted}; a decimal has a point")
    exact = tuple(_number(item, what) for item in items)
    return exact * layers if len(exact) == 1 else exact


def written(value: Fraction) -> str:
    """A number as people write it.

    >>> written(Fraction(3, 2)), written(Fraction(1, 3))
    ('1.5', '1/3')
    """
    with suppress(OverflowError):
        text = f"{float(value):.12g}"
        return text if Fraction(text) == value else str(value)
    return "a number above all floats"


def _number(value: object, what: str) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return Fraction(int(value))
    if isinstance(value, str | float | np.floating) and _NUMBER.fullmatch(str(value)):
        return Fraction(str(value))
    raise InvalidSpecError(f"{what} must be numbers such as 0.1 or 1/10, not {shortened(value)}")
