"""The report of a study: one page that needs nothing else, the same as Markdown, and its numbers as CSV."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from topokit.errors import OutputExistsError, TopokitError, needing, no_folder
from topokit.formats import replacing
from topokit_train.studies.tables import read_tables

PAGE, MARKDOWN, FIGURES, NUMBERS = "report.html", "report.md", "figures", "numbers"
PACKAGES = ("jinja2", "matplotlib", "statsmodels")
_OURS = re.compile(r"[a-z0-9-]+-\d+\.svg")


def write_report(tables: Path, out: Path, *, force: bool = False) -> Path:
    """Write the report of a study's tables. Equal tables give equal bytes.

    Args:
        tables: the folder of runs.csv, epochs.csv, prunings.csv and study.json; nothing else is read.
        out: the folder to write to, made where it is missing: report.html, report.md, figures/*.svg, numbers/*.csv.
        force: replace a report that is there already; other files stay.

    Returns:
        The path of report.html.

    Raises:
        FileFormatError: a table is missing or damaged, lacks a column, or is of a later release.
        MissingDependencyError: jinja2, matplotlib or statsmodels is not installed.
        OutputExistsError: there is a report already, and `force` is not set.
        TopokitError: the folder cannot be made or written to.
    """
    require_packages()
    if not force and any((out / name).exists() for name in (PAGE, MARKDOWN)):
        raise OutputExistsError(f"{out} holds a report already: give `force` to replace it, or another folder")
    from topokit_train.studies.contents import contents
    from topokit_train.studies.pages import figures, markdown, page

    said = contents(read_tables(tables))
    drawn = figures(said)
    files = {f"{FIGURES}/{name}.svg": svg for name, svg in drawn.items()}
    files |= {f"{NUMBERS}/{name}.csv": text for name, text in said.csv.items()}
    files |= {MARKDOWN: markdown(said, FIGURES, NUMBERS), PAGE: page(said, drawn)}
    _write(out, files)
    return out / PAGE


def require_packages() -> None:
    """See that what a report needs beside topokit is installed.

    Raises:
        MissingDependencyError: a package is not.
    """
    for name in PACKAGES:
        with needing("a report", "study"):
            import_module(name)


def _write(out: Path, files: dict[str, str]) -> None:
    try:
        for folder in (out, out / FIGURES, out / NUMBERS):
            folder.mkdir(exist_ok=True)
        for name, text in files.items():
            with replacing(out / name, force=True) as temporary:
                temporary.write_bytes(text.encode())
        for path in (out / FIGURES).iterdir():  # what an earlier report drew, and this one does not
            if _OURS.fullmatch(path.name) and f"{FIGURES}/{path.name}" not in files:
                path.unlink()
    except FileNotFoundError:
        raise no_folder(out) from None
    except OSError as error:
        raise TopokitError(f"{out} cannot be written to ({error.strerror}): give another folder") from None
