"""`topokit mask`: write a topology as masks for a model."""

from __future__ import annotations

from pathlib import Path

import click

from topokit_cli import render
from topokit_cli.options import NAMES, OUTPUT, force_option, json_option, topology_argument
from topokit_cli.source import TopologySource


@click.command("mask")
@topology_argument
@click.option("--model", help="A model whose layers the topology fills, for instance lenet-300-100.")
@click.option("--names", type=NAMES, help="Or the parameters' names, one per layer: fc1.weight,fc2.weight,...")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Safetensors file to write.")
@force_option
@json_option
def command(
    source: TopologySource, model: str | None, names: tuple[str, ...] | None, output: Path, force: bool, as_json: bool
) -> None:
    """Write a topology as masks, one bool array (out, in) per layer.

    The arrays are named as torch.nn.utils.prune names them: fc1.weight_mask belongs to fc1.weight.
    """
    from topokit.formats import save_masks
    from topokit.masking import fill_slots, masks

    if (model is None) == (names is None):
        raise click.UsageError("give either --model or --names")
    net = source.open()
    if model is not None:
        from topokit_train.models import slots

        filled = fill_slots(net, slots(model, widths=net.widths))
        names = tuple(sorted(filled, key=lambda name: filled[name]))
    made = masks(net, names or ())
    save_masks(made, output, force=force)
    if as_json:
        render.as_json({"file": str(output), "masks": {name: list(mask.shape) for name, mask in made.items()}})
        return
    for name, mask in made.items():
        click.echo(f"{name}_mask  {mask.shape[0]} x {mask.shape[1]}, {int(mask.sum()):,} of {mask.size:,} kept")
