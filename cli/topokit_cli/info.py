"""`topokit info`: a topology's structure and measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from topokit.measures import MEASURES
from topokit_cli import portrait, render
from topokit_cli.options import Describing, json_option, topology_argument

if TYPE_CHECKING:
    from topokit.descriptions import Description


SHOWN = 160
"""Characters of a description in the table, at most; --json has all."""


@click.command("info", cls=Describing)
@topology_argument
@click.option(
    "--measure",
    "names",
    multiple=True,
    type=click.Choice(list(MEASURES)),
    metavar="NAME",
    help=f"Only measure to take, however long it takes; repeatable. One of {', '.join(MEASURES)} [all that are fast].",
)
@click.option("--fingerprint", "wanted", is_flag=True, help="Fingerprint of a topology that is not in a file.")
@json_option
def command(source: Description, names: tuple[str, ...], wanted: bool, as_json: bool) -> None:
    """Show a topology's structure and measures: density, dead units, paths, equivalent nodes, spectra, cost.

    A measure that would take more than about five seconds is skipped unless --measure names it.
    docs/measures.md defines each.
    """
    from topokit.profiles import SECONDS, profile
    from topokit.topologies import Topology, fingerprint

    net = source.open()
    render.notes(net)
    about = render.describe(net, source.file, fingerprint(net) if wanted or isinstance(net, Topology) else None)
    found = profile(net, names or None, seconds=float("inf") if names else SECONDS)
    described = render.description(net)
    if as_json:
        structure = found.measures.get("structure", {"layers": None})["layers"]
        about |= {"topology": str(source), "description": described}
        render.as_json({**about, "structure": structure, "measures": found.measures, "skipped": found.skipped})
        return
    render.table(
        [
            ("file" if source.file else "topology", str(source)),
            ("family", about["family"] or "(unknown)"),
            *([("description", _cut(described))] if described else []),
            ("widths", render.widths(net)),
            ("edges", f"{net.edges:,}, density {about['density']:.6g}, sparsity {about['sparsity']:.6g}"),
            *portrait.network_lines(net, found),
            ("fingerprint", about["fingerprint"] or "(ask with --fingerprint)"),
            ("promises", ", ".join(sorted(net.promises.names))),
        ]
    )
    click.echo()
    portrait.print_layers(net, found)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
