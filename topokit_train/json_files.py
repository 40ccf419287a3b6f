"""Small JSON files, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError
from topokit.formats import replacing


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file; replaces an existing one."""
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of `write_json`.

    Raises:
        FileFormatError: it is not a JSON object.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise FileFormatError(f"{path} is not a JSON object")
    return found
