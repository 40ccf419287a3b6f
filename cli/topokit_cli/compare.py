"""`topokit compare`: networks compared with each other and with random networks."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from topokit.families import RANDOM_EQUIVALENTS
from topokit_cli import render
from topokit_cli.options import TOPOLOGY, OnceEach, json_option, was_given

if TYPE_CHECKING:
    from topokit.comparison import AgainstTwins
    from topokit.descriptions import Description
    from topokit.layered import Layered

TWINS = 20
"""Random networks for a single topology by default."""

HEAD = ("measure", "value", "twins' mean", "sd", "z", "rank p", "adjusted p", "verdict")


@click.command("compare", cls=OnceEach)
@click.argument("files", metavar="TOPOLOGY...", type=TOPOLOGY, nargs=-1, required=True)
@click.option(
    "--twins",
    type=click.IntRange(min=2),
    help=f"Number of random networks to compare each one with [{TWINS} for one topology, none for several].",
)
@click.option(
    "--kind",
    type=click.Choice(RANDOM_EQUIVALENTS),
    default="regular",
    help="Kind of random network: with every node's degrees, each layer's edges, or each layer's density [regular].",
)
@click.option(
    "--topology-seed", "seed", type=click.IntRange(min=0), default=0, help="Seed of the first random network [0]."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, files: tuple[Description, ...], twins: int | None, kind: str, seed: int, as_json: bool
) -> None:
    """Compare networks with each other, and each with random networks: structure or chance?

    \b
    topokit compare pruned.safetensors                  with 20 random networks that have its degrees
    topokit compare radix.safetensors twin.safetensors  with each other

    Random network number j is 'TOPOLOGY random-equivalent=KIND seed=SEED+j'. A measure is called structure
    if a random network would differ as much with a probability of at most .05, after Holm's correction for the
    number of measures. docs/measures.md explains it.
    """  # noqa: D301 (click wants the control character)
    from topokit.comparison import measured

    wanted = twins or (TWINS if len(files) == 1 else 0)
    for name, flag in (("kind", "--kind"), ("seed", "--topology-seed")):
        if not wanted and was_given(ctx, name):
            raise click.UsageError(f"{flag} is of twins, and several files have none unless you give --twins")
    networks, widths = [], []
    for file in files:
        net = file.open()
        render.notes(net, str(file) if len(files) > 1 else None)
        found = measured(net)
        about = {
            **render.describe(net, str(file), None),
            "values": found.scalars(),
            "skipped": dict(found.skipped),
            "against_twins": _against(net, _name(file), wanted, kind, seed) if wanted else None,
        }
        networks.append({key: value for key, value in about.items() if key != "fingerprint"})
        widths.append(render.widths(net))
    if as_json:
        render.as_json({"networks": networks})
    else:
        _print(networks, widths)


def _against(net: Layered, name: str, twins: int, kind: str, seed: int) -> dict[str, Any]:
    from topokit import comparison

    with click.progressbar(length=twins, label=f"{name}: {twins} twins", file=sys.stderr) as bar:
        found: AgainstTwins = comparison.compare(net, twins=twins, kind=kind, seed=seed, each=lambda: bar.update(1))
    comparisons = {label: asdict(one) for label, one in found.comparisons.items()}
    return {
        "kind": found.kind,
        "seeds": list(found.seeds),
        "comparisons": comparisons,
        "skipped": dict(found.skipped),
    }


def _name(file: Description) -> str:
    return Path(file.name).name if file.is_file else str(file)


def _print(networks: list[dict[str, Any]], widths: list[str]) -> None:
    if len(networks) > 1:
        _print_beside(networks, widths)
    for network, shown in zip(networks, widths, strict=True):
        if network["against_twins"]:
            if len(networks) > 1:
                click.echo()
            _print_twins(f"{network['file']} ({shown}, {network['edges']:,} edges)", **network["against_twins"])


def _print_beside(networks: list[dict[str, Any]], widths: list[str]) -> None:
    labels = list(dict.fromkeys(label for network in networks for label in network["values"]))
    rows = [
        ("widths", *widths),
        ("edges", *(f"{network['edges']:,}" for network in networks)),
        *((label, *(_cell(network["values"], label) for network in networks)) for label in labels),
    ]
    render.grid(["", *(network["file"] for network in networks)], rows, left=[""])
    for network in networks:
        if network["skipped"]:
            click.echo(f"{network['file']}: left out {_reasons(network['skipped'])}")


def _print_twins(
    network: str, kind: str, seeds: list[int], comparisons: dict[str, dict[str, Any]], skipped: dict[str, str]
) -> None:
    click.echo(f"{network} against {len(seeds)} {kind} twins, seeds {seeds[0]} to {seeds[-1]}")
    keys = ("value", "mean", "sd", "z", "rank_p", "adjusted_p")
    rows = [
        (label, *(render.number(one[key]) for key in keys), one["verdict"] or "-") for label, one in comparisons.items()
    ]
    render.grid(HEAD, rows, left=("measure", "verdict"))
    if any(one["verdict"] == "undecided" for one in comparisons.values()):
        click.echo("undecided: all twins are equal, and so few of them prove nothing; give more --twins")
    if skipped:
        click.echo(f"left out {_reasons(skipped)}")


def _cell(values: dict[str, float | None], label: str) -> str:
    return render.number(values[label]) if label in values else "(left out)"


def _reasons(skipped: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in skipped.items())
