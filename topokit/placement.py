"""Placement: which layer of a topology fills which weight of a model. Nothing else decides it.

Everything that puts a topology on a model asks `place` or `fill`: sparse layers, masks, `topokit mask`, grids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise, product
from math import prod
from os import PathLike
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from topokit._registry import matching
from topokit.convolutions import Mask, Shape, as_mask, readings, require_groups, shown
from topokit.descriptions import Description, parse
from topokit.errors import InvalidSpecError
from topokit.fields import names_of
from topokit.formats import is_of_masks, load_masks
from topokit.layered import Layer, Layered
from topokit.masking import as_bools
from topokit.reprs import counted
from topokit.spec import network
from topokit.topologies import Topology

Wanted: TypeAlias = "Layered | str | PathLike[str] | Description | Layer | ArrayLike"
"""What a weight, or each weight that a pattern matches, is given: a topology, a description, a layer or a mask."""

Topologies: TypeAlias = "Layered | str | PathLike[str] | Sequence[Layered | str | PathLike[str]] | Mapping[str, Wanted]"
"""What a model is given, see `fill`."""


@dataclass(frozen=True)
class Weight:
    """A weight of a model, as far as a topology is concerned.

    Args:
        shape: (out, in) of a linear layer; (out, in / groups, rows, columns) of a convolution.
        groups: of a convolution.
        only_by_name: whether it is filled only if somebody names it, and never because its shape fits.
        obstacle: why no layer can fill it, as the end of a sentence; None if one can.
    """

    shape: Shape
    groups: int = 1
    only_by_name: bool = False
    obstacle: str | None = None

    def readings(self, before: Shape | None = None) -> tuple[tuple[int, int], ...]:
        """The (sources, targets) of the layers that fill it.

        Args:
            before: the shape of the weight that the layer before fills, see `topokit.convolutions.readings`.
        """
        return readings(self.shape, self.groups, before)

    @property
    def group(self) -> tuple[int, int]:
        """The (sources, targets) of one group, by weight."""
        return prod(self.shape[1:]), self.shape[0] // self.groups

    def mask(self, layer: Layer) -> Mask:
        """A layer that fills it as a mask of its shape. O(size of the weight).

        Raises:
            InvalidSpecError: an edge joins two groups of a convolution.
        """
        return as_mask(layer, self.shape, self.groups)

    def layer(self, mask: ArrayLike, name: str) -> Layer:
        """A mask of its shape as a layer by weight. O(size of the weight).

        Args:
            mask: 0 or 1.
            name: of the weight, for messages.

        Raises:
            InvalidSpecError: the mask has another shape.
            InvalidGraphError: it holds something else than 0 and 1.
        """
        checked = as_bools(mask, name)
        if checked.shape != self.shape:
            raise InvalidSpecError(
                f"the mask of {name} has the shape {shown(checked.shape)}, but its weight has {shown(self.shape)}"
            )
        targets, sources = np.nonzero(checked.reshape(self.shape[0], -1))
        own = prod(self.shape[1:])
        sources = sources + targets // max(self.shape[0] // self.groups, 1) * own  # of the group that it is in
        return Layer.from_edges(sources, targets, (own * self.groups, self.shape[0]))


@dataclass(frozen=True)
class Place:
    """Where the edges of a weight come from.

    Args:
        net: number of the topology.
        layer: number of its layer.
        before: shape of the weight that the layer before fills, if there is one.
    """

    net: int
    layer: int
    before: Shape | None = None


def place(
    nets: Sequence[Layered], weights: Mapping[str, Weight], names: str | Sequence[str] | None = None
) -> dict[str, Place]:
    """Say which layers of topologies fill which weights of a model; the other weights stay dense.

    If the model knows all names of a topology's layers, these decide. If it knows none, each layer takes the first
    weight that it fits, behind the one that the layer before took. A weight that one topology fills is not there for
    the next. `fc1` and `fc1.weight` are one name.

    Args:
        nets: layered graphs; each one's layers chain, but not those of one and the next.
        weights: name -> weight, in the order in which the data pass them.
        names: the only weights that may be filled, in this order; the topologies' own names do not count then.

    Returns:
        Name of each weight that is filled -> its place; every layer has one.

    Raises:
        InvalidSpecError: a layer fits no weight, and the message says which crop would fit; or the model knows some
            of a topology's names, but not all.

    >>> from topokit.families.radix_net import RadixNet
    >>> square = Weight((6, 6))
    >>> place([RadixNet(radices=[(2, 3)])], {"fc1.weight": square, "fc2.weight": square, "fc3.weight": square})
    {'fc1.weight': Place(net=0, layer=0, before=None), 'fc2.weight': Place(net=0, layer=1, before=(6, 6))}
    """
    nets = [network(net, "the topology") for net in nets]
    if names is not None:
        names = names_of(names, "`names`")
        if len(set(names)) < len(names):
            raise InvalidSpecError(f"`names` must differ: {', '.join(names)}")
        weights = {whole: weights[whole] for whole in (known_name(name, weights) for name in names)}
    named = [names is None and _knows(net, weights) for net in nets]
    filled: dict[str, Place] = {}
    # topologies whose names decide come first: the others take what is free
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
            if _ends(net, where.layer) not in weights[name].readings(where.before):
                raise InvalidSpecError(f"{_no_weight(net, where.layer, {name: weights[name]})}; {_NAMED}")
        filled |= places
    return {name: filled[name] for name in weights if name in filled}


_NAMED = "the names of its layers chose this weight"


def fill(
    wanted: Topologies,
    weights: Mapping[str, Weight],
    names: str | Sequence[str] | None = None,
) -> dict[str, tuple[Layer, str]]:
    """Give weights of a model their edges.

    Args:
        wanted: a topology, a description or a file of one, or several, see `place`; or a mapping of names, or patterns
            in which `*` stands for any characters, to what the weights get: a topology, a description of one, a layer,
            or a mask in the weight's shape. A topology of one layer, a layer and a mask fill every weight that matches;
            the layers of a deeper topology are placed among these weights as `place` does, and must fill all of them.
            A description without widths takes those of each weight, see `Description.open_each`.
        weights: name -> weight, in the order in which the data pass them.
        names: see `place`; not with a mapping.

    Returns:
        Name of each weight that is filled -> its edges, which `Weight.mask` makes a mask of, and their source.

    Raises:
        InvalidSpecError: nothing fits or matches; two entries match one weight; or a weight cannot be filled.
        InvalidGraphError: a mask holds something else than 0 and 1.
    """
    if isinstance(wanted, str | PathLike) and Path(wanted).is_file() and is_of_masks(Path(wanted)):
        wanted = load_masks(Path(wanted))
    if isinstance(wanted, Mapping):
        if names is not None:
            raise InvalidSpecError("names are for a topology's layers: a mapping has names already")
        filled = {name: (net.layer(0), source) for name, (net, source) in _by_pattern(wanted, weights).items()}
    else:
        several = isinstance(wanted, Sequence) and not isinstance(wanted, Layered | str)
        given: Sequence[Any] = wanted if several else [wanted]  # type: ignore[assignment]
        nets = [net for one in given for net in opened(one)]
        if not nets:
            raise InvalidSpecError("no topology is given")
        filled = dict(_layers(nets, weights, names))
    for name, (layer, _) in filled.items():
        weight = weights[name]
        require_groups(layer, weight.shape[1] * weight.groups, weight.groups, name)
    return {name: filled[name] for name in weights if name in filled}


def opened(one: Any) -> Sequence[Layered]:
    """Return the topologies that one thing stands for: a topology, a description, or a text or file of one or several.

    Raises:
        InvalidSpecError: it is none of these.
    """
    one = _parsed(one)
    return one.open_all() if isinstance(one, Description) else [network(one, "the topology")]


def _parsed(one: Any) -> Any:
    """The description in a text or of a file; anything else as it is."""
    if isinstance(one, str):
        return parse(one)
    return Description(kind="file", name=str(one)) if isinstance(one, PathLike) else one


def _require_fillable(name: str, weight: Weight) -> None:
    if weight.obstacle is not None:
        raise InvalidSpecError(f"{name} {weight.obstacle}")


def _layers(
    nets: Sequence[Layered], weights: Mapping[str, Weight], names: str | Sequence[str] | None = None
) -> Iterator[tuple[str, tuple[Layer, str]]]:
    for name, where in place(nets, weights, names).items():
        _require_fillable(name, weights[name])
        layer, shape = nets[where.net].layer(where.layer), weights[name].shape
        if len(shape) == 2 and shape[1] > layer.shape[0]:  # a layer of channels, each of which is several features
            layer = by_feature(layer, shape[1] // layer.shape[0])
        of = f" of topology {where.net}" if len(nets) > 1 else ""
        yield name, (layer, f"layer {where.layer}{of}")


def by_feature(layer: Layer, features: int) -> Layer:
    """A layer in which every source becomes several neighbouring ones with the same targets. O(edges * features)."""
    sources = (layer.sources[:, None] * features + np.arange(features)).ravel()
    shape = (layer.shape[0] * features, layer.shape[1])
    return Layer.from_edges(sources, layer.targets.repeat(features), shape)


def named(wanted: Mapping[str, Wanted], weights: Mapping[str, Weight]) -> tuple[Topology, ...]:
    """Return one topology of one layer for each weight that a mapping fills, with the weight's name.

    `place` puts them where the mapping says, so everything that takes topologies can take a mapping.

    Args:
        wanted: see `fill`.
        weights: name -> weight, in the order in which the data pass them.

    Raises:
        InvalidSpecError, InvalidGraphError: see `fill`.
    """
    filled = _by_pattern(wanted, weights)
    return tuple(filled[name][0] for name in weights if name in filled)


def _by_pattern(wanted: Mapping[str, Wanted], weights: Mapping[str, Weight]) -> dict[str, tuple[Topology, str]]:
    """For each weight that is filled, a topology of one layer with its name, and where it comes from."""
    filled: dict[str, tuple[Topology, str]] = {}
    for pattern, one in wanted.items():
        matched = {name: weights[name] for name in matches(str(pattern), weights)}
        if twice := [name for name in matched if name in filled]:
            raise InvalidSpecError(f"{pattern!r} and an entry before it both match {twice[0]}: give each weight one")
        filled |= dict(_given(str(pattern), one, matched))
    if not filled:
        raise InvalidSpecError("an empty mapping: give a name or pattern, and what its weights get")
    return filled


def _given(pattern: str, one: Wanted, matched: Mapping[str, Weight]) -> Iterator[tuple[str, tuple[Topology, str]]]:
    for name, weight in matched.items():
        _require_fillable(name, weight)
    one = _parsed(one)
    nets: Sequence[Any] = [one] * len(matched)
    if isinstance(one, Description):
        nets = _described(one, list(matched.values()))
    if isinstance(nets[0], Layered) and len(nets[0]) > 1:
        placed = dict(_layers(nets[:1], matched))
        if dense := [name for name in matched if name not in placed]:
            raise InvalidSpecError(
                f"{pattern!r} matches {counted(len(matched), 'weight')}, but the topology has "
                f"{counted(len(nets[0]), 'layer')}, so "
                f"{dense[0]} would stay dense: give one layer, which fills all, or match as many weights as there "
                "are layers"
            )
        for name, (layer, source) in placed.items():
            yield name, (Topology([layer], names=[name]), source)
        return
    for (name, weight), net in zip(matched.items(), nets, strict=True):
        yield name, _single(pattern, net, name, weight)


def _described(description: Description, weights: Sequence[Weight]) -> list[Layered]:
    """The topology of each weight that a description stands for. If it has no widths, groups are drawn one by one."""
    from scipy.sparse import block_diag

    if description.has_widths:
        return [description.open()] * len(weights)
    parts = iter(description.open_each([weight.group for weight in weights for _ in range(weight.groups)]))
    nets = []
    for weight in weights:
        blocks = [next(parts) for _ in range(weight.groups)]
        if len(blocks) > 1:
            blocks = [Topology.from_scipy([block_diag([one.layer(0).to_scipy() for one in blocks], format="csr")])]
        nets += blocks
    return nets


def _single(pattern: str, one: Any, name: str, weight: Weight) -> tuple[Topology, str]:
    """What a weight gets of a topology of one layer, a layer or a mask."""
    if not isinstance(one, Layered | Layer):
        if isinstance(one, bytes) or not (hasattr(one, "__array__") or isinstance(one, Sequence)):
            wanted = "a topology, a description, a layer or a mask"
            raise InvalidSpecError(f"{pattern!r} must be given {wanted}, not {shortened(one)}")
        return Topology([weight.layer(one, name)], names=[name]), "mask"
    layer = one if isinstance(one, Layer) else one.layer(0)
    if layer.shape not in weight.readings():
        given = f"{layer.shape[0]} -> {layer.shape[1]}"
        raise InvalidSpecError(f"{pattern!r} matches {name}, which takes a layer {_fits(weight)}, not {given}")
    if isinstance(one, Layer):
        return Topology([layer], names=[name]), "layer"
    return Topology([layer], recipe=one.recipe, promises=one.promises, notes=one.notes, names=[name]), "layer 0"


def matches(pattern: str, weights: Mapping[str, Weight]) -> list[str]:
    """Return the names of the weights that a name or pattern stands for.

    Raises:
        InvalidSpecError: there are none.
    """
    if "*" not in pattern:
        return [known_name(pattern, weights)]
    fits = matching(pattern, weights)
    # if it matches such weights alone, their obstacle is what the user should read
    found = [name for name in fits if not weights[name].only_by_name] or fits
    if not found:
        raise InvalidSpecError(f"the pattern {pattern!r} matches no weight: the model has {_listed(weights)}")
    return found


def known_name(name: str, weights: Mapping[str, Any]) -> str:
    """The whole name of a weight: `fc1` is `fc1.weight` if there is no `fc1`, and `fc1.weight_mask` is its mask's.

    Raises:
        InvalidSpecError: there is no such weight; the message has the nearest names.
    """
    for known in (name, f"{name}.weight" if name else "weight", name.removesuffix("_mask")):
        if known in weights:
            return known
    raise InvalidSpecError(f"the model has no weight named {name!r} that a topology can fill: {_hint(name, weights)}")


def _hint(name: str, weights: Mapping[str, Any]) -> str:
    near = get_close_matches(str(name), [*weights, *(known.removesuffix(".weight") for known in weights)], n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {_listed(weights)}"


def _listed(weights: Iterable[str], most: int = 12) -> str:
    names = [*weights]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _knows(net: Layered, weights: Mapping[str, Weight]) -> bool:
    """Whether the names of a topology's layers say which weights they fill.

    Raises:
        InvalidSpecError: some do, and some are not known.
    """
    known = [name for name in net.names if {name, f"{name}.weight"} & {*weights}]
    if known and len(known) < len(net.names):
        unknown = next(name for name in net.names if name not in known)
        raise InvalidSpecError(
            f"the topology has layers for {known[0]} and {unknown}; give names= to choose their weights, as the model "
            f"has no {unknown}: {_hint(unknown, weights)}"
        )
    return bool(known)


def _ends(net: Layered, i: int) -> tuple[int, int]:
    return net.widths[i], net.widths[i + 1]


def _in_order(net: Layered, weights: Mapping[str, Weight], filled: Mapping[str, Weight]) -> list[str]:
    """For each layer the first weight that it fits, behind that of the layer before; those of `filled` are taken."""
    chosen: list[str] = []
    left = iter(weights.items())
    for i in range(len(net)):
        before = weights[chosen[-1]].shape if chosen else None
        name = next((name for name, weight in left if _ends(net, i) in weight.readings(before)), None)
        if name is None:
            taken = next((name for name, weight in filled.items() if _ends(net, i) in weight.readings(before)), None)
            why = f"another topology fills {taken} already: give each weight one topology"
            ends = " -> ".join(map(str, _ends(net, i)))
            raise InvalidSpecError(f"layer {i} is {ends}, but {why}" if taken else _no_weight(net, i, weights))
        chosen.append(name)
    return chosen


def _no_weight(net: Layered, i: int, weights: Mapping[str, Weight]) -> str:
    if not weights:
        return "there is no weight that a topology can fill, or that is not filled yet"
    shapes = [f"{name} {_fits(weight)}" for name, weight in weights.items()]
    return (
        f"layer {i} is {net.widths[i]} -> {net.widths[i + 1]}, but no remaining weight has that shape "
        f"({_listed(shapes, 8)}): {_advice(net, weights)}"
    )


def _fits(weight: Weight) -> str:
    return " or ".join(f"{into} -> {out}" for into, out in weight.readings())


def _advice(net: Layered, weights: Mapping[str, Weight]) -> str:
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
    """The widths that as many consecutive weights as there are layers can be read as."""
    runs = (
        run
        for start in range(len(weights) - layers + 1)
        for run in product(*(weight.readings() for weight in weights[start : start + layers]))
    )
    return [(run[0][0], *(out for _, out in run)) for run in runs if all(a[1] == b[0] for a, b in pairwise(run))]
