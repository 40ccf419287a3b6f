"""`topokit mask`: write a topology as masks, or apply it to a model's weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from topokit.errors import TopokitError
from topokit.reprs import counted
from topokit_cli import render
from topokit_cli.options import INTS, NAMES, Describing, force_option, json_option, topology_argument
from topokit_cli.paths import FILE, OUTPUT

if TYPE_CHECKING:
    from topokit.descriptions import Description
    from topokit.layered import Layered
    from topokit.masking import Masks

TIED = "both uses have one mask: write the masks with extract --masks, and edit that file"
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

    A mask has the shape of its parameter: (out, in), (out, in, ...) for a convolution with one to three dimensions or,
    if TOPOLOGY was extracted from a model that stores it otherwise, that shape. A layer fills a convolution by channel
    (each edge is a whole filter) or by weight (each edge is one weight). The number of its sources determines which.

    The masks have the names of torch.nn.utils.prune: fc1.weight_mask is the mask of fc1.weight. A topology that was
    pruned, extracted or made from masks contains the names of its parameters; a cropped topology does not. An extracted
    one also contains their shapes. For another one whose edges are whole filters, give --model or --apply. With
    --apply, TOPOLOGY may be a file of masks that has the names of the parameters. If MODEL already has masks, a
    weight is kept only if both masks keep it. The name fc1 means fc1.weight. If TOPOLOGY has several chains, --names
    has the names of all layers of all chains, in order.

    \b
    topokit mask net.safetensors --names fc1.weight,fc2.weight -o masks.safetensors
    topokit mask net.safetensors --names fc1.weight,fc2.weight --apply model.safetensors -o masked.safetensors
    topokit mask masks.safetensors --apply model.safetensors -o masked.safetensors
    """  # noqa: D301 (click wants the control character)
    from topokit.convolutions import shown
    from topokit.formats import load_masks, save_masked, save_masks
    from topokit.masking import Masks

    if model is not None and names is not None:
        raise click.UsageError(GIVE_NAMES)
    if image is not None and (model is None or len(image) != 3):
        raise click.UsageError("--image is three numbers, and belongs to --model: --model lenet-5 --image 3,24,24")
    if not model and _is_of_masks(source, foreign=bool(applied and not names)):
        made = load_masks(source.name)
        if names:
            _require_names(names, [len(made)])
            made = made.renamed(names if applied else _whole(names, tuple(made)))
    else:
        nets = source.open_chains()
        render.notes(*nets)
        if model:
            made = _of_model(nets, model, image)
        else:
            chains = [_masks(net, own, applied) for net, own in zip(nets, _of_each(nets, names), strict=True)]
            made = Masks.of_all(chains)
    if applied:
        kept = save_masked(applied, made, output, force=force)
        made = made.renamed(tuple(kept))  # by their whole names
    else:
        save_masks(made, output, force=force)
        kept = {name: int(mask.sum()) for name, mask in made.items()}
    if as_json:
        render.as_json({"file": str(output), "masks": {name: list(mask.shape) for name, mask in made.items()}})
        return
    for name, mask in made.items():
        click.echo(f"{name}{'' if applied else '_mask'}  {shown(mask.shape)}, {kept[name]:,} of {mask.size:,} kept")


def _masks(net: Layered, names: tuple[str, ...] | None, applied: Path | None) -> Masks:
    """Return the masks of a topology for parameters of these names.

    Args:
        net: the topology.
        names: of the parameters; by default those in the topology.
        applied: the state dict that has them.
    """
    from topokit.formats import parameter_shapes
    from topokit.masking import masks, stored_as

    if names is None and net.by_channel and not applied and not any(map(partial(stored_as, net), range(len(net)))):
        raise click.UsageError(FILTERS)
    whole = (names if applied or not names else _whole(names, net.names)) or net.names
    if not whole:
        raise click.UsageError(GIVE_NAMES)
    if tied := [name for name in whole if "#" in name]:
        raise click.UsageError(f"{tied[0]} is a second use of a parameter: {TIED}")
    return masks(net, whole, parameter_shapes(applied, list(whole)) if applied else None)


def _of_model(nets: Sequence[Layered], model: str, image: tuple[int, ...] | None) -> Masks:
    """Return the masks of the parameters that topologies fill, in the order of the layers."""
    from topokit.masking import Masks
    from topokit.placement.filling import fill
    from topokit.placement.placing import place
    from topokit_train.models.networks import MNIST, Shape, model_source

    data = MNIST if image is None else Shape(image, MNIST.classes)
    weights = model_source(model).weights(data, nets)
    places, filled = place(nets, weights), fill(nets, weights)
    in_order = sorted(places, key=lambda name: (places[name].net, places[name].layer))
    return Masks({name: weights[name].mask(filled[name][0]) for name in in_order}, weights)


def _of_each(nets: Sequence[Layered], names: tuple[str, ...] | None) -> list[tuple[str, ...] | None]:
    """Divide the names of all layers of all chains, in order, among the chains."""
    if names is None or len(nets) == 1:
        return [names] * len(nets)
    layers = [len(net) for net in nets]
    _require_names(names, layers)
    left = iter(names)
    return [tuple(islice(left, size)) for size in layers]


def _require_names(names: Sequence[str], layers: Sequence[int]) -> None:
    """Refuse names that are not one for each layer; `layers` are the numbers of layers of the chains."""
    if len(names) != sum(layers):
        chains = f" of {len(layers)} chains ({', '.join(map(str, layers))})" if len(layers) > 1 else ""
        raise click.UsageError(
            f"{counted(len(names), 'name')} for {counted(sum(layers), 'layer')}{chains}: name all layers in order, or "
            "omit --names"
        )
    whole = [name.removesuffix(".weight") for name in names]
    if twice := [name for name, bare in zip(names, whole, strict=True) if whole.count(bare) > 1]:
        raise click.UsageError(f"--names has {twice[0]} twice: give one name per layer")


def _whole(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the weights: fc1 means fc1.weight, unless `known`, the names in the topology, has fc1."""
    return tuple(name if name.endswith(("weight", "_mask")) or name in known else f"{name}.weight" for name in names)


def _is_of_masks(source: Description, *, foreign: bool) -> bool:
    """Return whether the user gave a file of masks alone.

    Args:
        source: the description.
        foreign: whether files of other programs count, in which masks have no order.
    """
    from topokit.formats import TensorFile, in_run

    if not source.is_file:
        return False
    try:
        file = TensorFile(in_run(Path(source.name)))
    except TopokitError:  # of another format
        return False
    return file.kind == "masks" or (foreign and file.kind is None)
