"""Topologies by what people write for them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from topokit.formats import load
from topokit.layered import Layered
from topokit.spec import network


def topology(described: Layered | str | PathLike[str]) -> Layered:
    """Return the topology that is meant: itself, or that of a file.

    Raises:
        InvalidSpecError: neither a topology nor a path.
        TopokitError: see `topokit.load`.
    """
    return load(Path(described)) if isinstance(described, str | PathLike) else network(described, "what is described")
