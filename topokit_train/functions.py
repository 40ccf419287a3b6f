"""Functions of users, named as text: file.py:function or package.module:function."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import re
import shlex
import sys
import sysconfig
from collections.abc import Callable, Container, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from traceback import extract_tb, walk_tb
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import topokit
from topokit.descriptions._words import split
from topokit.errors import InvalidSpecError, TopokitError, reading
from topokit.reprs import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = (Path(__file__).parent, Path(topokit.__file__).parent)
_NAME = re.compile(r"(?P<file>.+\.py|[A-Za-z_]\w*(\.\w+)*):(?P<function>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class UserFunction:
    """A function or class of a user.

    Args:
        name: as the user gave it.
        function: the object of that name.
        version: the SHA-256 of its file, or the version of its package. A resumed run refuses another version.
    """

    name: str
    function: Callable[..., Any]
    version: str

    def __call__(self, **offered: object) -> Any:
        """Call it with those of the offered arguments that its signature has; see `call`."""
        return call(self.function, self.name, **offered)

    def apply(self, *given: object) -> Any:
        """Call it with these positional arguments.

        Raises:
            TopokitError: it raises; the message says where.
        """
        try:
            inspect.signature(self.function).bind(*given)
        except TypeError as error:
            raise InvalidSpecError(f"{self.name} is called with {len(given)} positional arguments: {error}") from None
        except ValueError:  # a builtin has no signature
            pass
        with explained(f"{self.name} failed", TopokitError):
            return self.function(*given)


def is_function(text: str) -> bool:
    """Return whether a text has the form file.py:function or package.module:function.

    >>> is_function("nets/mine.py:net"), is_function("torchvision.models:resnet18"), is_function("lenet-5")
    (True, True, False)
    """
    return _NAME.fullmatch(text) is not None


def names_function(model: object) -> bool:
    """Return whether a model or file is given as file.py:function; a file that has this very name comes first."""
    return isinstance(model, str) and is_function(model) and not Path(model).exists()


def located(name: str, folder: Path | str) -> str:
    """Return a name whose relative path starts from a folder.

    >>> located("mine.py:Rewire every=9", "/nets"), located("torch.nn:Linear", "/nets")
    ('/nets/mine.py:Rewire every=9', 'torch.nn:Linear')
    """
    place, arguments = divided(name)
    if ".py:" not in place:
        return name
    place = str(Path(folder, place))
    return f"{shlex.quote(place) if arguments else place}{arguments}"


def divided(text: str) -> tuple[str, str]:
    """Return the name in a description, and its arguments with the blank before them.

    >>> divided("'my nets/a.py:Rewire' every=9"), divided("my nets/a.py:net")
    (('my nets/a.py:Rewire', ' every=9'), ('my nets/a.py:net', ''))
    """
    if is_function(text):
        return text, ""
    words = split(text)
    return (words[0].text, text[words[1].start - 1 :]) if len(words) > 1 else (text, "")


def load_function(name: str, setting: str) -> UserFunction:
    """Import a function or class. This runs its file, as `python FILE` does.

    Args:
        name: file.py:function, or package.module:function.
        setting: setting that it is for, such as "model"; for messages.

    Raises:
        InvalidSpecError: another form, no such file, module or function, or the import fails.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise InvalidSpecError(f"`{setting}` must be file.py:function or package.module:function, not {name}")
    place, wanted = parts["file"], parts["function"]
    with explained(f"`{setting}` {name}: importing {place} failed"):
        module, version = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    function = getattr(module, wanted, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = get_close_matches(wanted, there, 3) or sorted(there)
        raise InvalidSpecError(
            f"`{setting}` {name}: {place} has no function {wanted}" + (f", but {listed(near)}" if near else "")
        )
    return UserFunction(name, function, version)


def version_of(name: str, setting: str) -> str:
    """Return the version of a function, without importing a file.

    Raises:
        InvalidSpecError: as for `load_function`.
    """
    place = name.rpartition(":")[0]
    if not place.endswith(".py"):
        return load_function(name, setting).version
    return hashlib.sha256(_read(Path(place))).hexdigest()


def short_name(text: str) -> str:
    """Return a description without the folders of its file.

    >>> short_name("/home/me/nets.py:net width=3"), short_name("lenet-5")
    ('nets.py:net width=3', 'lenet-5')
    """
    name, arguments = divided(text)
    place, colon, function = name.rpartition(":")
    return f"{Path(place).name}{colon}{function}{arguments}" if place.endswith(".py") else text


def call(function: Callable[..., Any], name: str, **offered: object) -> Any:
    """Call a function with those of the offered arguments that its signature has.

    Raises:
        InvalidSpecError: it needs an argument that is not offered.
        TopokitError: it raises; the message says where.
    """
    signature = inspect.signature(function)
    if missing := missing_arguments(signature, offered):
        raise InvalidSpecError(
            f"{name} needs {', '.join(missing)}, but it is called with {', '.join(offered) or 'no arguments'}: "
            "give its other arguments defaults"
        )
    takes_all = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    given = {key: value for key, value in offered.items() if takes_all or key in signature.parameters}
    with explained(f"{name} failed", TopokitError):
        return function(**given)


def missing_arguments(signature: inspect.Signature, given: Container[str]) -> list[str]:
    """Return the names of the arguments without default that are not given."""
    named = (one for one in signature.parameters.values() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    return [one.name for one in named if one.default is one.empty and one.name not in given]


@contextmanager
def explained(
    what: str, kind: type[TopokitError] = InvalidSpecError, objects: Mapping[type, str] = MappingProxyType({})
) -> Iterator[None]:
    """Replace any error in the block by one line that names the line of the user's code.

    Args:
        what: start of the line, such as "net.py:net failed".
        kind: class of the new error.
        objects: class -> the start of the line if a method of such an object raised the error.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = extract_tb(error.__traceback__)
        where = [frame for frame in frames if _is_of_users(frame.filename)]
        line = f" in line {where[-1].lineno} of {Path(where[-1].filename).name}" if where else ""
        if isinstance(error, TopokitError):  # which says what is wrong, and not in which of the user's files
            if line and line not in str(error):
                error.args = (f"{error.args[0]} ({line.strip()})", *error.args[1:])
            raise
        called_wrongly = objects and isinstance(error, TypeError) and "positional argument" in str(error)
        ours = any(map(Path(frames[-1].filename).is_relative_to, _OURS))
        if ours and not (where or called_wrongly or isinstance(error, SyntaxError)):
            raise
        selves = (type(frame.f_locals.get("self")) for frame, _ in walk_tb(error.__traceback__))
        began = next((objects[one] for one in selves if one in objects), what)
        message = shorten(f"{type(error).__name__}: {error}", 200)
        raise kind(f"{began}{line}: {message}") from error


def _is_of_users(file: str) -> bool:
    places = (*_OURS, Path(sysconfig.get_path("stdlib")))
    return "site-packages" not in file and not file.startswith("<") and not any(map(Path(file).is_relative_to, places))


def _from_file(path: Path) -> tuple[ModuleType, str]:
    source = _read(path)
    digest, place = (hashlib.sha256(one).hexdigest() for one in (source, str(path.resolve()).encode()))
    # one module per file and content, so that its classes stay the same and pickle finds them
    name = f"_topokit_user_{digest[:16]}_{place[:8]}_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        folder = str(path.resolve().parent)
        sys.path.insert(0, folder)  # as `python FILE` does, for the modules beside it
        try:
            exec(compile(source, str(path), "exec"), vars(module))  # the hashed source, not cached bytecode
        except BaseException:
            del sys.modules[name]
            raise
        finally:
            sys.path.remove(folder)
    return sys.modules[name], digest


def _read(path: Path) -> bytes:
    with reading(path):
        return path.read_bytes()


def _from_package(name: str) -> tuple[ModuleType, str]:
    module = importlib.import_module(name)
    package = name.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(package, ()):
        return module, f"{distribution} {importlib.metadata.version(distribution)}"
    file = inspect.getsourcefile(module)
    return module, hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else name
