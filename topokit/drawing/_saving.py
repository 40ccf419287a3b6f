"""Figures into files: equal pictures give equal files, and nothing is left half-written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokit.drawing._style import house_style
from topokit.errors import InvalidSpecError
from topokit.formats import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA: dict[str, dict[str, Any]] = {  # a date would make every file another one
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def save_figure(figure: Figure, path: str | Path, *, force: bool = False) -> None:
    """Write a figure to a .png (200 dots an inch), .svg or .pdf file. Equal figures give equal files.

    The text of an SVG stays text.

    Args:
        figure: what `draw`, `draw_steps` or `draw_kron_steps` returned.
        path: its suffix says which format.
        force: replace a file that is there already.

    Raises:
        InvalidSpecError: another suffix.
        OutputExistsError: the file exists and `force` is not set.
        TopokitError: the file cannot be written; what stood there is untouched.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _METADATA:
        raise InvalidSpecError(f"cannot draw to {path}: a picture's name must end in {', '.join(_METADATA)}")
    with house_style(), replacing(path, force=force) as temporary:
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])
