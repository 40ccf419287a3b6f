"""fill(): the edges of each weight, from what a user gave: topologies, descriptions, layers, masks or a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from os import PathLike
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike

from topokit.convolutions import require_groups
from topokit.descriptions import Description, parse
from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats import is_of_masks, load_masks, read_parameters
from topokit.layered import Layer, Layered
from topokit.masking import require_in_order
from topokit.placement.names import known_name, matches
from topokit.placement.placing import place, require_as_extracted, require_layout
from topokit.placement.weights import Weight, by_feature
from topokit.reprs import counted
from topokit.spec import network
from topokit.topologies import Topology, fingerprint, fingerprint_error

if TYPE_CHECKING:
    from topokit.extraction import Extraction

Wanted: TypeAlias = "Layered | str | PathLike[str] | Description | Layer | ArrayLike"
"""The edges for a weight, or for each weight that a pattern matches: a topology, description, layer or mask."""

Source: TypeAlias = "Layered | str | PathLike[str] | Extraction"
Topologies: TypeAlias = "Source | Sequence[Source] | Mapping[str, Wanted]"
"""The edges for a model, see `fill`."""


def fill(
    wanted: Topologies,
    weights: Mapping[str, Weight],
    names: str | Sequence[str] | None = None,
) -> dict[str, tuple[Layer, str]]:
    """Return the edges of the weights of a model that topologies, layers or masks fill.

    Args:
        wanted: one or several topologies, descriptions, files or results of `topokit_train.extract`, whose chains count
            as topologies, see `place`; or a mapping. The keys of a mapping are names, or patterns in which `*` matches
            any characters. Its values are topologies, descriptions, layers, or masks in the shape of the weight. A
            layer, a mask or a topology of one layer fills every matching weight. `place` distributes the layers of a
            deeper topology among the weights that match, and all of these must be filled. A description without widths
            takes the widths of each weight, see `Description.open_each`.
        weights: name -> weight, in the order in which the data pass them.
        names: see `place`; not allowed with a mapping.

    Returns:
        Name of each weight that is filled -> its edges, which `Weight.mask` converts to a mask, and their source.

    Raises:
        InvalidSpecError: nothing fits or matches; two entries match one weight; or a weight cannot be filled.
        InvalidGraphError: an entry of a mask is not 0 or 1.
        FileFormatError: the edges of a file are not those of its fingerprint.
    """
    if isinstance(wanted, str | PathLike) and Path(wanted).is_file() and is_of_masks(Path(wanted)):
        path = Path(wanted)
        wanted = load_masks(path)
        for name, parameter in read_parameters(path).items():
            require_layout(parameter.layout, name, weights[known_name(name, weights)])
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
        FileFormatError: the edges of a file are not those of its fingerprint, which costs O(edges) time.
    """
    from topokit.extraction import Extraction

    one = _parsed(one)
    if isinstance(one, Extraction):
        return one.chains
    nets = one.open_all() if isinstance(one, Description) else (network(one, "the topology"),)
    return [_unchanged(net, one) for net in nets]


def _unchanged(net: Layered, source: object) -> Layered:
    """Return a topology, after a comparison of its edges, and those of its parts, with the fingerprints of their files.

    Raises:
        FileFormatError: edges have another fingerprint.
    """
    if isinstance(net, Topology) and net.recorded_fingerprint and (problem := fingerprint_error(net, fingerprint(net))):
        what = f"the file {source}" if isinstance(source, Description) else "the file of the topology"
        raise FileFormatError(f"{what} is damaged or was changed: {problem}: get it again from its source")
    values: list[object] = [getattr(net, one.name) for one in fields(net)] if is_dataclass(net) else []
    for value in values:
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Layered):
                _unchanged(part, source)
    return net


def _parsed(one: Any) -> Any:
    """Return the Description of a text or a path; other objects unchanged."""
    if isinstance(one, str):
        return parse(one)
    return Description(kind="file", name=str(one)) if isinstance(one, PathLike) else one


def _layers(
    nets: Sequence[Layered], weights: Mapping[str, Weight], names: str | Sequence[str] | None = None
) -> Iterator[tuple[str, tuple[Layer, str]]]:
    """Yield the name of each weight that topologies fill, its edges and their source; see `place`."""
    for name, where in place(nets, weights, names).items():
        weights[name].require_fillable(name)
        layer, shape = nets[where.net].layer(where.layer), weights[name].shape
        # the sources are channels, of which each is several features of the weight
        if (inputs := shape[1] * weights[name].groups) > layer.shape[0]:
            layer = by_feature(layer, inputs // layer.shape[0])
        of = f" of topology {where.net}" if len(nets) > 1 else ""
        yield name, (layer, f"layer {where.layer}{of}")


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
    """Return name of each weight that is filled -> a topology of one layer with this name, and its source."""
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
    """Yield the name of each weight that one entry of a mapping fills, and what `_by_pattern` returns for it."""
    for name, weight in matched.items():
        weight.require_fillable(name)
    one = _parsed(one)
    if isinstance(one, Topology):
        one = _unchanged(one, one)
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
    """Return the topology of each weight that a description fills.

    Without widths, a random description gives each weight, and each group of a convolution, edges of its own.
    """
    from scipy.sparse import block_diag

    if description.has_widths:
        return [_unchanged(description.open(), description)] * len(weights)
    parts = iter(description.open_each([weight.group for weight in weights for _ in range(weight.groups)]))
    nets = []
    for weight in weights:
        blocks = [next(parts) for _ in range(weight.groups)]
        if len(blocks) > 1:
            blocks = [Topology.from_scipy([block_diag([one.layer(0).to_scipy() for one in blocks], format="csr")])]
        nets += blocks
    return nets


def _single(pattern: str, one: Any, name: str, weight: Weight) -> tuple[Topology, str]:
    """Return the topology for a weight, from a topology of one layer, a layer or a mask."""
    if not isinstance(one, Layered | Layer):
        if isinstance(one, bytes) or not (hasattr(one, "__array__") or isinstance(one, Sequence)):
            raise InvalidSpecError(
                f"{pattern!r} must be given a topology, a description, a layer or a mask, not {shortened(one)}"
            )
        return Topology([weight.layer(one, name)], names=[name]), "mask"
    layer = one if isinstance(one, Layer) else one.layer(0)
    if layer.shape not in weight.readings():
        given = f"{layer.shape[0]} -> {layer.shape[1]}"
        raise InvalidSpecError(f"{pattern!r} matches {name}, which takes a layer {weight.fits}, not {given}")
    if isinstance(one, Layer):
        return Topology([layer], names=[name]), "layer"
    require_in_order(one)
    require_as_extracted(one, 0, name, weight)
    return Topology([layer], recipe=one.recipe, promises=one.promises, notes=one.notes, names=[name]), "layer 0"
