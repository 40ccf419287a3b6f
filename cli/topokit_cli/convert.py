"""`topokit convert`: read one format, write another."""

from __future__ import annotations

import click

from topokit.descriptions import Description
from topokit.formats import FORMATS
from topokit_cli import render
from topokit_cli.options import OnceEach, force_option, json_option, topology_argument
from topokit_cli.paths import OUTPUT


@click.command("convert", cls=OnceEach)
@topology_argument
@click.argument("target", type=OUTPUT)
@click.option("--to", type=click.Choice(list(FORMATS)), help="Format of TARGET [by its extension].")
@force_option
@json_option
def command(source: Description, target: str, to: str | None, force: bool, as_json: bool) -> None:
    """Convert TOPOLOGY, a file in any format or a description, to the file TARGET."""
    net = source.open()
    render.notes(net)
    fingerprint = render.saved(net, target, to=to, force=force)
    if net.by_channel:
        render.LOGGER.info(f"{target} holds these edges, and not which weights of a filter are kept")
    if as_json:
        render.as_json(render.describe(net, target, fingerprint))
    else:
        click.echo(f"{target}: {net.summary()}")
