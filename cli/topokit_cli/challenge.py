"""`topokit challenge`: the Sparse DNN Graph Challenge's inference on a topology."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from topokit_cli import render
from topokit_cli.options import Describing, json_option, topology_argument
from topokit_cli.paths import FILE, FOLDER

if TYPE_CHECKING:
    from topokit.descriptions import Description

ENGINES = ("graphblas", "fast")

SHOWN = 5000
"""How many categories --json prints, at most."""

LINE = 20
"""How many of them the printed table has, at most."""

FEW = 5
"""How many of the rows that are missing or too many are named, at most."""


@click.command("challenge", cls=Describing)
@topology_argument
@click.option(
    "--images",
    required=True,
    metavar="FILE|mnist",
    help="Images: a .tsv or .mtx file, or mnist for resized MNIST images.",
)
@click.option("--data-dir", type=FOLDER, help="Folder of the MNIST files [TOPOKIT_DATA_DIR].")
@click.option("--categories", type=FILE, help="File of the expected categories: .tsv or .mtx.")
@click.option(
    "--engine", type=click.Choice(ENGINES), default="graphblas", help="Inference engine; fast needs torch [graphblas]."
)
@click.option("--device", help="Device of the fast engine, such as cuda or cuda:1 [cpu].")
@click.option("--bias", type=float, help="Bias of every neuron [the official one for this width].")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: Description,
    categories: Path | None,
    engine: str,
    as_json: bool,
    **inference: Any,
) -> None:
    """Run the inference of the Sparse DNN Graph Challenge on a topology and print the categories.

    The categories are the numbers of the images for which an output is not 0. The weight of every edge is 1/16. The
    exit code is 3 if the categories differ from those in --categories.
    """
    from topokit.formats import read_categories
    from topokit_train.graph_challenge import challenge

    net = source.open()
    render.notes(net)
    found = challenge(net, engine=engine, **inference)
    expected = None if categories is None else read_categories(categories, found.rows)
    survivors = found.categories.tolist()
    wanted = None if expected is None else expected.tolist()
    matches = None if wanted is None else survivors == wanted
    about = {
        "engine": engine,
        "rows": found.rows,
        "edges": found.edges,
        "survivors": len(survivors),
        "categories": survivors if len(survivors) <= SHOWN else None,
        "categories_match": matches,
        "categories_missing": None if wanted is None else _without(wanted, survivors),
        "categories_extra": None if wanted is None else _without(survivors, wanted),
        "seconds": found.seconds,
        "edges_per_second": found.edges_per_second,
    }
    if as_json:
        render.as_json(about)
    else:
        _print(about, survivors)
    ctx.exit(3 if matches is False else 0)


def _without(rows: list[int], others: list[int]) -> dict[str, Any]:
    """How many rows are not among others, and the first of them."""
    left = sorted({*rows} - {*others})
    return {"count": len(left), "first": left[:FEW]}


def _print(about: dict[str, Any], survivors: list[int]) -> None:
    more = f" and {len(survivors) - LINE:,} more, which --json names up to {SHOWN:,}" if len(survivors) > LINE else ""
    about = dict(about)
    missing, extra = about.pop("categories_missing"), about.pop("categories_extra")
    matches = "not compared: give --categories"
    if about["categories_match"] is not None:
        matches = "yes" if about["categories_match"] else f"no: {_some('missing', missing)}, {_some('extra', extra)}"
    shown = {
        "categories": (" ".join(map(str, survivors[:LINE])) or "(none)") + more,
        "categories_match": matches,
    }
    render.table([(name.replace("_", " "), shown.get(name) or _shown(value)) for name, value in about.items()])


def _some(what: str, rows: dict[str, Any]) -> str:
    first = " ".join(map(str, rows["first"])) + (" ..." if rows["count"] > FEW else "")
    return f"{rows['count']:,} {what}" + (f" ({first})" if first else "")


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
