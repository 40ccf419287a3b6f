"""Files and folders on the command line; `-` is stdin in place of a file to read, stdout in place of one to write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Any

import click

STREAM = "-"


@contextmanager
def _stdin() -> Iterator[str]:
    """Give the name of a file with what stdin holds."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            copyfileobj(sys.stdin.buffer, file)
        yield str(path)


@contextmanager
def _stdout() -> Iterator[str]:
    """Give the name of a file that is copied to stdout at the end; what is printed meanwhile goes to stderr."""
    stdout, printed = sys.stdout.buffer, StringIO()
    with TemporaryDirectory() as folder:
        path = Path(folder, "stdout")
        with redirect_stdout(printed):
            yield str(path)
        sys.stderr.write(printed.getvalue().replace(str(path), STREAM))
        if path.is_dir():
            raise click.UsageError(f"stdout takes one file, and this format is a folder: name it in place of {STREAM}")
        if path.exists():
            with path.open("rb") as file:
                copyfileobj(file, stdout)


def given(value: str, ctx: click.Context | None) -> str:
    """Return the name of a file to read; of `-` one with what stdin holds, which is removed with the context."""
    return ctx.with_resource(_stdin()) if value == STREAM and ctx else value


class Given(click.Path):
    """A file or folder that exists."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(given(value, ctx), param, ctx)


class Output(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A file to write, as a text, whose last character may say that it is a folder.

    Args:
        refusal: why it cannot be stdout, if it cannot.
    """

    name = "PATH"

    def __init__(self, refusal: str = ""):
        self.refusal = refusal

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" or (value == STREAM and self.refusal):
            self.fail(self.refusal or "the name is empty: name a file", param, ctx)
        return ctx.with_resource(_stdout()) if value == STREAM and ctx else value


class OutputFolder(click.Path):
    """A folder to write into."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in (STREAM, ""):
            self.fail("stdout is not a folder: name one" if value else "the name is empty: name a folder", param, ctx)
        return super().convert(value, param, ctx)


FILE = Given()
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = Output()
OUTPUT_FOLDER = OutputFolder(path_type=Path)
