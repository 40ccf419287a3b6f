"""The Markdown page of one family of topologies, from its docstring, its fields and a run of its example."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from doctest import DocTestParser
from fractions import Fraction
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

import topokit as tk
from topokit.errors import InvalidSpecError
from topokit.families import RANDOM_EQUIVALENTS
from topokit.layered import Layered
from topokit.measures.degrees import degrees
from topokit.measures.structure import structures
from topokit.spec import Spec, options_of

SECTIONS = ("Args", "Raises", "Proof", "Cost of a layer", "Source")
KINDS = {
    "int": "an integer",
    "ints": "integers: `2,3`",
    "systems": "integers: `2,3`; repeatable",
    "numbers": "numbers: `0.1` or `0.1,1/5`",
    "net": "a file",
}
WHOLE = "whole numbers: `8` or `8,5`"
LAYERS = 12  # rows of a table, as many as the panels of a picture
LINES = 32  # nodes in a layer up to which a picture has lines; above, it has matrices
NODES = 128  # shown of each node layer


def sections(text: str) -> dict[str, str]:
    """A family's docstring by section: the definition under "", and no example.

    Raises:
        ValueError: sections are missing.
    """
    found: dict[str, list[str]] = {"": []}
    section = ""
    for line in cleandoc(text).partition("\n>>>")[0].splitlines():
        label = re.match(rf"({'|'.join(SECTIONS)}):\s*", line)
        if label:
            section = label[1]
            found[section] = [line[label.end() :]]
            continue
        if not line:
            section = ""
        found[section].append(line)
    missing = [f"'{wanted}:'" for wanted in SECTIONS if wanted not in found]
    if missing:
        raise ValueError(f"its docstring has no section {', '.join(missing)}: begin a line with each")
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def items(section: str) -> list[tuple[str, str]]:
    """The names and texts of a section such as Args."""
    parts = re.split(r"^(\w+): ", dedent(section), flags=re.MULTILINE)[1:]
    return [(name, " ".join(text.split())) for name, text in zip(parts[::2], parts[1::2], strict=True)]


def prose(text: str) -> str:
    """Text as Markdown that shows it letter by letter; what stands in backticks is code there as here."""
    return "".join(
        part if k % 2 else re.sub(r"[\\*_<|]", r"\\\g<0>", part) for k, part in enumerate(re.split(r"(`[^`]*`)", text))
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def example(family: type[Spec]) -> tuple[str, Spec]:
    """The example in a family's docstring: its lines, and the network of this family that they assign last.

    Raises:
        ValueError: no line assigns one.
    """
    lines = [f">>> from topokit import {family.__name__}"]
    names: dict[str, Any] = {family.__name__: family}
    for part in DocTestParser().get_examples(family.__doc__ or ""):
        source = part.source.rstrip().replace("\n", "\n... ")
        lines += [f">>> {source}", *part.want.splitlines()]
        exec(part.source, names)
    made = [value for value in names.values() if isinstance(value, family)]
    if not made:
        raise ValueError(
            f"its docstring does not end with an example that assigns a network: >>> net = {family.__name__}(...)"
        )
    return "\n".join(lines), made[-1]


def commands(net: Spec) -> list[str]:
    """The command lines that build a family's network; those of the network it is made from come first."""
    before: list[str] = []
    words = ["topokit", "build", "--family", net.name]
    for name, field in options_of(net).items():
        value, flag = getattr(net, field.name), flag_of(name)
        if isinstance(value, Spec):
            before += commands(value)
            words += [flag, f"{value.slug}.safetensors"]
        elif field.metadata["kind"] == "systems":
            words += [word for system in value for word in (flag, comma(system))]
        elif is_needed(net, field):
            words += [flag, comma(value)]
    return [*before, shlex.join(words)]


def flag_of(field: str) -> str:
    """The command-line flag of a family's field."""
    return "--topology-seed" if field == "seed" else f"--{field.replace('_', '-')}"


def is_needed(net: Spec, field: dataclasses.Field[Any]) -> bool:
    """Whether leaving the field out would make another network, or none."""
    if field.default is dataclasses.MISSING:
        return True
    try:
        return dataclasses.replace(net, **{field.name: field.default}).recipe != net.recipe  # type: ignore[type-var]
    except InvalidSpecError:
        return True


def comma(value: Any) -> str:
    """A field's value as the command line takes it; a number for each layer is given once where all are equal."""
    values = value if isinstance(value, tuple) else (value,)
    if len(set(values)) == 1 and isinstance(values[0], Fraction):
        values = values[:1]
    return ",".join(map(str, values))


def shown(net: Layered) -> Layered:
    """The part of a network that its picture shows."""
    return net if max(net.widths) <= NODES else tk.crop(net, [min(width, NODES) for width in net.widths])


def picture(net: Layered) -> str:
    """A network drawn as SVG."""
    figure = tk.draw(shown(net), style="edges" if max(net.widths) <= LINES else "pattern")
    with TemporaryDirectory() as folder:
        path = Path(folder, "picture.svg")
        tk.save_figure(figure, path)
        return path.read_text("utf-8")


def layer_rows(net: Layered) -> list[tuple[str, ...]]:
    """A row for each of the first edge layers: shape, edges, density, degrees, structure."""
    rows = []
    measured = zip(pairwise(net.widths), net.layer_edges, degrees(net), structures(net), strict=True)
    for i, ((sources, targets), edges, sides, found) in zip(range(LAYERS), measured, strict=False):
        spans = ["..".join(map(str, sorted({min(ends), max(ends)}))) for ends in sides.distribution]
        share = f"{edges / (sources * targets):.4g}"
        rows.append((str(i), f"{sources} × {targets}", f"{edges:,}", share, *spans, prose(str(found))))
    return rows


def proved(net: Spec) -> str:
    """What the checks say of a network, as a table and the witnesses."""
    report = tk.verify(net)
    rows = [
        (one.check, "yes" if one.check in report.required else "no", one.verdict.value, one.method, prose(one.reason))
        for one in report.results
    ]
    found = [f"- Witness of {one.check}: `{json.dumps(one.witness)}`" for one in report.results if one.witness]
    parts = [table(("check", "promised", "verdict", "method", "reason"), rows), "\n".join(found)]
    return "\n\n".join(filter(None, parts))


def options(family: type[Spec], args: str) -> str:
    """A family's options: the table of its flags, and what the docstring says of each field."""
    rows, given = [], dict(items(args))
    for name, field in options_of(family).items():
        default = {dataclasses.MISSING: "required", None: "none"}.get(field.default) or comma(field.default)
        takes = KINDS.get(field.metadata["kind"]) or ", ".join(f"`{one}`" for one in field.metadata["choices"])
        if field.metadata["kind"] == "numbers" and "a whole number for" in given.get(name, ""):
            takes = WHOLE
        rows.append((f"`{flag_of(name)}`", takes, default, prose(field.metadata["help"])))
    meanings = [f"- `{name}`: {prose(text)}" for name, text in given.items()]
    flags = table(("option", "takes", "default", "meaning"), rows)
    return f"{flags}\n\nIn full, by their names in Python:\n\n" + "\n".join(meanings)


def page(family: type[Spec], code: str, net: Spec) -> str:
    """The page of one family."""
    text = sections(family.__doc__ or "")
    source = family.__module__.replace(".", "/") + ".py"
    head = ("layer", "sources × targets", "edges", "density", "out-degree", "in-degree", "structure")
    partly = "" if shown(net) is net else f"\n\n*Of each layer, the picture shows the first {NODES} nodes.*"
    rest = "" if len(net) <= LAYERS else f"\n\nThese are the first {LAYERS} of {len(net)} layers."
    notes = "".join(f"\n\nNote: {prose(note)}." for note in net.notes)
    twin = ""
    if family.name in RANDOM_EQUIVALENTS:
        made = cleandoc(family.equivalent_to.__doc__).partition("\n\n")[0]  # type: ignore[attr-defined]
        twin = f"\n\nAs `--random-equivalent {family.name}` of another network `net`: {prose(made)}"
    errors = "; ".join(f"`{name}`: {prose(what)}" for name, what in items(text["Raises"]))
    parts = [
        f"<!-- Made by docs/make_families.py from {source}: change that file and run it again. -->",
        f"# {family.name}",
        prose(text[""]),
        f"![{net.summary()}](images/{family.name}.svg){partly}",
        "## Proof",
        prose(text["Proof"]),
        "## Example",
        "```sh\n" + "\n".join(commands(net)) + "\n```",
        "The same in Python:",
        f"```pycon\n{code}\n```",
        f"It is {net.summary()}, with the fingerprint `{tk.fingerprint(net)}`.{notes}",
        table(head, layer_rows(net)) + rest,
        "What the checks say of it:",
        proved(net),
        "## Options",
        options(family, text["Args"]) + twin,
        f"Raises {errors}",
        "## Cost and source",
        f"Cost of a layer: {prose(text['Cost of a layer'])}",
        f"Source: {prose(text['Source'])}",
        f"Code: [{source}](../../{source})",
    ]
    return "\n\n".join(parts) + "\n"
