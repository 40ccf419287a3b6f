"""`topokit sweep`: train a grid of networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from topokit_cli import render
from topokit_cli.options import Command, OnceEach, json_option, quiet
from topokit_cli.paths import FOLDER, OUTPUT_FOLDER

if TYPE_CHECKING:
    from topokit_train.sweeps.summary import Summary

RUNNING = (
    click.option(
        "--workers", type=click.IntRange(1, 1024), metavar="N", help="Number of worker processes [one for each core]."
    ),
    click.option(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler, instead of --workers, such as tcp://host:8786."
    ),
    click.option("--retry", is_flag=True, help="Repetition of the failed runs, from their last checkpoints."),
    click.option(
        "--known",
        type=FOLDER,
        multiple=True,
        help="Folder of the tables of another sweep, whose finished runs are not repeated; repeatable.",
    ),
    click.option("--data-dir", type=FOLDER, help="Folder of the datasets' files [TOPOKIT_DATA_DIR]."),
    click.option("--device", default="auto", show_default=True, help="Device: cpu, cuda, mps, or auto."),
    click.option(
        "--threads",
        type=click.IntRange(1),
        metavar="N",
        help="CPU threads of each process [1 if there are several processes].",
    ),
)
"""The options for workers, devices and data; `how_to_run` reads them."""


def running_options(command: Command) -> Command:
    """Add the options of RUNNING."""
    for option in reversed(RUNNING):
        command = option(command)
    return command


def how_to_run(values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `sweep` that the options of RUNNING give."""
    from topokit.executors import cores

    if values["workers"] and values["scheduler"]:
        raise click.UsageError("give --workers or --scheduler, not both")
    return values | {"workers": values["workers"] or (1 if values["scheduler"] else cores())}


@click.command("sweep", cls=OnceEach)
@click.argument("grid", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=OUTPUT_FOLDER, help="Folder of the runs and tables [named after the grid].")
@running_options
@click.option("--status", is_flag=True, help="Progress as output; no run starts and no file is written.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    grid: Path,
    out: Path | None,
    status: bool,
    as_json: bool,
    **running: Any,
) -> None:
    """Train all networks of a grid and write tables of their results.

    A grid is a TOML file; docs/sweeps.md explains it. The same command continues an
    interrupted sweep. It never repeats finished runs, even if the grid has changed. The exit code is 0 if all runs are
    finished, and 1 otherwise.

    \b
    [[runs]]
    label = "radix"
    topology = { radices = [[10, 10]], kron = [8, 3, 1], crop = [784, 300, 100] }
    each.seed = "0-4"

    \b
    topokit sweep grid.toml
    topokit sweep grid.toml --status
    """  # noqa: D301 (click wants the control character)
    from topokit_train.sweeps.sweep import sweep

    if status and running["retry"]:
        raise click.UsageError("--status runs nothing: omit --retry")
    place = out or Path(grid.stem)
    found = sweep(grid, place, status=status, quiet=quiet(), **how_to_run(running))
    if as_json:
        render.as_json({"out": str(place), **found.to_json()})
    else:
        show(found)
    ctx.exit(0 if found.complete else 1)


def show(found: Summary) -> None:
    """Print a row for each group of runs that differ in their seeds, then the failures."""
    click.echo(found)
    if found.troubles:
        click.echo("--retry does the failed runs once more\n")
    click.echo(f"{found.title}; their tables are in {found.tables}" if found.tables else found.title)
