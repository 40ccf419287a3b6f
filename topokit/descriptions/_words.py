"""Words of a description: split as a POSIX shell does, each with its place, and quoted so that they read back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from io import StringIO

from topokit.errors import InvalidSpecError

SPACE = " \t\r\n"
SHOWN = 40
MAX_LENGTH = 1_000_000
"""Characters of a description; quotes inside quotes double at each level."""


@dataclass(frozen=True)
class Word:
    """A word without its quotes, and where it starts in the text."""

    text: str
    start: int


def split(text: str) -> list[Word]:
    """Split a text into words.

    Raises:
        InvalidSpecError: a quote is not closed; names the place.

    >>> [word.text for word in split("union of='a b' of=c")]
    ['union', 'of=a b', 'of=c']
    """
    stream = StringIO(text)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = SPACE, True, ""
    words: list[Word] = []
    while True:
        start = stream.tell()
        start += len(text[start:]) - len(text[start:].lstrip(SPACE))
        try:
            token = lexer.get_token()
        except ValueError:
            raise error_at("a quote or a backslash has no end: close it", text, start) from None
        if token is None:
            return words
        words.append(Word(token, start))


def error_at(message: str, text: str, start: int) -> InvalidSpecError:
    """The error with this message and the place in the text, counted from 1."""
    rest = text[start:]
    shown = rest if len(rest) <= SHOWN else f"{rest[:SHOWN]}..."
    return InvalidSpecError(f"{message} (at character {start + 1}: {shown!r})")


def quoted(text: str) -> str:
    """The text as one word, in quotes if it needs them.

    Raises:
        InvalidSpecError: it is longer than MAX_LENGTH.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidSpecError("the topology is nested too deeply to be described in a text: save it to a file")
    if "'" in text and not set('"\\') & set(text):
        return f'"{text}"'
    return shlex.quote(text)
