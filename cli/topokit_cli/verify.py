"""`topokit verify`: prove what a topology promises."""

from __future__ import annotations

import click

from topokit_cli import render
from topokit_cli.options import json_option, topology_argument
from topokit_cli.source import TopologySource

EXIT_CODES = {"holds": 0, "fails": 3, "undecided": 4}
CHECKS = ("soundness", "connectivity", "path-symmetry", "regularity", "density")


@click.command("verify")
@topology_argument
@click.option("--check", "names", multiple=True, type=click.Choice(CHECKS), help="Run only this check; repeatable.")
@click.option("--require", multiple=True, type=click.Choice(CHECKS), help="This check must hold; repeatable.")
@click.option(
    "--method",
    type=click.Choice(["auto", "exact", "probe"]),
    default="auto",
    help="How path symmetry is proved: exactly, by random probes with an error bound, or as it costs least.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    source: TopologySource,
    names: tuple[str, ...],
    require: tuple[str, ...],
    method: str,
    as_json: bool,
) -> None:
    """Prove what a topology promises: exit 0 if it holds, 3 if it fails, 4 if it is undecided.

    All checks are run. Required are those that the topology's recipe promises (soundness where there is
    no recipe), or those that --require or --check name.
    """
    from topokit.checks import run_checks

    net = source.open()
    report = run_checks(net, names or None, require=require or None, method=method)
    if as_json:
        computed = next(
            (result.values["fingerprint"] for result in report.results if result.check == "soundness"), None
        )
        render.as_json({"file": str(source.file) if source.file else None, "fingerprint": computed, **report.to_json()})
    else:
        click.echo(f"{source.file or 'topology'}: {net.summary()}")
        click.echo(str(report))
    ctx.exit(EXIT_CODES[report.verdict.value])
