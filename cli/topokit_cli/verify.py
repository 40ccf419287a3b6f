"""`topokit verify`: verify the promised properties of a topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from topokit.checks import CHECKS, METHODS
from topokit_cli import render
from topokit_cli.options import Describing, json_option, topology_argument
from topokit_cli.paths import typed

if TYPE_CHECKING:
    from topokit.descriptions import Description

EXIT_CODES = {"holds": 0, "fails": 3, "undecided": 4, "not promised": 4}
_WORST = (0, 4, 3)  # of several chains


@click.command("verify", cls=Describing)
@topology_argument
@click.option(
    "--check", "names", multiple=True, type=click.Choice(list(CHECKS)), help="Check to run; repeatable [all checks]."
)
@click.option(
    "--require",
    multiple=True,
    type=click.Choice(list(CHECKS)),
    help="Check that must hold; repeatable [the promised checks].",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    help="Method for path symmetry: exact, random probes with an error bound, or the faster of the two [auto].",
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Number of worker processes."
)
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, instead of --workers, such as tcp://host:8786.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: Description,
    names: tuple[str, ...],
    require: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Verify the properties that a topology promises.

    The exit code is 0 if all required checks hold, 3 if one fails, and 4 if none fails but one is undecided or not
    promised.

    The required checks are those that --require or --check names. Without these options, they are the checks that the
    recipe of the topology promises; a topology without a recipe promises only soundness.

    With --workers or --scheduler, other processes compute and check the layers of a description. The layers of a file
    are always read by this process.
    """
    from topokit.checks import verify

    nets = source.open_chains()
    render.notes(*nets)
    found, code = [], 0
    for i, net in enumerate(nets):
        with render.progress(len(net)) as progress, render.warnings():
            report = verify(net, names or None, require=require or None, progress=progress, **how)
        computed = next(
            (result.values["fingerprint"] for result in report.results if result.check == "soundness"), None
        )
        found.append({"file": source.file, "topology": str(source), "fingerprint": computed, **report.to_json()})
        code = max(code, EXIT_CODES[report.verdict.value], key=_WORST.index)
        if not as_json:
            chain = f", chain {i} ({', '.join(net.names)})" if len(nets) > 1 else ""
            click.echo(f"{typed(str(source))}{chain}: {net.summary()}")
            click.echo(str(report))
    if as_json:
        render.as_json(found[0] if len(nets) == 1 else {"file": source.file, "chains": found})
    ctx.exit(code)
