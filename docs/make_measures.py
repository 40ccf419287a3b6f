"""Write the table of docs/measures.md out of the measures: `python docs/make_measures.py`."""

from __future__ import annotations

import re
from importlib import import_module
from inspect import cleandoc
from pathlib import Path

from topokit.measures import MEASURES

path = Path(__file__).parent / "measures.md"
HEAD = "| measure | keys | definition | compared as |\n|---|---|---|---|\n"


def keys(name: str) -> list[tuple[str, list[str], str]]:
    """Each entry of the section `Keys` in the docstring of a measure's module: its text, its keys, their definition."""
    module = import_module(MEASURES.places[name].partition(":")[0])
    section = cleandoc(module.__doc__ or "").partition("\nKeys:\n")[2].partition("\n\n")[0]
    entries = [" ".join(entry.split()).partition(": ") for entry in re.split(r"\n {4}(?=\S)", f"\n{section}")[1:]]
    return [(shown, re.findall(r"\b(?!of\b)\w+", shown), meaning) for shown, _, meaning in entries]


def page(text: str) -> str:
    """The page with the table as it must be now."""
    rows = []
    for name in MEASURES:
        measure = MEASURES[name]
        first = [
            f"`{name}`{' (on request)' * measure.on_request}",
            ", ".join(f"`{label}`" for label in measure.scalars),
        ]
        for shown, _, meaning in keys(name):
            quoted = re.sub(r"\b(?!of\b)(\w+)", r"`\1`", shown).replace("` of `", "`: `")
            rows.append(f"| {first[0]} | {quoted} | {meaning} | {first[1]} |\n")
            first = ["", ""]
    return re.sub(r"\| measure \| keys .*?\n(?=\n)", lambda _: HEAD + "".join(rows), text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    path.write_text(page(path.read_text("utf-8")), "utf-8")
