"""Values of declared fields as text: read by the kind of the field, and written so that they read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from reprlib import repr as shortened
from typing import Any

from topokit.errors import InvalidSpecError
from topokit.fields import MAX_DIGITS, names_of, numbers, one_of

YES_NO = {"yes": True, "true": True, "no": False, "false": False}
REPEATED = ("systems", "nets")
"""Kinds of fields whose key or flag may be given again: each gives one part."""


def from_text(metadata: Mapping[str, Any], text: str) -> Any:
    """Return the value that a text gives to a field; of a kind in REPEATED, the value of one part.

    Args:
        metadata: of the field, as `topokit.spec.option` declares it.
        text: such as "3", "784,300", ".1,1/3", "yes".

    Raises:
        InvalidSpecError: the text is not a value of this kind; the message does not name the field.
    """
    if metadata["kind"] == "choice":
        return _choice(text, metadata["choices"])
    return _READERS.get(metadata["kind"], str)(text)


def to_texts(kind: str, value: Any) -> list[str]:
    """Return the texts that give a field of a kind its value: one, or one for each part; networks are Descriptions."""
    if kind in REPEATED:
        return [_joined(one) if kind == "systems" else str(one) for one in value]
    if kind == "permutations":
        return [";".join("none" if one is None else _joined(one) for one in value)]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return [_joined(value) if isinstance(value, list | tuple) else str(value)]


def _joined(values: Any) -> str:
    return ",".join(map(str, values))


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text.strip(), re.ASCII) is not None


def _integer(text: str) -> int:
    if not _is_integer(text):
        raise InvalidSpecError(f"{shortened(text)} is not an integer")
    digits = len(text.strip().lstrip("+-"))
    if digits > MAX_DIGITS:
        raise InvalidSpecError(f"an integer of {digits:,} digits is too large: give at most {MAX_DIGITS:,}")
    return int(text)


def _integers(text: str) -> tuple[int, ...]:
    if not all(map(_is_integer, text.split(","))):
        raise InvalidSpecError(f"{shortened(text)} is not a list of integers separated by commas")
    return tuple(map(_integer, text.split(",")))


def _numbers(text: str) -> tuple[Fraction, ...]:
    parts = _names(text)
    return numbers(parts, "the values", len(parts))


def _number(text: str) -> float:
    try:
        return float(numbers((text.strip(),), "the value", 1)[0])
    except OverflowError:
        raise InvalidSpecError(f"{shortened(text)} is too large") from None


def _names(text: str) -> tuple[str, ...]:
    return names_of(text, "the names")


def _flag(text: str) -> bool:
    if text.lower() not in YES_NO:
        raise InvalidSpecError(f"{shortened(text)} is neither yes nor no")
    return YES_NO[text.lower()]


def _permutations(text: str) -> tuple[tuple[int, ...] | None, ...]:
    return tuple(None if part.strip() == "none" else _integers(part) for part in text.split(";"))


def _choice(text: str, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if text.replace("_", "-") == choice.replace("_", "-"):
            return choice
    raise InvalidSpecError(f"must be one of {one_of(text, choices)}")


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _integer,
    "ints": _integers,
    "systems": _integers,
    "number": _number,
    "numbers": _numbers,
    "names": _names,
    "flag": _flag,
    "permutations": _permutations,
}
