"""`topokit convert`: read one format, write another."""

from __future__ import annotations

from pathlib import Path

import click

from topokit_cli import render
from topokit_cli.options import FILE, OUTPUT, OnceEach, force_option, json_option


@click.command("convert", cls=OnceEach)
@click.argument("source", type=FILE)
@click.argument("target", type=OUTPUT)
@click.option(
    "--to", type=click.Choice(["safetensors", "npz", "matrix-market", "tsv", "graphml"]), help="Format to write."
)
@force_option
@json_option
def command(source: Path, target: Path, to: str | None, force: bool, as_json: bool) -> None:
    """Read the topology in SOURCE, whatever its format, and write it to TARGET.

    Where --to is left out, TARGET's suffix says the format.
    """
    from topokit.formats import load, save

    net = load(source)
    render.notes(net)
    fingerprint = save(net, target, to=to, force=force)
    if net.by_channel:
        click.echo(f"note: {target} holds these edges, and not which weights of a filter are kept", err=True)
    if as_json:
        render.as_json(render.describe(net, target, fingerprint))
    else:
        click.echo(f"{target}: {net.summary()}")
