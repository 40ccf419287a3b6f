"""Small JSON files, each of which is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError
from topokit.formats import replacing


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file, in place of one that is there."""
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        FileFormatError: it is no JSON object.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise FileFormatError(f"{path} holds no JSON object")
    return found
