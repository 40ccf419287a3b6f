"""`topokit extract`: extract the topology of a model from its weights."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from topokit.extraction.rules import Rule
from topokit_cli import render
from topokit_cli.options import NAMES, Command, OnceEach, force_option, json_option, option_of, quiet
from topokit_cli.paths import FILE, OUTPUT, typed

if TYPE_CHECKING:
    from topokit.extraction import Extraction


class Model(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A file of weights or of a model, the folder of a run, or file.py:function."""

    name = "MODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from topokit_train.functions import names_function

        if names_function(value):
            return value
        return FILE.convert(value, param, ctx)


def rule_options(command: Command) -> Command:
    """Add the options that say which weights become edges: the fields of Rule."""
    metavars = {"above": {"metavar": "T"}, "keep": {"metavar": "SHARE"}}
    for field in reversed(fields(Rule)):
        command = option_of(field.name, field.metadata, default=field.default, **metavars.get(field.name, {}))(command)
    return command


@click.command("extract", cls=OnceEach)
@click.argument("model", type=Model())
@click.option("-o", "--output", type=OUTPUT, help="File to write [named after MODEL].")
@click.option(
    "--layers",
    type=NAMES,
    help="Names or shell patterns of the layers, in order. Suffixes of a name say what a file does not: @2 for 2 "
    "groups, @in-out or @out-in for the orientation, @last for flattened channels that are last [the layers of the "
    "graph; of arrays, all named *.weight].",
)
@click.option(
    "--layout",
    type=click.Choice(["out-in", "in-out"]),
    help="Orientation in which arrays are stored [out-in, as torch does, unless their names say more].",
)
@rule_options
@click.option(
    "--conv",
    type=click.Choice(["channel", "weight"]),
    default="channel",
    show_default=True,
    help="Meaning of an edge of a convolution: a whole filter (channel) or one weight.",
)
@click.option(
    "--masks", "as_masks", is_flag=True, help="Masks as output instead of a topology; the layers need not form a chain."
)
@click.option("--dry-run", is_flag=True, help="Table of the arrays that would be read; no file is written.")
@force_option
@json_option
def command(
    model: Path | str,
    output: str | None,
    layers: tuple[str, ...] | None,
    layout: str | None,
    conv: str,
    as_masks: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
    **rule: Any,
) -> None:
    """Extract a topology from MODEL: a file of weights, a model, or the folder of a run.

    MODEL is a checkpoint of `train`; a state dict in a safetensors, torch or npz file; an ONNX model; a .pt2 program of
    torch.export; or file.py:function, a function that returns a torch module and an example input. Without a rule an
    edge is a weight that the layer's mask keeps or, if the layer has no mask, a weight other than 0.

    An ONNX model, a program and a module say how their layers are connected: the file has a topology for each chain
    of layers, and the joints between them. Arrays alone do not say this: if their order, orientation or groups are not
    certain, an error lists the values of --layers and --layout to choose from. A table on stderr shows how each array
    was read.

    \b
    topokit extract run/checkpoint.safetensors -o trained.safetensors
    topokit extract model.pt --keep .1 --layers 'fc*'
    topokit extract model.onnx --above .05 --masks
    topokit extract nets.py:pruned -o pruned.safetensors
    """  # noqa: D301 (click wants the control character)
    from topokit.extraction import select
    from topokit.formats import save_masks
    from topokit_train.weights import read_model

    found = select(
        read_model(model),
        Rule(**rule),
        layers or (),
        conv,
        layout,
        chained=not as_masks,
    )
    stem = model.rpartition(":")[2] if isinstance(model, str) else model.stem
    path = output or Path(f"{stem}-{'masks' if as_masks else 'topology'}.safetensors")
    if as_masks:
        about: dict[str, Any] = {"file": str(path)}
        rows = [("file", str(path))]
        if not dry_run:
            save_masks(found.masks, path, force=force)
    else:
        about, rows = _saved(found, path, write=not dry_run, force=force)
    render.notes(found)
    if as_json:
        left = [{"name": name, "shape": list(shape), "reason": why} for name, (shape, why) in found.left.items()]
        render.as_json({**about, "layers": found.layers, "joints": found.joints, "not_extracted": left})
        return
    if not dry_run:
        render.table(rows)
    if not quiet():
        _print_read(found)


def _saved(
    found: Extraction, path: Path | str, *, write: bool, force: bool
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Save the topologies, if asked to; return the JSON object and the lines that describe them."""
    from topokit.formats import save_all
    from topokit.layered import BY_CHANNEL
    from topokit.topologies import fingerprint

    nets = found.chains
    if not write:
        digests = tuple(map(fingerprint, nets))
    elif len(nets) == 1 and not found.joints:
        digests = (render.saved(nets[0], path, force=force),)
    else:
        digests = save_all(nets, path, found.joints, force=force)
    if any(net.by_channel for net in nets):
        render.LOGGER.info(BY_CHANNEL)
    if len(nets) == 1:
        about = render.describe(nets[0], path, digests[0])
        return about, render.summary(nets[0], about)
    chains = [render.describe(net, None, digest) for net, digest in zip(nets, digests, strict=True)]
    return {"file": str(path), "chains": chains}, [("file", str(path)), *render.chains(nets)]


def _print_read(found: Extraction) -> None:
    """Print on stderr how each array was read, and how the layers are connected."""
    from topokit.convolutions import shown

    head, *lines = found.rows()
    render.grid(head, lines, left=("layer", "shape", "read", "rule"), err=True)
    for name, (shape, why) in found.left.items():
        click.echo(typed(f"not extracted: {name} {shown(shape)}: {why}"), err=True)
    for joint in found.joints:
        click.echo(render.joint(joint), err=True)
