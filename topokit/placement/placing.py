"""place(): which layer of a topology fills which weight, and what to do if none fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

from topokit.convolutions import Shape
from topokit.errors import InvalidSpecError
from topokit.fields import names_of
from topokit.layered import Layered
from topokit.masking import Parameter, fits, or_masks, require_in_order, stored_as
from topokit.placement.names import hint, known_name
from topokit.placement.weights import Weight
from topokit.recipes import extraction_of
from topokit.reprs import counted, listed
from topokit.spec import network


@dataclass(frozen=True)
class Place:
    """The layer that fills a weight.

    Args:
        net: number of the topology.
        layer: number of the layer in the topology.
        before: shape of the weight that the previous layer of the topology fills; None for the first layer.
    """

    net: int
    layer: int
    before: Shape | None = None


def place(
    nets: Sequence[Layered], weights: Mapping[str, Weight], names: str | Sequence[str] | None = None
) -> dict[str, Place]:
    """Return which layers of topologies fill which weights of a model; the other weights stay dense.

    If the model has weights of all the names of a topology's layers, each layer fills the weight of its name. If the
    model has none of the names, each layer fills the first weight that it fits, after the weight of the previous layer.
    Two layers never fill the same weight. `fc1` and `fc1.weight` are the same name.

    Args:
        nets: topologies. The layers within a topology chain; those of different topologies need not.
        weights: name -> weight, in the order in which the data pass them.
        names: the only weights that may be filled, in this order; the names in the topologies are then ignored.

    Returns:
        Name of each weight that is filled -> its place; every layer has one.

    Raises:
        InvalidSpecError: a layer fits no weight, and the message proposes a crop that fits; the model has some of a
            topology's names, but not all; the model reorders the inputs or weights of an extracted layer, or reads a
            square weight in another orientation.

    >>> from topokit.families.radix_net import RadixNet
    >>> square = Weight((6, 6))
    >>> place([RadixNet(radices=[(2, 3)])], {"fc1.weight": square, "fc2.weight": square, "fc3.weight": square})
    {'fc1.weight': Place(net=0, layer=0, before=None), 'fc2.weight': Place(net=0, layer=1, before=(6, 6))}
    """
    nets = [network(net, "the topology") for net in nets]
    for net in nets:
        require_in_order(net)
    if names is not None:
        names = names_of(names, "`names`", [*weights, *(name.removesuffix(".weight") for name in weights)])
        if len(set(names)) < len(names):
            raise InvalidSpecError(f"`names` must differ: {', '.join(names)}")
        weights = {whole: weights[whole] for whole in (known_name(name, weights) for name in names)}
    named = [names is None and _knows(net, weights) for net in nets]
    filled: dict[str, Place] = {}
    # topologies with known names come first; the others fill the remaining weights
    for number in sorted(range(len(nets)), key=lambda number: not named[number]):
        net = nets[number]
        if named[number]:
            chosen = [known_name(name, weights) for name in net.names]
        else:
            free = {n: w for n, w in weights.items() if n not in filled and (names or not w.only_by_name)}
            chosen = _in_order(net, free, {name: weights[name] for name in filled})
        for name in chosen:
            if name in filled:
                raise InvalidSpecError(f"two layers are for {name}: give each weight one")
        shapes = [None, *(weights[name].shape for name in chosen)]
        places = {name: Place(number, i, shapes[i]) for i, name in enumerate(chosen)}
        for name, where in places.items():
            _require_fits(net, where, name, weights[name])
            if names is None:
                require_as_extracted(net, where.layer, name, weights[name])
        filled |= places
    return {name: filled[name] for name in weights if name in filled}


def _require_fits(net: Layered, where: Place, name: str, weight: Weight) -> None:
    """Refuse a weight that a name chose for a layer, if the layer does not fit it."""
    if not fits(net, where.layer, weight, where.before):
        weight.require_fillable(name)
        raise InvalidSpecError(
            f"{_no_weight(net, where.layer, {name: weight})}; the names of its layers chose this weight"
        )


def require_as_extracted(net: Layered, i: int, name: str, weight: Weight) -> None:
    """Refuse a square weight that its module reads in another orientation than the model that was extracted.

    Raises:
        InvalidSpecError: the edges may be those of the transposed weight.
    """
    if extraction_of(net.recipe):
        require_layout((stored_as(net, i) or Parameter(weight.shape)).layout, name, weight)


def require_layout(recorded: str, name: str, weight: Weight) -> None:
    """Refuse a square weight that is read in another orientation than a recorded one; see `require_as_extracted`."""
    out, into = weight.shape[0] // weight.groups, weight.shape[1]
    if recorded != weight.layout and out == into > 1:
        raise InvalidSpecError(
            f"{name} is square, so that its shape does not say which of its sides are the inputs: it was extracted "
            f"from a model that reads it as {_READS[recorded]}, but its module reads it as {_READS[weight.layout]}. "
            "If it is the same parameter, give masks as {name: array}, as the result of topokit_train.extract and "
            "load_masks have them; if it is of another model, give `names` to the topology"
        )


_READS = {"out-in": "(out, in)", "in-out": "(in, out)", "last": "(..., in, out)"}


def _knows(net: Layered, weights: Mapping[str, Weight]) -> bool:
    """Whether the names of a topology's layers are names of weights.

    Raises:
        InvalidSpecError: only some of them are.
    """
    known = [name for name in net.names if {name, f"{name}.weight"} & {*weights}]
    if known and len(known) < len(net.names):
        unknown = next(name for name in net.names if name not in known)
        raise InvalidSpecError(
            f"the topology has layers for {known[0]} and {unknown}; give names= to choose their weights, as the model "
            f"has no {unknown}: {hint(unknown, weights)}"
        )
    return bool(known)


def _in_order(net: Layered, weights: Mapping[str, Weight], filled: Mapping[str, Weight]) -> list[str]:
    """Return, for each layer, the first weight that it fits, after that of the previous layer.

    Args:
        net: the topology.
        weights: those that it may fill.
        filled: those that other topologies fill, for the message.

    Raises:
        InvalidSpecError: a layer fits none of them.
    """
    chosen: list[str] = []
    left = iter(weights.items())
    for i in range(len(net)):
        before = weights[chosen[-1]].shape if chosen else None
        name = next((name for name, weight in left if fits(net, i, weight, before)), None)
        if name is None:
            taken = next((name for name, weight in filled.items() if fits(net, i, weight, before)), None)
            why = f"another topology fills {taken} already: give each weight one topology"
            raise InvalidSpecError(f"{_ends(net, i)}, but {why}" if taken else _no_weight(net, i, weights))
        chosen.append(name)
    return chosen


def _ends(net: Layered, i: int) -> str:
    return f"layer {i} is {net.widths[i]} -> {net.widths[i + 1]}"


def _no_weight(net: Layered, i: int, weights: Mapping[str, Weight]) -> str:
    """Return the message that a layer fits none of some weights."""
    if not weights:
        return "there is no weight that a topology can fill, or that is not filled yet"
    shapes = [f"{name} {weight.fits}" for name, weight in weights.items()]
    return (
        f"{_ends(net, i)}, but no remaining weight has that shape ({listed(shapes, 8)}): "
        f"{_advice(net, weights)}{or_masks(net)}"
    )


def _advice(net: Layered, weights: Mapping[str, Weight]) -> str:
    """Return what to do with a topology that does not fit, as the end of a message."""
    chains = _chains(len(net), list(weights.values()))
    wider = [chain for chain in chains if chain[1:] == net.widths[1:] and chain[0] > net.widths[0]]
    crops = [chain for chain in chains if all(new <= old for new, old in zip(chain, net.widths, strict=True))]
    if wider:
        target = f"{'-'.join(map(str, wider[0]))} at {min(100 * (1 - net.density), 99.99):.4g} %"
        return (
            f"give a topology with {counted(wider[0][0], 'input')} (topokit fit '{target}' proposes such networks), or "
            f"data and a model with {net.widths[0]:,}"
        )
    if crops:
        widest = max(crops, key=lambda chain: sum(map(prod, pairwise(chain))))
        return f"crop={','.join(map(str, widest))} fits"
    return "no crop of it fits: give layers of these shapes, in this order"


def _chains(layers: int, weights: Sequence[Weight]) -> list[tuple[int, ...]]:
    """Return the widths of the topologies that could fill `layers` consecutive weights."""
    runs = (
        run
        for start in range(len(weights) - layers + 1)
        for run in product(*(weight.readings() for weight in weights[start : start + layers]))
    )
    return [(run[0][0], *(out for _, out in run)) for run in runs if all(a[1] == b[0] for a, b in pairwise(run))]
