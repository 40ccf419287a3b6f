"""`topokit extract`: extract the topology of a model from its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from topokit_cli import render
from topokit_cli.options import NAMES, OnceEach, force_option, json_option
from topokit_cli.paths import FILE, OUTPUT

if TYPE_CHECKING:
    from topokit.extraction import Extraction


@click.command("extract", cls=OnceEach)
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--output", type=OUTPUT, help="File to write [named after CHECKPOINT].")
@click.option(
    "--layers", type=NAMES, help="Names or shell patterns of the layers, in order [all parameters named *.weight]."
)
@click.option(
    "--rule",
    type=click.Choice(["mask", "nonzero"]),
    help="Weights that become edges: those that the masks keep, or those other than 0 [mask, if there are masks].",
)
@click.option("--above", type=float, metavar="T", help="Threshold: a weight w becomes an edge if |w| > T.")
@click.option(
    "--keep", metavar="SHARE", help="Fraction of the weights that become edges: those of the largest magnitude."
)
@click.option(
    "--scope",
    type=click.Choice(["layer", "global"]),
    default="layer",
    help="Scope of --keep: each layer, or all layers together [layer].",
)
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
@force_option
@json_option
def command(
    checkpoint: Path,
    output: str | None,
    layers: tuple[str, ...] | None,
    rule: str | None,
    above: float | None,
    keep: str | None,
    scope: str,
    conv: str,
    as_masks: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Extract a topology from CHECKPOINT, a file of weights.

    CHECKPOINT is a checkpoint of `train`, a safetensors or torch state dict, or an ONNX model. By default the
    edges of a layer are the weights that its mask keeps or, if the layer has no mask, the weights other than 0.

    \b
    topokit extract run/checkpoint.safetensors -o trained.safetensors
    topokit extract model.pt --keep .1 --layers 'fc*'
    topokit extract model.onnx --above .05 --masks
    """  # noqa: D301 (click wants the control character)
    from topokit.extraction import Rule, select
    from topokit.formats import save, save_masks
    from topokit_train.weights import read_weights

    found = select(read_weights(checkpoint), Rule(name=rule, above=above, keep=keep, scope=scope), layers or ())
    path = output or Path(f"{checkpoint.stem}-{'masks' if as_masks else 'topology'}.safetensors")
    if as_masks:
        save_masks(found.masks, path, force=force)
        render.notes(found)
        _show(found, {"file": str(path)}, [("file", str(path))], as_json)
        return
    found = found.in_order(conv)
    net = found.topology(conv)
    fingerprint = save(net, path, force=force)
    render.notes(net)
    about = render.describe(net, path, fingerprint)
    _show(found, about, render.summary(net, about), as_json)


def _show(found: Extraction, about: dict[str, Any], rows: list[tuple[str, str]], as_json: bool) -> None:
    if as_json:
        render.as_json({**about, "layers": found.layers()})
        return
    render.table(rows)
    click.echo()
    head, *lines = found.rows()
    render.grid(head, lines, left=("layer", "shape", "rule"))
