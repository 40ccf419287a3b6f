"""Contents as a page and as Markdown, by jinja2; the panels of charts as SVG."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from topokit_train.studies import words
from topokit_train.studies.charts.drawing import svg
from topokit_train.studies.charts.style import variables, with_variables
from topokit_train.studies.contents import Contents

_TEMPLATES = Path(__file__).parent / "templates"


def figures(said: Contents) -> dict[str, str]:
    """File name without suffix -> SVG, of all panels."""
    return {
        f"{name}-{number}": svg(panel, f"{name}-{number}")
        for name, chart in said.charts.items()
        for number, panel in enumerate(chart.panels, 1)
    }


def page(said: Contents, drawn: dict[str, str]) -> str:
    """One HTML page that asks nothing of any other place.

    Args:
        said: the contents.
        drawn: the panels, as `figures` gave them.
    """
    environment = _environment(escape=True)
    inline = {name: Markup(_inline(text)) for name, text in drawn.items()}  # drawn here, and not given
    colours = {"light": variables(dark=False), "dark": variables(dark=True)}
    return environment.get_template("report.html").render(said=said, drawn=inline, colours=colours)


def markdown(said: Contents, figures: str, numbers: str) -> str:
    """The same as Markdown, with its pictures and tables in these folders beside it."""
    environment = _environment(escape=False)
    return environment.get_template("report.md").render(said=said, figures=figures, numbers=numbers)


def _environment(*, escape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"effect": words.effect, "p": words.p_value, "cell": _cell}
    return environment


def _cell(text: str) -> str:
    """Text that may stand in a cell of a Markdown table."""
    return re.sub(r"([|\\`*_<>])", r"\\\1", " ".join(text.split()))


def _inline(text: str) -> str:
    """An SVG for the inside of a page, in the page's colours, that its heading names already."""
    return with_variables(text).replace("<svg ", '<svg role="img" ', 1)
