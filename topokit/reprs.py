"""The repr of what may be large: at most one screen."""

from __future__ import annotations

from collections.abc import Mapping
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


def short_repr(result: Any) -> str:
    """The `__repr__` of a dataclass whose values may be large."""
    return described(type(result).__name__, {field.name: getattr(result, field.name) for field in fields(result)})
