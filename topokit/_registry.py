"""Registry: names to the classes or functions behind them, imported when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from reprlib import repr as shortened
from typing import Any

from topokit.errors import InvalidSpecError


class Registry(Mapping[str, Any]):
    """A mapping of names to objects that are imported at first use.

    Args:
        what: what the names are of, for messages ("family").
        places: name -> "package.module:object".
    """

    def __init__(self, what: str, places: dict[str, str]):
        self.what = what
        self.places = places

    def __getitem__(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            InvalidSpecError: no such name; the message names the nearest ones.
        """
        if name not in self.places:
            raise InvalidSpecError(f"no {self.what} named {shortened(name)}: {nearest(str(name), self.places)}")
        module, _, attribute = self.places[name].partition(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return advice for a word that is not known: the nearest one that is, or all of them.

    >>> nearest("radixes", ["radices", "kron"])
    'did you mean radices?'
    """
    known = list(known)
    return near(word, known) or f"known: {', '.join(known)}"


def near(word: str, known: Iterable[str]) -> str:
    """Return the question for the nearest word that is known, "" if none is near."""
    found = get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the parameters that a name or shell pattern means, with or without `.weight`; a name means itself alone.

    >>> matching("fc*", ["fc1.weight", "conv1.weight"]), matching("fc1", ["fc1.weight", "fc12.weight"])
    (['fc1.weight'], ['fc1.weight'])
    """
    both = {name: (name, name.removesuffix(".weight")) for name in names}
    exact = [name for name, forms in both.items() if pattern in forms]
    return exact or [name for name, forms in both.items() if any(fnmatchcase(form, pattern) for form in forms)]
