"""Files and folders on the command line; `-` is stdin in place of a file to read, stdout in place of one to write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Any

import click

_SPOOLED: list[str] = []
"""Temporary files with what stdin held."""


def typed(text: str) -> str:
    """Return a text with `-` in place of the temporary file that holds stdin, as the user typed it."""
    for path in _SPOOLED:
        text = text.replace(path, "-")
    return text


@contextmanager
def stdin() -> Iterator[str]:
    """Give the name of a file with what stdin holds."""
    if sys.stdin is None:
        raise click.UsageError("stdin is closed: name a file in place of -")
    about = click.get_current_context().meta
    if "stdin" in about:
        raise click.UsageError("stdin can be read once: name a file in place of the second -")
    about["stdin"] = "read"
    with TemporaryDirectory() as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            copyfileobj(sys.stdin.buffer, file)
        _SPOOLED.append(str(path))
        yield str(path)


@contextmanager
def _stdout() -> Iterator[str]:
    """Give the name of a file that is copied to stdout at the end; what is printed meanwhile goes to stderr."""
    stdout, printed = sys.stdout.buffer, StringIO()
    with TemporaryDirectory() as folder:
        path = Path(folder, "stdout")
        with redirect_stdout(printed):
            yield str(path)
        if path.is_dir():
            raise click.UsageError("stdout takes one file, and this format is a folder: name it in place of -")
        sys.stderr.write(printed.getvalue().replace(str(path), "-"))
        if path.exists():
            with path.open("rb") as file:
                copyfileobj(file, stdout)


class Place(click.Path):
    """A file or folder; as a text, if it is to be written: its last character may say that it is a folder.

    Args:
        stream: what `-` stands for.
        refusal: why `-` cannot stand for anything.
        kind: as of click.Path.
    """

    def __init__(self, stream: Callable[[], AbstractContextManager[str]] | None = None, refusal: str = "", **kind: Any):
        super().__init__(**kind)
        self.stream, self.refusal = stream, refusal

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" or (value == "-" and self.refusal):
            self.fail(self.refusal if value else "the name is empty: name a file or folder", param, ctx)
        if value == "-" and self.stream and ctx:
            value = ctx.with_resource(self.stream())
        return super().convert(value, param, ctx)


FILE = Place(stdin, exists=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = Place(_stdout)
OUTPUT_FOLDER = Place(refusal="stdout is not a folder: name one", path_type=Path)
