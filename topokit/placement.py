"""Placement: decide which layer of a topology fills which weight of a model.

Only this module decides it: sparse layers, masks, `topokit mask` and grids all call `place` or `fill`.
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
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from topokit._registry import matching
from topokit.convolutions import Mask, Shape, as_mask, readings, require_groups, shown
from topokit.descriptions import Description, parse
from topokit.errors import InvalidSpecError
from topokit.fields import names_of
from topokit.formats import is_of_masks, load_masks
from topokit.layered import Layer, Layered
from topokit.masking import as_bools, oriented, require_in_order, stored
from topokit.reprs import counted
from topokit.spec import network
from topokit.topologies import Topology

if TYPE_CHECKING:
    from topokit.extraction import Extraction

Wanted: TypeAlias = "Layered | str | PathLike[str] | Description | Layer | ArrayLike"
"""The edges for a weight, or for each weight that a pattern matches: a topology, description, layer or mask."""

Source: TypeAlias = "Layered | str | PathLike[str] | Extraction"
Topologies: TypeAlias = "Source | Sequence[Source] | Mapping[str, Wanted]"
"""The edges for a model, see `fill`."""


@dataclass(frozen=True)
class Weight:
    """The properties of a model's weight that matter for a topology.

    Args:
        shape: (out, in) of a linear layer; (out, in / groups, rows, columns) of a convolution.
        groups: number of groups of a convolution.
        layout: "in-out" if the model stores it as (in, out / groups, ...), as transposed convolutions do.
        only_by_name: whether a layer fills it only if its name is given, and never because of its shape.
        obstacle: the reason why no layer can fill it, as the end of a sentence; None if a layer can.
    """

    shape: Shape
    groups: int = 1
    only_by_name: bool = False
    obstacle: str | None = None
    layout: str = "out-in"

    def readings(self, before: Shape | None = None) -> tuple[tuple[int, int], ...]:
        """Return the (sources, targets) of the layers that can fill it.

        Args:
            before: the shape of the weight that the previous layer fills, see `topokit.convolutions.readings`.
        """
        return readings(self.shape, self.groups, before)

    @property
    def stored(self) -> Shape:
        """The shape that the model's own parameter has."""
        return oriented(np.broadcast_to(np.False_, self.shape), self.layout, self.groups).shape

    @property
    def group(self) -> tuple[int, int]:
        """The (sources, targets) of a layer by weight that fills one group."""
        return prod(self.shape[1:]), self.shape[0] // self.groups

    def mask(self, layer: Layer) -> Mask:
        """Return the mask, as the model stores the weight, that a layer describes. O(size of the weight).

        Raises:
            InvalidSpecError: an edge joins two groups of a convolution.
        """
        return oriented(as_mask(layer, self.shape, self.groups), self.layout, self.groups)

    def layer(self, mask: ArrayLike, name: str) -> Layer:
        """Return the layer by weight that a mask describes. O(size of the weight).

        Args:
            mask: entries are 0 or 1, as the model stores the weight.
            name: the name of the weight, for messages.

        Raises:
            InvalidSpecError: the mask has another shape.
            InvalidGraphError: an entry is not 0 or 1.
        """
        checked = as_bools(mask, name)
        if checked.shape != self.stored:
            raise InvalidSpecError(
                f"the mask of {name} has the shape {shown(checked.shape)}, but its weight has {shown(self.stored)}"
            )
        checked = oriented(checked, self.layout, self.groups)
        targets, sources = np.nonzero(checked.reshape(self.shape[0], -1))
        own = prod(self.shape[1:])
        sources = (
            sources + targets // max(self.shape[0] // self.groups, 1) * own
        )  # numbered among the sources of all groups
        return Layer.from_edges(sources, targets, (own * self.groups, self.shape[0]))


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
            topology's names, but not all; or the model permutes the inputs of an extracted layer.

    >>> from topokit.families.radix_net import RadixNet
    >>> square = Weight((6, 6))
    >>> place([RadixNet(radices=[(2, 3)])], {"fc1.weight": square, "fc2.weight": square, "fc3.weight": square})
    {'fc1.weight': Place(net=0, layer=0, before=None), 'fc2.weight': Place(net=0, layer=1, before=(6, 6))}
    """
    nets = [network(net, "the topology") for net in nets]
    for net in nets:
        require_in_order(net)
    if names is not None:
        names = names_of(names, "`names`")
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
            if _ends(net, where.layer) not in weights[name].readings(where.before):
                _require_fillable(name, weights[name])
                raise InvalidSpecError(f"{_no_weight(net, where.layer, {name: weights[name]})}; {_NAMED}")
        filled |= places
    return {name: filled[name] for name in weights if name in filled}


_NAMED = "the names of its layers chose this weight"


def fill(
    wanted: Topologies,
    weights: Mapping[str, Weight],
    names: str | Sequence[str] | None = None,
) -> dict[str, tuple[Layer, str]]:
    """Return the edges of the weights of a model that topologies, layers or masks fill.

    Args:
        wanted: one or several topologies, descriptions, files or results of `topokit_train.extract`, whose chains count
            as topologies, see `place`; or a mapping. The keys of a mapping are
            names, or patterns in which `*` matches any characters. Its values are topologies, descriptions, layers, or
            masks in the shape of the weight. A layer, a mask or a topology of one layer fills every matching weight.
            `place` distributes the layers of a deeper topology among the weights that match, and all of these must be
            filled. A description without widths takes the widths of each weight, see `Description.open_each`.
        weights: name -> weight, in the order in which the data pass them.
        names: see `place`; not allowed with a mapping.

    Returns:
        Name of each weight that is filled -> its edges, which `Weight.mask` converts to a mask, and their source.

    Raises:
        InvalidSpecError: nothing fits or matches; two entries match one weight; or a weight cannot be filled.
        InvalidGraphError: an entry of a mask is not 0 or 1.
    """
    if isinstance(wanted, str | PathLike) and Path(wanted).is_file() and is_of_masks(Path(wanted)):
        masks = load_masks(Path(wanted))
        owners = {name: weights[known_name(name, weights)] for name in masks}
        wanted = {name: stored(mask, owners[name].layout, owners[name].stored) for name, mask in masks.items()}
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
    """Return the topologies that a topology, a description, its text, a file or an extraction gives.

    Raises:
        InvalidSpecError: it is none of these.
    """
    from topokit.extraction import Extraction

    one = _parsed(one)
    if isinstance(one, Extraction):
        return one.chains
    return one.open_all() if isinstance(one, Description) else [network(one, "the topology")]


def _parsed(one: Any) -> Any:
    """The Description of a text or a path; other objects unchanged."""
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
        if (
            len(shape) == 2 and shape[1] > layer.shape[0]
        ):  # the sources are channels; each channel is several features of the weight
            layer = by_feature(layer, shape[1] // layer.shape[0])
        of = f" of topology {where.net}" if len(nets) > 1 else ""
        yield name, (layer, f"layer {where.layer}{of}")


def by_feature(layer: Layer, features: int) -> Layer:
    """Return a layer with `features` sources for each source, with the same targets. O(edges * features)."""
    sources = (layer.sources[:, None] * features + np.arange(features)).ravel()
    shape = (layer.shape[0] * features, layer.shape[1])
    return Layer.from_edges(sources, layer.targets.repeat(features), shape)


def thirds(layer: Layer) -> list[Layer]:
    """Return a layer to the targets of q, k and v of attention, one after another, as one for each."""
    edges, size = layer.to_scipy().tocsc(), layer.shape[1] // 3
    return [Topology.from_scipy(edges[:, part * size : (part + 1) * size]).layer(0) for part in range(3)]


def named(wanted: Mapping[str, Wanted], weights: Mapping[str, Weight]) -> tuple[Topology, ...]:
    """Return one topology of one layer for each weight that a mapping fills, with the weight's name.

    Because of these names, `place` fills the weights that the mapping names. So every function that takes topologies
    can take a mapping.

    Args:
        wanted: see `fill`.
        weights: name -> weight, in the order in which the data pass them.

    Raises:
        InvalidSpecError, InvalidGraphError: see `fill`.
    """
    filled = _by_pattern(wanted, weights)
    return tuple(filled[name][0] for name in weights if name in filled)


def _by_pattern(wanted: Mapping[str, Wanted], weights: Mapping[str, Weight]) -> dict[str, tuple[Topology, str]]:
    """Name of each weight that is filled -> a topology of one layer with this name, and its source."""
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
    """The topology of each weight that a description fills. Without widths, each group has its own random edges."""
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
    """The topology for a weight, from a topology of one layer, a layer or a mask."""
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
    """Return the names of the weights that a name or pattern matches.

    Raises:
        InvalidSpecError: it matches no weight.
    """
    if "*" not in pattern:
        return [known_name(pattern, weights)]
    fits = matching(pattern, weights)
    # if all matches are filled only by name, keep them: the error then names the reason why they cannot be filled
    found = [name for name in fits if not weights[name].only_by_name] or fits
    if not found:
        raise InvalidSpecError(f"the pattern {pattern!r} matches no weight: the model has {_listed(weights)}")
    return found


def known_name(name: str, weights: Mapping[str, Any]) -> str:
    """Return the full name of a weight, for `fc1`, `fc1.weight` or the name of a mask, `fc1.weight_mask`.

    Raises:
        InvalidSpecError: there is no such weight; the message gives similar names.
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
    """Whether the names of a topology's layers are names of weights.

    Raises:
        InvalidSpecError: only some of them are.
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
    """For each layer the first weight that it fits, after that of the previous layer; `filled` has taken weights."""
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
    """The chains of widths of `layers` consecutive weights."""
    runs = (
        run
        for start in range(len(weights) - layers + 1)
        for run in product(*(weight.readings() for weight in weights[start : start + layers]))
    )
    return [(run[0][0], *(out for _, out in run)) for run in runs if all(a[1] == b[0] for a, b in pairwise(run))]
