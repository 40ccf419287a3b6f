"""`topokit build`: make a topology and save it."""

from __future__ import annotations

from pathlib import Path

import click

from topokit_cli import render
from topokit_cli.options import OUTPUT, OnceEach, force_option, json_option, topology_options
from topokit_cli.source import TopologySource


@click.command("build", cls=OnceEach)
@topology_options(seed_flags=("--seed", "--topology-seed"))
@click.option("-o", "--output", type=OUTPUT, help="File to write; named after the topology where left out.")
@force_option
@json_option
def command(source: TopologySource, output: Path | None, force: bool, as_json: bool) -> None:
    """Build a topology and save it.

    \b
    topokit build --radices 2,2,2 --kron 10,10
    topokit build --radices 10,10 --kron 8,3,1 --crop 784,300,100 -o radix.safetensors
    topokit build --random-equivalent regular --like radix.safetensors --seed 0 -o twin.safetensors
    """  # noqa: D301 (click wants the control character)
    from topokit.formats import save

    net = source.open()
    path = output or Path(f"{net.slug if hasattr(net, 'slug') else source.random_equivalent}.safetensors")
    fingerprint = save(net, path, force=force)
    render.notes(net)
    about = render.describe(net, path, fingerprint)
    if as_json:
        render.as_json(about)
        return
    render.table(render.summary(net, about))
