"""`topokit study`: the runs of a study and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from topokit_cli import render
from topokit_cli.options import OnceEach, force_option, json_option, was_given
from topokit_cli.paths import FOLDER, OUTPUT_FOLDER
from topokit_cli.sweep import how_to_run, running_options, show
from topokit_train.studies import STUDIES


@click.command("study", cls=OnceEach)
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option(
    "--budget",
    default="smoke",
    show_default=True,
    metavar="NAME",
    help="Size of the experiments: smoke, small or full.",
)
@click.option("--out", type=OUTPUT_FOLDER, help="Folder of the runs, tables and report [NAME-BUDGET].")
@click.option(
    "--tables", type=FOLDER, help="Folder of existing tables; the command only writes the report on them to --out."
)
@running_options
@force_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str,
    budget: str,
    out: Path | None,
    tables: Path | None,
    force: bool,
    as_json: bool,
    **running: Any,
) -> None:
    """Run the experiments of a study and write its report.

    The same command continues an interrupted study. The report covers the finished runs and lists the missing ones.
    The exit code is 0 if all runs are finished, and 1 otherwise.

    \b
    topokit study training-behavior                      about a minute, on the embedded digits
    topokit study training-behavior --budget small       some hours on two cores, with MNIST and CIFAR-10
    topokit study training-behavior --tables docs/study/tables --out report
    """  # noqa: D301 (click wants the control character)
    from topokit_train.studies.study import study

    for given in ("budget", *running) if tables else ():
        if was_given(ctx, given):
            raise click.UsageError(f"--tables runs nothing: omit --{given.replace('_', '-')}")
    found, report = study(name, budget=budget, out=out, tables=tables, force=force, **how_to_run(running))
    if found is None:
        about = {"report": str(report)}
    else:
        place = out or Path(f"{name}-{budget}")
        about = {"out": str(place), "report": str(report), **found.to_json()}
        if not as_json:
            show(found)
    if as_json:
        render.as_json(about)
    else:
        click.echo(report)
    ctx.exit(0 if found is None or found.complete else 1)
