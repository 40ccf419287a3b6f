"""`topokit study`: the runs of a study and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from topokit_cli import render
from topokit_cli.options import OUTPUT, OnceEach, force_option, json_option, was_given
from topokit_cli.sweep import TABLES, how_to_run, running_options, show
from topokit_train.studies import STUDIES


@click.command("study", cls=OnceEach)
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option("--budget", default="smoke", show_default=True, metavar="NAME", help="Budget: smoke, small or full.")
@click.option("--out", type=OUTPUT, help="Folder of the runs, tables and report [NAME-BUDGET].")
@click.option("--tables", type=TABLES, help="Tables to report on into --out, without any run.")
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
    """Run a study's experiments and write the report on them.

    The same command continues an interrupted study. The report covers the finished runs and lists the missing ones.
    Exit 0 if all runs are finished, 1 if some are not.

    \b
    topokit study training-behavior                      about a minute, on the embedded digits
    topokit study training-behavior --budget small       some hours on two cores, with MNIST and CIFAR-10
    topokit study training-behavior --tables docs/study/tables --out report
    """  # noqa: D301 (click wants the control character)
    study = STUDIES[name]
    if tables:
        if out is None:
            raise click.UsageError("--tables needs --out, the folder of the report")
        for given in ("budget", *running):
            if was_given(ctx, given):
                raise click.UsageError(f"--tables runs nothing: omit --{given.replace('_', '-')}")
        report = study.write_report(tables, out, force=force)
        render.as_json({"report": str(report)}) if as_json else click.echo(report)
        return
    where, how = how_to_run(running)
    place = out or Path(f"{name}-{budget}")
    found = study.run(budget, place, where=where, **how)
    report = study.write_report(place / "tables", place, force=True)  # of this folder's own runs
    if as_json:
        render.as_json({"out": str(place), "report": str(report), **found.to_json()})
    else:
        show(found, place)
        click.echo(report)
    ctx.exit(0 if found.complete else 1)
