"""`topokit fit`: propose RadiX-Nets for wanted widths and a wanted density."""

from __future__ import annotations

import click

from topokit_cli import render
from topokit_cli.options import INTS, OnceEach, json_option


@click.command("fit", cls=OnceEach)
@click.argument("target", nargs=-1)
@click.option("--widths", type=INTS, help="Width of each node layer.")
@click.option("--density", metavar="X", help="Density of the whole network, such as 0.05 or 1/20.")
@click.option(
    "--tolerance", metavar="X", default="0.1", show_default=True, help="Largest relative difference from the density."
)
@click.option("--limit", type=int, default=10, show_default=True, help="Largest number of candidates to print.")
@json_option
def command(
    target: tuple[str, ...],
    widths: tuple[int, ...] | None,
    density: str | None,
    tolerance: str,
    limit: int,
    as_json: bool,
) -> None:
    """Propose RadiX-Nets for given widths and density, the best first.

    \b
    topokit fit --widths 784,300,100 --density 0.05
    topokit fit "784-300-100 at 95 %"                   the same: 95 % sparse

    Columns of the table: radices of each mixed radix system, with | between two systems; off, the relative difference
    from the density; the least and the greatest density of a layer; cropped, the node layers that are larger than
    their widths and cropped to them (ends: only inputs or outputs; inside: hidden layers too; no: none); paths from an
    input to an output. The next columns show the damage of the crop: pairs of an input and an output without a path,
    dead units, and in-degrees of the outputs. A candidate
    is called strange if such a pair has no path or if an output has at most two edges; such networks often train badly.
    With two widths a pair without a path is an absent edge, which makes no candidate strange.
    """  # noqa: D301 (click wants the control character)
    from topokit.fitting import fit

    if target and (widths is not None or density is not None):
        raise click.UsageError("give a target or --widths and --density, not both")
    if not target and (widths is None or density is None):
        raise click.UsageError("give --widths and --density, or a target such as '784-300-100 at 95 %'")
    with render.progress(limit) as progress:
        wanted = " ".join(target) if target else widths or ()
        found = fit(wanted, density, tolerance=tolerance, limit=limit, progress=progress)
    if as_json:
        about = {"widths": list(found[0].net.widths), "density": float(found[0].wanted)}
        render.as_json({**about, "candidates": found.records()})
    else:
        click.echo(found)
