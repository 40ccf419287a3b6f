"""What can go wrong, said so that the user knows what to do next.

Every message holds three things: what was given, what is allowed, what to do.
The command line prints the message as one line, unless it is `quiet` because another process of the same run prints it,
and exits with `exit_code`.

In the source a message has the names of arguments and settings in backquotes: f"`epochs` must be at least 1". `str`
leaves the quotes out, so Python and files read the name; the command line writes the flag in its place.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"`(\w+)`", re.ASCII)
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
EXTRAS = {
    **dict.fromkeys(("torch", "pooch", "tqdm"), "train"),
    "jinja2": "study",
    "pandas": "pandas",
    "matplotlib": "plot",
    "distributed": "cluster",
    "onnx": "onnx",
    "tensorboard": "tensorboard",
}
"""Optional package -> the extra of topokit that installs it."""


class TopokitError(Exception):
    """Base of every error that topokit raises on purpose."""

    exit_code = 1
    quiet = False

    def __str__(self) -> str:
        return _on_one_line(_NAME.sub(r"\1", super().__str__()))

    def with_flags(self, names: Container[str]) -> str:
        """Return the message for a command that has options of these names.

        >>> InvalidSpecError("`batch_size` must be at least 1").with_flags(["batch_size"])
        '--batch-size must be at least 1'
        """
        return _on_one_line(_NAME.sub(r"\1", with_flags(super().__str__(), names)))


def _on_one_line(text: str) -> str:
    """Return a text with escapes in place of the control characters that names in a file may contain."""
    return _CONTROL.sub(lambda character: repr(character[0])[1:-1], text)


def no_folder(path: Path) -> NotFoundError:
    """Return the error that says that the folder of a file or folder to write does not exist."""
    return NotFoundError(f"cannot write {path}: there is no folder {path.parent}: create it first")


def with_flags(text: str, names: Container[str]) -> str:
    """Return a text with flags in place of the names in backticks that are among some options."""
    return _NAME.sub(lambda name: flag(name[1]) if name[1] in names else name[0], text)


def flag(name: str) -> str:
    """Return the flag of a field.

    >>> flag("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def reason_of(error: Exception, most: int = 160) -> str:
    """Return the first characters of another library's message, on one line; without a message, the error's class."""
    return " ".join(str(error).split())[:most] or type(error).__name__


class InvalidSpecError(TopokitError, ValueError):
    """The numbers that describe a topology (radices, widths, seeds) do not fit together."""

    exit_code = 2


class OutsideRecipeError(InvalidSpecError):
    """A recipe begins with something from outside, such as a file of weights: nothing here can carry it out."""


class InvalidGraphError(TopokitError, ValueError):
    """Arrays do not describe a layered graph: out of range, unsorted, duplicate or mismatched edges."""


class FileFormatError(TopokitError, ValueError):
    """A file is not what it says it is, is damaged, or holds no topology."""


class OutputExistsError(TopokitError, FileExistsError):
    """A file that would be overwritten exists already."""


class TooLargeError(TopokitError, MemoryError):
    """The work would need more memory than this machine has free, or more time than was allowed."""


class NotFoundError(TopokitError, FileNotFoundError):
    """A file or folder that the user named does not exist, or is a folder and not a file."""

    exit_code = 2


class MissingDependencyError(TopokitError, ImportError):
    """An optional package is needed and is not installed."""


@contextmanager
def needing(what: str = "this", extra: str = "") -> Iterator[None]:
    """Name the extra to install where an optional package is missing; as a decorator, in every call.

    Args:
        what: what needs the package, for the message.
        extra: that installs it, if it is not the one in EXTRAS.

    Raises:
        MissingDependencyError: a package of EXTRAS is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        install = f"pip install 'topokit[{extra or EXTRAS[package]}]'"
        raise MissingDependencyError(f"{what} needs {package}: {install}") from None


class UnreachableError(TopokitError, ConnectionError):
    """Another machine or process that the work needs does not answer."""


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Name the file in the errors of reading it.

    Raises:
        FileFormatError: in place of InvalidGraphError.
        NotFoundError: there is no such file.
        TopokitError: in place of another OSError.
    """
    try:
        yield
    except InvalidGraphError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except OSError as error:
        if isinstance(error, TopokitError):
            raise
        typed = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        kind = NotFoundError if typed else TopokitError
        raise kind(f"cannot read {path}: {error.strerror or error}") from error
