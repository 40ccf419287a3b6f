"""`topokit info`: a topology's structure and measures."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from topokit.formats import read_joints
from topokit.measures import MEASURES
from topokit_cli import render
from topokit_cli.options import Describing, json_option, topology_argument

if TYPE_CHECKING:
    from topokit.descriptions import Description
    from topokit.layered import Layered
    from topokit.profiles import Profile

SHOWN = 160
"""Characters of a description in the table, at most; --json has all."""

COLUMNS = 12
"""Columns of a table, without the numbers of the layers."""


@click.command("info", cls=Describing)
@topology_argument
@click.option(
    "--measure",
    "names",
    multiple=True,
    type=click.Choice(list(MEASURES)),
    metavar="NAME",
    help=f"Measure to compute, even if it is slow; repeatable. One of {', '.join(MEASURES)} [all fast measures].",
)
@click.option(
    "--fingerprint", "wanted", is_flag=True, help="Fingerprint of the topology even if it is given as a description."
)
@json_option
def command(source: Description, names: tuple[str, ...], wanted: bool, as_json: bool) -> None:
    """Show a topology's structure and measures: density, dead units, paths, equivalent nodes, spectra, cost.

    A measure that would take more than about five seconds is skipped unless --measure names it.
    docs/measures.md defines all measures.
    """
    nets = source.open_chains()
    render.notes(*nets)
    if len(nets) == 1:
        about = _described(source, nets[0], names, wanted, as_json)
        if as_json:
            render.as_json(about)
        return
    found = []
    for i, net in enumerate(nets):
        if not as_json:
            click.echo(f"{'' if i == 0 else chr(10)}chain {i}: {', '.join(net.names)}")
        found.append(_described(source, net, names, wanted, as_json))
    joints = read_joints(str(source.file))
    if joints is None:
        render.LOGGER.info(
            "how the chains are connected is not recorded; in a run, masks are chained by their shapes alone"
        )
    if as_json:
        render.as_json({"file": source.file, "chains": found, "joints": joints})
    for joint in () if as_json else joints or ():
        click.echo(render.joint(joint))


def _described(
    source: Description, net: Layered, names: tuple[str, ...], wanted: bool, as_json: bool
) -> dict[str, Any]:
    """Print the structure and measures of a topology, unless `as_json`, and return them."""
    from topokit.profiles import SECONDS, profile
    from topokit.topologies import Topology, fingerprint

    about = render.describe(net, source.file, fingerprint(net) if wanted or isinstance(net, Topology) else None)
    found = profile(net, names or None, seconds=float("inf") if names else SECONDS)
    described = render.description(net) or ""
    if as_json:
        structure = found.measures.get("structure", {"layers": None})["layers"]
        about |= {"topology": str(source), "description": described or None}
        return {**about, "structure": structure, "measures": found.measures, "skipped": found.skipped}
    shown = described if len(described) <= SHOWN else f"{described[: SHOWN - 3]}..."
    lines = [MEASURES[name].lines(name, values) for name, values in found.measures.items()]
    render.table(
        [
            ("file" if source.file else "topology", str(source)),
            ("family", about["family"] or "(unknown)"),
            *([("description", shown)] if shown else []),
            ("widths", render.widths(net)),
            ("edges", f"{net.edges:,}, density {about['density']:.6g}, sparsity {about['sparsity']:.6g}"),
            *(line for part in lines for line in part.items()),
            *(("skipped", f"{name}: {why} (--measure {name} takes it)") for name, why in found.skipped.items()),
            ("fingerprint", about["fingerprint"] or "(use --fingerprint)"),
            ("promises", ", ".join(sorted(net.promises.names))),
        ]
    )
    _print_layers(found)
    return about


def _print_layers(found: Profile) -> None:
    """Print a line for each edge layer; neighbours of equal cells share one. Many columns make several tables."""
    head, *rows = found.rows()
    merged = []
    for cells, same in groupby(enumerate(rows), key=lambda row: row[1][1:]):
        first, *_, last = 2 * [i for i, _ in same]
        merged.append([str(first) if first == last else f"{first}..{last}", *cells])
    numbers, *columns = zip(head, *merged, strict=True)
    for low in range(0, len(columns), COLUMNS):
        click.echo()
        heads, *lines = zip(numbers, *columns[low : low + COLUMNS], strict=True)
        render.grid(heads, lines, left=("layer", "classes", "structure"))
