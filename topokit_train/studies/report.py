"""The report of a study: one page that needs nothing else, the same as Markdown, and its numbers as CSV."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from topokit.errors import OutputExistsError, TopokitError, needing, no_folder
from topokit.formats import replacing

PAGE, MARKDOWN, FIGURES, NUMBERS = "report.html", "report.md", "figures", "numbers"
PACKAGES = ("jinja2", "matplotlib", "pandas")


def write_report(tables: Path, out: Path, *, force: bool = False) -> Path:
    """Write the report on a study's tables. Equal tables give equal bytes.

    Args:
        tables: the folder of runs.csv, epochs.csv, prunings.csv and study.json, the only input.
        out: the folder of report.html, report.md, figures/*.svg and numbers/*.csv; its parent must exist.
        force: replace an existing report; other files stay.

    Returns:
        The path of report.html.

    Raises:
        FileFormatError: a table is damaged, lacks a column, or is of a later release.
        NotFoundError: a table is missing.
        MissingDependencyError: jinja2, matplotlib or pandas is not installed.
        OutputExistsError: there is a report already, and `force` is not set.
        TopokitError: the folder cannot be made or written to.
    """
    require_packages()
    if not force and any((out / name).exists() for name in (PAGE, MARKDOWN)):
        raise OutputExistsError(f"{out} already holds a report: give `force` to replace it, or another folder")
    files = _files(tables)
    try:
        for folder in (out, out / FIGURES, out / NUMBERS):
            folder.mkdir(exist_ok=True)
        for name, text in files.items():
            with replacing(out / name, force=True) as temporary:
                temporary.write_bytes(text.encode())
        for path in (out / FIGURES).iterdir():  # figures of an earlier report
            if re.fullmatch(r"[a-z0-9-]+-\d+\.svg", path.name) and f"{FIGURES}/{path.name}" not in files:
                path.unlink()
    except FileNotFoundError:
        raise no_folder(out) from None
    except OSError as error:
        raise TopokitError(f"{out} cannot be written to ({error.strerror}): give another folder") from None
    return out / PAGE


def require_packages() -> None:
    """Check that the packages of a report are installed.

    Raises:
        MissingDependencyError: one is not.
    """
    for name in PACKAGES:
        with needing("a report", "study"):
            import_module(name)


def _files(tables: Path) -> dict[str, str]:
    """Return name -> text of each file of the report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    from topokit_train.studies import words
    from topokit_train.studies.contents import contents
    from topokit_train.studies.drawing import COLOURS, svg
    from topokit_train.studies.tables import read_tables

    said = contents(read_tables(tables))
    figures = {
        f"{chart}-{number}": svg(panel, f"{chart}-{number}")
        for chart, panels in said["panels"].items()
        for number, panel in enumerate(panels, 1)
    }
    inline = {}
    for name, text in figures.items():  # in the colours of the page
        for colour, (white, _) in COLOURS.items():
            text = text.replace(white, f"var(--{colour})")
        inline[name] = Markup(text.replace("<svg ", '<svg role="img" ', 1))  # drawn here, so it is safe
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"accuracy": words.accuracy, "effect": words.effect, "p": words.p_value, "cell": words.cell}
    said["appendix"] = {}
    for name, columns in said["texts"]["appendix"].items():
        cells = [environment.from_string(cell) for cell in columns.values()]
        rows = [[cell.render(row=row, texts=said["texts"]) for cell in cells] for row in said[name].itertuples()]
        said["appendix"][name] = {"columns": list(columns), "rows": rows}
    numbers = {
        f"{NUMBERS}/{name}.csv": table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
        for name, table in said["numbers"].items()  # more digits would differ between releases of libraries
    }
    said |= {"drawn": inline, "colours": COLOURS}
    pages = {name: environment.get_template(name).render(said=said) for name in (MARKDOWN, PAGE)}
    return {f"{FIGURES}/{name}.svg": text for name, text in figures.items()} | numbers | pages
