"""Reading the CSV tables that a sweep has written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from topokit.errors import FileFormatError

Row = dict[str, str]


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table, every cell as text.

    Args:
        path: a CSV file with a header line.
        columns: that it must have; others may be there.

    Raises:
        FileFormatError: it is missing or no table, lacks one of these columns, or a row has more cells or fewer.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise FileFormatError(
                    f"{path} has no column {', '.join(missing)}: write the tables again with this release"
                )
            rows = list(reader)
    except FileNotFoundError:
        raise FileFormatError(f"{path} is missing: give the folder that the tables were written to") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is no table ({error}): write the tables again") from None
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():  # as csv tells cells without a column, and columns without a cell
            raise FileFormatError(f"{path}, row {line}: not as many cells as columns; write the tables again")
    return rows
