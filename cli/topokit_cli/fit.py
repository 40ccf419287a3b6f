"""`topokit fit`: propose RadiX-Nets for wanted widths and a wanted density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from topokit_cli import render
from topokit_cli.options import INTS, OnceEach, json_option

if TYPE_CHECKING:
    from topokit.fitting.candidate import Candidate


@click.command("fit", cls=OnceEach)
@click.argument("target", nargs=-1)
@click.option("--widths", type=INTS, help="Wanted width of each node layer.")
@click.option("--density", metavar="X", help="Wanted density of the whole network, such as 0.05 or 1/20.")
@click.option(
    "--tolerance",
    metavar="X",
    default="0.1",
    show_default=True,
    help="Relative tolerance of the density.",
)
@click.option("--limit", type=int, default=10, show_default=True, help="Maximal number of candidates.")
@json_option
def command(
    target: tuple[str, ...],
    widths: tuple[int, ...] | None,
    density: str | None,
    tolerance: str,
    limit: int,
    as_json: bool,
) -> None:
    """Propose RadiX-Nets of the wanted widths and density, the best first.

    \b
    topokit fit --widths 784,300,100 --density 0.05
    topokit fit "784-300-100 at 95 %"                   the same: 95 % sparse

    A larger RadiX-Net is cropped to the widths. The damage of the crop is counted: pairs of an input and an output
    without a path, dead units, and the in-degrees of the outputs. A candidate is strange if a pair has no path or
    an output has at most two edges; training of such models often fails.
    """  # noqa: D301 (click wants the control character)
    from topokit.fitting import candidates, chosen, parse_target

    wanted: object = density
    if target:
        if widths is not None or density is not None:
            raise click.UsageError("give a target or --widths and --density, not both")
        widths, wanted = parse_target(" ".join(target))
    if widths is None or wanted is None:
        raise click.UsageError("give --widths and --density, or a target such as '784-300-100 at 95 %'")
    with render.progress(limit) as progress:
        ranked = candidates(widths, wanted, tolerance=tolerance, limit=limit, progress=progress)
    _note(ranked)
    found = chosen(ranked, limit)
    if as_json:
        shown = [{**candidate.to_json(), "build": _build(candidate)} for candidate in found]
        render.as_json({"widths": list(widths), "density": float(found[0].wanted), "candidates": shown})
    else:
        _print(found)


def _note(ranked: list[Candidate]) -> None:
    """Say on stderr, of all that was looked at, that nothing is within the tolerance, or only strange models are."""
    sound = [candidate for candidate in ranked if not candidate.strange]
    if not all(candidate.outside for candidate in sound):
        return
    only_strange = not all(candidate.outside for candidate in ranked)
    nearest = [
        f"{float(min(group, key=lambda candidate: candidate.error).density):.4g}{remark}"
        for group, remark in (([] if only_strange else ranked, ""), (sound, " without strange models"))
        if group
    ]
    what = "only strange models are" if only_strange else "nothing is"
    density = f"; the nearest density is {', '.join(nearest)}" if nearest else ""
    click.echo(f"note: {what} within the tolerance{density}", err=True)


def _print(found: tuple[Candidate, ...]) -> None:
    header = (
        "",
        "density",
        "off",
        "layer densities",
        "cropped",
        "paths",
        "pairs lost",
        "dead units",
        "in-degree",
        "remarks",
    )
    rows = [(str(number), *_cells(candidate)) for number, candidate in enumerate(found, start=1)]
    render.grid(header, rows, left=("remarks",))
    click.echo()
    for number, candidate in enumerate(found, start=1):
        click.echo(f"{_build(candidate)}  # {number}")


def _cells(candidate: Candidate) -> tuple[str, ...]:
    from topokit.reprs import in_words

    layers = candidate.layer_densities
    ends = {0, len(layers)}
    cropped = {*candidate.cropped_layers}
    remarks = ["outside the tolerance"] * candidate.outside + [f"STRANGE: {reason}" for reason in candidate.reasons]
    return (
        f"{float(candidate.density):.4g}",
        _off(float(candidate.density / candidate.wanted - 1)),
        _span([f"{float(density):.3g}" for density in (min(layers), max(layers))]),
        "no" if not cropped else "ends" if cropped <= ends else "inside",
        _span([_known(None if n is None else in_words(n)) for n in (candidate.min_paths, candidate.max_paths)]),
        _known(candidate.disconnected_pairs),
        _known(candidate.dead_units),
        _span([_known(degree) for degree, _ in candidate.output_in_degrees or [(None, 0)]]),
        "; ".join(remarks),
    )


def _off(share: float) -> str:
    """How far a density is off, in tenths of a percent; the first digit of what is less than that, but not 0."""
    return f"{share:+.1%}" if round(share, 3) or not share else f"{100 * share:+.1g}%"


def _build(candidate: Candidate) -> str:
    """The command that builds it, ready to be pasted."""
    options = {**candidate.options}
    systems = options.pop("radices")
    given = [*(("radices", system) for system in systems), *options.items()]
    return " ".join(["topokit build", *(f"--{name} {','.join(map(str, numbers))}" for name, numbers in given)])


def _known(value: object) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _span(values: list[str]) -> str:
    return values[0] if values[0] == values[-1] else f"{values[0]}..{values[-1]}"
