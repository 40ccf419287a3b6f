"""Keys that people write into a file: unknown ones are named, with the nearest that is known."""

from __future__ import annotations

from collections.abc import Iterable

from topokit._registry import nearest
from topokit.errors import InvalidSpecError


def require_known(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse a key that nothing reads.

    Args:
        given: the keys that are there.
        known: the keys that there can be.
        where: what they are keys of, for the message.

    Raises:
        InvalidSpecError: names the first unknown key, and the nearest known one or all of them.
    """
    allowed = list(dict.fromkeys(known))
    for key in given:
        if key not in allowed:
            raise InvalidSpecError(f"no key {where} is named {key!r}: {nearest(key, allowed)}")
