"""`topokit mask`: write a topology as masks, or apply it to a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from topokit_cli import render
from topokit_cli.options import INTS, NAMES, Describing, force_option, json_option, topology_argument
from topokit_cli.paths import FILE, OUTPUT

if TYPE_CHECKING:
    from topokit.descriptions import Description
    from topokit.layered import Layered

GIVE_NAMES = "give either --model or --names"
FILTERS = "its edges are whole filters, and only a model says how large these are: give --model, or --apply MODEL"


@click.command("mask", cls=Describing)
@topology_argument
@click.option("--model", help="Model whose layers the topology fills, such as lenet-300-100.")
@click.option("--image", type=INTS, help="Channels, rows and columns of the input images of --model [1,28,28].")
@click.option(
    "--names",
    type=NAMES,
    help="Names of the parameters that the layers fill, such as fc1.weight,fc2.weight [the names in the topology].",
)
@click.option(
    "--apply",
    "applied",
    type=FILE,
    metavar="MODEL",
    help="Safetensors state dict of a model; the output is a copy of it in which weights without an edge are 0.",
)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Safetensors file to write.")
@force_option
@json_option
def command(
    source: Description,
    model: str | None,
    image: tuple[int, ...] | None,
    names: tuple[str, ...] | None,
    applied: Path | None,
    output: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write a topology as masks, one bool array per layer, or apply it to the weights of a model.

    A mask has shape (out, in), or (out, in, rows, columns) for a convolution. A layer fills a convolution by channel
    (each edge is a whole filter) or by weight (each edge is one weight). The number of its sources determines which.

    The masks have the names of torch.nn.utils.prune: fc1.weight_mask is the mask of fc1.weight. A topology that was
    pruned, extracted or made from masks contains the names of its parameters; a cropped topology does not. If edges are
    whole filters, give --model or --apply, because only a model contains the size of the filters. With --apply,
    TOPOLOGY may be a file of masks that has the names of the parameters. If MODEL already has masks, a weight is kept
    only if both masks keep it. The name fc1 means fc1.weight.

    \b
    topokit mask net.safetensors --names fc1.weight,fc2.weight -o masks.safetensors
    topokit mask net.safetensors --names fc1.weight,fc2.weight --apply model.safetensors -o masked.safetensors
    topokit mask masks.safetensors --apply model.safetensors -o masked.safetensors
    """  # noqa: D301 (click wants the control character)
    from topokit.formats import load_masks, parameter_shapes, save_masked, save_masks
    from topokit.masking import masks

    if model is not None and names is not None:
        raise click.UsageError(GIVE_NAMES)
    if image is not None and (model is None or len(image) != 3):
        raise click.UsageError("--image is three numbers, and belongs to --model: --model lenet-5 --image 3,24,24")
    if applied and not (model or names) and _is_of_masks(source):
        made = load_masks(source.name)
    else:
        net = source.open()
        shapes = None
        if model:
            table = _slots(net, model, image)
            names, shapes = tuple(table), list(table.values())
        elif names is None and net.by_channel and not applied:
            raise click.UsageError(FILTERS)
        names = (names if applied or not names else _whole(names)) or net.names
        if not names:
            raise click.UsageError(GIVE_NAMES)
        render.notes(net)
        made = masks(net, names, parameter_shapes(applied, list(names)) if applied else shapes)
    if applied:
        kept = save_masked(applied, made, output, force=force)
        made = dict(zip(kept, made.values(), strict=True))  # by their whole names
    else:
        save_masks(made, output, force=force)
        kept = {name: int(mask.sum()) for name, mask in made.items()}
    if as_json:
        render.as_json({"file": str(output), "masks": {name: list(mask.shape) for name, mask in made.items()}})
        return
    for name, mask in made.items():
        shape = " x ".join(map(str, mask.shape))
        click.echo(f"{name}{'' if applied else '_mask'}  {shape}, {kept[name]:,} of {mask.size:,} kept")


def _whole(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the weights: fc1 is fc1.weight."""
    return tuple(name if name.endswith(("weight", "_mask")) else f"{name}.weight" for name in names)


def _is_of_masks(source: Description) -> bool:
    """Whether the user gave a file alone that is not a topology."""
    from topokit.formats import TensorFile

    return source.is_file and TensorFile(source.name).kind not in ("topology", "checkpoint")


def _slots(net: Layered, model: str, image: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    """The parameters of a model that a topology's layers fill, and their shapes, in the order of the layers."""
    from topokit.placement import place
    from topokit_train.models.networks import MNIST, Shape, model_source

    data = MNIST if image is None else Shape(image, MNIST.classes)
    table = model_source(model).weights(data, [net])
    filled = place([net], table)
    return {name: table[name].shape for name in sorted(filled, key=lambda name: filled[name].layer)}
