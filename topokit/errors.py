"""What can go wrong, said so that the user knows what to do next.

Every message holds three things: what was given, what is allowed, what to do.
The command line prints the message as one line, unless it is `quiet` because another process of the same run prints it,
and exits with `exit_code`.
"""


class TopokitError(Exception):
    """Base of every error that topokit raises on purpose."""

    exit_code = 1
    quiet = False


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


class MissingDependencyError(TopokitError, ImportError):
    """An optional package is needed and is not installed."""


class UnreachableError(TopokitError, ConnectionError):
    """Another machine or process that the work needs does not answer."""
