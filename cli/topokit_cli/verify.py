"""`topokit verify`: prove what a topology promises."""

from __future__ import annotations

import click

from topokit_cli import render
from topokit_cli.options import OnceEach, json_option, topology_argument
from topokit_cli.source import TopologySource

EXIT_CODES = {"holds": 0, "fails": 3, "undecided": 4}
CHECKS = ("soundness", "connectivity", "path-symmetry", "regularity", "density")


@click.command("verify", cls=OnceEach)
@topology_argument
@click.option("--check", "names", multiple=True, type=click.Choice(CHECKS), help="Run only this check; repeatable.")
@click.option("--require", multiple=True, type=click.Choice(CHECKS), help="This check must hold; repeatable.")
@click.option(
    "--method",
    type=click.Choice(["auto", "exact", "probe"]),
    default="auto",
    help="How path symmetry is proved: exactly, by random probes with an error bound, or as it costs least.",
)
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that look at the layers.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do, such as tcp://host:8786.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    source: TopologySource,
    names: tuple[str, ...],
    require: tuple[str, ...],
    method: str,
    workers: int,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Prove what a topology promises: exit 0 if it holds, 3 if it fails, 4 if it is undecided.

    All checks are run. Required are those that the topology's recipe promises (soundness where there is
    no recipe), or those that --require or --check name.

    With --workers or --scheduler the layers of a topology that is given by options are made and looked at
    elsewhere, each alone; a file's layers are here already.
    """
    from topokit.checks import verify
    from topokit.executors import opened

    net = source.open()
    render.notes(net)
    with opened(workers, scheduler) as executor, render.progress(len(net)) as progress, render.warnings():
        report = verify(
            net, names or None, require=require or None, method=method, executor=executor, progress=progress
        )
    if as_json:
        computed = next(
            (result.values["fingerprint"] for result in report.results if result.check == "soundness"), None
        )
        file = str(source.file) if source.file else None
        render.as_json({"file": file, "topology": source.label, "fingerprint": computed, **report.to_json()})
    else:
        click.echo(f"{source.label or 'topology'}: {net.summary()}")
        click.echo(str(report))
    ctx.exit(EXIT_CODES[report.verdict.value])
