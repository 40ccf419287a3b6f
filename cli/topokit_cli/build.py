"""`topokit build`: make a topology and save it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from topokit import descriptions
from topokit.descriptions.description import AROUND, FAMILY, Description, fields_of
from topokit.families import FAMILIES
from topokit_cli import render
from topokit_cli.options import Command, OnceEach, force_option, json_option, option_of
from topokit_cli.paths import OUTPUT

SEED_FLAGS = ("--seed", "--topology-seed")


def graph_options(command: Command) -> Command:
    """Add the option --family, those of all families, and those of what may follow."""
    for key in reversed(AROUND):
        if key == "seed":
            command = click.option(*SEED_FLAGS, "topology_seed", type=int, help=AROUND[key].metadata["help"])(command)
        else:
            command = option_of(key, AROUND[key].metadata)(command)
    helps: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name in FAMILIES:
        for key, field in fields_of("family", name).items():
            if key != "seed":
                helps.setdefault(key, (dict(field.metadata), []))[1].append(name)
    for key, (metadata, families) in reversed(helps.items()):
        command = option_of(key, metadata, default=None, help=f"{metadata['help']} [{', '.join(families)}]")(command)
    return click.option("--family", type=click.Choice(list(FAMILIES)), help=f"Family of topologies [{FAMILY}].")(
        command
    )


@click.command("build", cls=OnceEach)
@graph_options
@click.option("-o", "--output", type=OUTPUT, help="File to write [named after the topology].")
@force_option
@json_option
def command(output: str | None, force: bool, as_json: bool, **values: Any) -> None:
    """Build a topology and save it.

    \b
    topokit build --radices 2,2,2 --kron 10,10
    topokit build --radices 10,10 --kron 8,3,1 --crop 784,300,100 -o radix.safetensors
    topokit build --random-equivalent regular --like radix.safetensors --seed 0 -o random.safetensors
    """  # noqa: D301 (click wants the control character)
    description = described(values)
    if description.seed is None and (description.draws or description.random_equivalent):
        raise click.UsageError("a random topology needs --seed")
    net = description.open()
    path = output or Path(f"{net.slug if hasattr(net, 'slug') else description.random_equivalent}.safetensors")
    fingerprint = render.saved(net, path, force=force)
    render.notes(net)
    about = render.describe(net, path, fingerprint)
    if as_json:
        render.as_json(about)
        return
    render.table(render.summary(net, about))


OTHERS = ("output", "force", "as_json", "quiet", "verbose")
GRAPH_OPTIONS = tuple(param for param in command.params if param.name not in OTHERS)
"""The options that describe a topology."""


def described(values: dict[str, Any]) -> Description:
    """Return the description that the values of GRAPH_OPTIONS give.

    Raises:
        InvalidSpecError: they do not fit together.
    """
    given = {name: value for name, value in values.items() if value != ()}
    return descriptions.described(seed=given.pop("topology_seed", None), **given)
