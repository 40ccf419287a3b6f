"""`topokit compare`: networks compared with each other and with random networks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from topokit.families import RANDOM_EQUIVALENTS
from topokit.reprs import cell, counted
from topokit_cli import render
from topokit_cli.options import TOPOLOGY, OnceEach, json_option, was_given

if TYPE_CHECKING:
    from topokit.comparison import Comparison
    from topokit.descriptions import Description
    from topokit.layered import Layered
    from topokit.profiles import Profile

    Network = tuple[Description, Layered, Profile, Comparison | None]

TWINS = 20
"""Random networks for a single topology by default."""


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
    help="Kind of random network. It keeps the degree of every node (regular), the number of edges of each layer "
    "(fixed-fan-in) or the density of each layer (bernoulli) [regular].",
)
@click.option(
    "--topology-seed", "seed", type=click.IntRange(min=0), default=0, help="Seed of the first random network [0]."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, files: tuple[Description, ...], twins: int | None, kind: str, seed: int, as_json: bool
) -> None:
    """Compare topologies with each other and with random networks.

    \b
    topokit compare pruned.safetensors                  with 20 random networks that have its degrees
    topokit compare radix.safetensors random.safetensors  with each other

    A file of several chains is compared chain by chain.

    Random network j has the description 'TOPOLOGY random-equivalent=KIND seed=SEED+j'. The verdict on a measure
    is structure if its value differs significantly from the values of the random networks: at the 5 % level, after
    Holm's correction for the number of measures. docs/measures.md explains the verdicts.
    """  # noqa: D301 (click wants the control character)
    from topokit.comparison import compare, measured

    wanted = twins or (TWINS if len(files) == 1 else 0)
    for name, flag in (("kind", "--kind"), ("seed", "--topology-seed")):
        if not wanted and was_given(ctx, name):
            raise click.UsageError(f"{flag} needs --twins: several topologies have no random networks by default")
    networks: list[Network] = []
    for file, net in chain.from_iterable([_chains(file, len(files) > 1) for file in files]):
        found, against = measured(net), None
        if wanted:
            label = f"{Path(file.name).name if file.is_file else file}: {wanted} random networks"
            with click.progressbar(length=wanted, label=label, file=sys.stderr) as bar:
                against = compare(net, twins=wanted, kind=kind, seed=seed, each=partial(bar.update, 1))
        networks.append((file, net, found, against))
    if as_json:
        render.as_json({"networks": [_as_json(*network) for network in networks]})
        return
    if len(files) > 1:
        _print_beside(networks)
    for file, net, _, against in networks:
        if against:
            size = f"{render.widths(net)}, {counted(net.edges, 'edge')}"
            start = "\n" * (len(networks) > 1) + f"{file} ({size})"
            if net.edges == net.possible_edges:
                click.echo(f"{start} has all edges, as every random equivalent of it has: there is nothing to compare")
            else:
                click.echo(f"{start} and {against.title}")
                _print(against)


def _chains(file: Description, beside: bool) -> list[tuple[Description, Layered]]:
    """The topology of each chain of a file, and its description; notes name the file if it is beside others."""
    from topokit.formats import chain_key

    nets = file.open_chains()
    render.notes(*nets, file=str(file) if beside else None)
    return [(file if len(nets) == 1 else replace(file, chain=chain_key(nets, i)), net) for i, net in enumerate(nets)]


def _as_json(file: Description, net: Layered, found: Profile, against: Comparison | None) -> dict[str, object]:
    about = render.describe(net, str(file), None)
    del about["fingerprint"]
    about |= {"values": found.scalars(), "skipped": found.skipped}
    return {**about, "against_twins": asdict(against) if against else None}


def _print_beside(networks: list[Network]) -> None:
    values = [found.scalars() for _, _, found, _ in networks]
    labels = dict.fromkeys(chain(*values))
    rows = [
        ("widths", *(render.widths(net) for _, net, _, _ in networks)),
        ("edges", *(f"{net.edges:,}" for _, net, _, _ in networks)),
        *((label, *(cell(one.get(label, "(skipped)")) for one in values)) for label in labels),
    ]
    render.grid(["", *(str(file) for file, *_ in networks)], rows, left=[""])
    for file, _, found, _ in networks:
        _print_skipped(f"{file}: ", found.skipped)


def _print(against: Comparison) -> None:
    head, *rows = against.rows()
    render.grid(head, rows, left=("measure", "verdict"))
    if against.note:
        click.echo(against.note)
    if any(score.verdict == "undecided" for score in against.comparisons.values()):
        click.echo("undecided: all random networks are equal, and so few of them prove nothing: use more --twins")
    _print_skipped("", against.skipped)


def _print_skipped(of: str, skipped: Mapping[str, str]) -> None:
    if skipped:
        click.echo(f"{of}skipped {'; '.join(f'{name}: {why}' for name, why in skipped.items())}")
