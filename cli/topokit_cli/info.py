"""`topokit info`: say what a topology is made of."""

from __future__ import annotations

import click

from topokit_cli import render
from topokit_cli.options import json_option, topology_argument
from topokit_cli.source import TopologySource


@click.command("info")
@topology_argument
@click.option(
    "--fingerprint", "wanted", is_flag=True, help="Compute the fingerprint of a topology that is not in a file."
)
@json_option
def command(source: TopologySource, wanted: bool, as_json: bool) -> None:
    """Say what a topology is made of: widths, edges, density, degrees, structure."""
    from topokit.measures.structure import structures
    from topokit.topology import Topology, fingerprint

    net = source.open()
    about = render.describe(net, source.file, fingerprint(net) if wanted or isinstance(net, Topology) else None)
    structure = [str(found) for found in structures(net)]
    if as_json:
        render.as_json({**about, "structure": structure})
        return
    render.table(
        [
            ("file", about["file"] or "(not saved)"),
            ("family", about["family"] or "(unknown)"),
            ("widths", render.widths(net)),
            ("edges", f"{net.edges:,}"),
            ("density", f"{about['density']:.6g}"),
            ("sparsity", f"{about['sparsity']:.6g}"),
            ("fingerprint", about["fingerprint"] or "(ask with --fingerprint)"),
            ("promises", ", ".join(sorted(net.promises.names))),
        ]
    )
    click.echo()
    render.layers(net, structure)
