"""Extraction: the topology of a model from its weights, with a record of its origin.

`topokit_train.weights` and `topokit_train.reading` read files and models; nothing here opens one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Mask, Shape, require_reading, shown
from topokit.errors import InvalidSpecError
from topokit.extraction.chains import Connections, Joint
from topokit.extraction.choosing import are_exact, chosen, matched, with_layout, with_shapes
from topokit.extraction.names import could_be_layer, state_dict
from topokit.extraction.orders import arranged, assumptions
from topokit.extraction.rules import Rule, kept, magnitudes_of
from topokit.extraction.series import series
from topokit.extraction.tracing import Tracing, Use
from topokit.extraction.weights import Part, Weights, from_arrays, numbered
from topokit.fields import names_of, one_of
from topokit.layer import Layer
from topokit.masking import LAYOUTS, as_blocks, oriented
from topokit.reprs import Tabular, cell, listed, short_repr
from topokit.topologies import Topology

__all__ = ["Extraction", "Part", "Rule", "Weights", "extract", "from_arrays", "select", "state_dict"]


@dataclass(frozen=True, kw_only=True)
class Extraction(Tabular):
    """The layers that were read, and how they are connected.

    Args:
        parts: parameter name -> its weights and mask.
        rule: which weights are edges.
        counts: parameter name -> number of weights that are kept, and of all.
        edges: layer name -> edges.
        connections: the layers and their nodes.
        record: origin of the weights and rule, as JSON-able values; empty if the origin is unknown.
        order: where the order of the layers is from.
        layouts: parameter name -> how it is stored, see `topokit.masking.oriented`; "out-in" if it is missing.
        left: name of an array that is not a layer -> its shape and the reason.
        notes: messages for the user.
    """

    parts: Mapping[str, Part]
    rule: Rule
    counts: Mapping[str, tuple[int, int]]
    edges: Mapping[str, Layer]
    connections: Connections
    record: Mapping[str, Any]
    order: str
    layouts: Mapping[str, str]
    left: Mapping[str, tuple[tuple[int, ...], str]]
    notes: tuple[str, ...]

    __repr__ = short_repr

    @cached_property
    def masks(self) -> dict[str, Mask]:
        """Parameter name -> mask in the shape in which the model stores the parameter. A byte a weight."""
        return dict(kept(self.parts, self.rule))

    @property
    def oriented_masks(self) -> dict[str, Mask]:
        """The masks in the shape (out, in, ...), for `topokit.formats.save_masks` with `layouts`."""
        groups = {use.parameter: len(use.sources) for use in reversed(self.connections.tracing.uses)}
        return {
            name: oriented(mask, self.layouts.get(name, "out-in"), groups[name]) for name, mask in self.masks.items()
        }

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Name, parameter, shape, reading, order, kept and total weights, rule and edges of each layer, in order."""
        found = []
        for use in self.connections.tracing.uses:
            part = self.parts[use.parameter]
            number, total = self.counts[use.parameter]
            found.append(
                {
                    "name": use.name,
                    "parameter": use.parameter,
                    "shape": list(part.shape),
                    "read": self.connections.read(use),
                    "order": self.order,
                    "kept": number,
                    "total": total,
                    "rule": self.rule.of(part),
                    "edges": self.edges[use.name].edges,
                }
            )
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return `layers`."""
        return self.layers

    def rows(self) -> list[tuple[str, ...]]:
        keys = ("kept", "total", "rule", "edges")
        heads = ("layer", "shape", "read", "kept", "of", "rule", "edges")
        cells = [
            (one["name"], shown(tuple(one["shape"])), one["read"], *(cell(one[key]) for key in keys))
            for one in self.layers
        ]
        return [heads, *cells]

    @cached_property
    def chains(self) -> tuple[Topology, ...]:
        """A topology for each run of layers in series, with the names of the layers."""
        return tuple(map(self._chain, self.connections.chains))

    @cached_property
    def joints(self) -> list[Joint]:
        """How the chains are connected; see `topokit.extraction.chains`."""
        return self.connections.joints()

    def _chain(self, uses: list[Use]) -> Topology:
        recipe = None
        filters = any(use.filters for use in uses)
        names = [use.name for use in uses]
        conv = self.connections.conv
        if self.record:
            options = {**self.record, "layers": names, **({"conv": conv} if filters else {})}
            recipe = {"extraction": options.pop("kind"), "options": options}
        return Topology(
            [self.edges[name] for name in names],
            recipe=recipe,
            notes=self.notes,
            names=names,
            by_channel=filters and conv == "channel",
        )

    @property
    def topology(self) -> Topology:
        """The topology of all layers.

        Raises:
            InvalidSpecError: they are not one chain.
        """
        if len(self.chains) == 1:
            return self.chains[0]
        parts = "; ".join(",".join(chain.names[:6]) for chain in self.chains[:6])
        raise InvalidSpecError(
            f"the layers are not in series: they are {len(self.chains)} chains ({parts}). Use `chains` and `joints` of "
            "topokit_train.extract, or select the layers of one chain with `layers`"
        )


def select(
    weights: Weights,
    rule: Rule,
    layers: str | Sequence[str] = (),
    conv: str = "channel",
    layout: str | None = None,
    *,
    chained: bool = True,
) -> Extraction:
    """Choose layers of a model and, by a rule, the edges among their weights.

    Args:
        weights: of the model.
        rule: which weights are edges.
        layers: names, with or without `.weight`, or shell patterns, and @N behind a convolution in N groups; by default
            all parameters named weight.
        conv: read convolutions by "channel" or by "weight", see `topokit.convolutions`.
        layout: "out-in" or "in-out", how kernels are stored; by default what their names say, else out-in.
        chained: whether arrays without a graph must be in series; masks need not.

    Raises:
        InvalidSpecError: a name or pattern matches no layer, or the order or orientation is not certain.
        InvalidGraphError: see `topokit.extraction.rules.kept`.
        TooLargeError: not enough free memory.
    """
    require_reading(conv)
    if layout not in (None, *LAYOUTS[:2]):
        raise InvalidSpecError(f"`layout` must be one of {one_of(str(layout), LAYOUTS[:2])}")
    layers = names_of(layers, "`layers`")
    if weights.order == "the graph" and (layout or len({*layers}) < len(layers) or any("@" in one for one in layers)):
        raise InvalidSpecError(
            "the model itself says how its weights are stored and used: omit `layout`, and what follows @ and repeated "
            "names in `layers`"
        )
    tracing = _of_graph(weights, layers)
    order = "the model" if weights.is_recorded else "the graph"
    assumed: tuple[str, ...] = ()
    if tracing is None:
        if not chained and not weights.is_recorded:
            taken = (name for name, part in weights.parts.items() if could_be_layer(name, part))
            default = dict.fromkeys((*weights.default, *taken))
            weights = replace(weights, default=tuple(name for name in default if name not in weights.skipped))
        found, exact = chosen(weights, layers), are_exact(weights, layers)
        order = "the file"
        if chained:
            found, order = arranged(weights, found, exact=exact, layout=layout)
        elif layout is not None:
            found = tuple(with_layout(one, layout) for one in found)
        assumed = assumptions(found, weights, exact=exact, chained=chained)
        tracing = series(found) if chained else series(*([one] for one in found))
    wanted = {use.parameter: tracing.parts[use.parameter] for use in tracing.uses}
    connections = Connections(tracing, conv)
    uses: dict[str, list[Use]] = {}
    for use in tracing.uses:
        uses.setdefault(use.parameter, []).append(use)
    counts: dict[str, tuple[int, int]] = {}
    edges: dict[str, Any] = {}
    sizes: dict[str, tuple[int, int]] = {}
    layouts: dict[str, str] = {}
    permuted = [use.name for use in tracing.uses if not connections.in_order(use)]
    reordered: list[str] = []
    for name, mask in kept(wanted, rule):  # of a large model no more than one layer is in memory
        counts[name] = int(mask.sum()), mask.size
        if rule.of(wanted[name]) == "mask" and wanted[name].weight is not None:
            magnitudes_of(name, wanted[name])  # which refuses NaN; other rules have read the weights
        edges |= {use.name: connections.layer(use, mask) for use in uses[name]}
        sizes |= {use.name: connections.sizes(use, mask, edges[use.name]) for use in uses[name]}
        known = [_layout(use, mask.shape, by_filter=use.filters and conv == "channel") for use in uses[name]]
        layouts |= {name: known[0]} if known[0] not in (None, "out-in") else {}
        reordered += [
            use.name for use, one in zip(uses[name], known, strict=True) if one is None or name not in weights.parts
        ]
    full = [name for name, (number, all_) in counts.items() if rule.of(wanted[name]) == "nonzero" and number == all_]
    left = _left(weights, wanted, selected=bool(layers))
    stored = {**_shapes(tracing.uses, wanted, layouts, edges), "permuted": permuted, "reordered": reordered}
    return Extraction(
        parts=wanted,
        rule=rule,
        counts=counts,
        edges=edges,
        connections=connections,
        record=_record(weights, rule, stored),
        order=order,
        layouts=layouts,
        left=left,
        notes=(*_notes(wanted, full, {} if layers else left, order), *_lost(sizes), *assumed),
    )


def _record(weights: Weights, rule: Rule, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the recipe says: the file and the rule, and how the arrays differ from the layers."""
    stored = {key: value for key, value in stored.items() if value}
    if not (weights.origin or stored or weights.graph):
        return {}
    return {"kind": "module" if weights.graph else "arrays", **weights.origin, **rule.said(), **stored}


def _shapes(
    uses: Sequence[Use], parts: Mapping[str, Part], layouts: Mapping[str, str], edges: Mapping[str, Layer]
) -> dict[str, Any]:
    """Return the layouts and groups of layers, and the shapes (out, in / groups, ...) that differ from the layer's."""
    groups = {use.name: len(use.sources) for use in uses}
    shapes: dict[str, Shape] = {}
    for use in uses:
        shape = parts[use.parameter].shape
        if layout := layouts.get(use.parameter):
            shape = oriented(np.broadcast_to(np.False_, shape), layout, groups[use.name]).shape
        shapes |= {use.name: shape} if shape != edges[use.name].shape[::-1] else {}
    return {
        "layouts": layouts,
        "shapes": shapes,
        "groups": {name: number for name, number in groups.items() if number > 1},
    }


def _layout(use: Use, shape: Shape, *, by_filter: bool) -> str | None:
    """Return how a layer reads its parameter; None if it reorders the weights.

    A weight that it does not read, as by tril, has no edges, so that its place does not matter.

    Args:
        use: the layer.
        shape: of the parameter.
        by_filter: whether the weights of a filter may have any order, as all of them are one edge.
    """
    numbers = numbered(shape)
    matrix = use.matrix(numbers)
    groups = len(matrix)
    if matrix.dtype.kind != "i" or matrix.min(initial=0) < 0:  # constants stand among the numbers
        return None
    whole = len(shape) > 1 and matrix.shape[:2] == (groups, shape[0] // groups) and matrix.size == numbers.size
    if whole and matrix.flags.c_contiguous and np.may_share_memory(matrix, numbers):
        return "out-in"  # a view of all numbers in their order, as in most layers
    for layout in LAYOUTS if len(shape) > 1 else ():
        if shape[-1 if layout == "last" else 0] % groups:
            continue
        blocks = as_blocks(numbers, layout, groups)
        if (
            matrix.size == numbers.size
            and matrix.shape[:2] == blocks.shape[:2]
            and _fits(matrix.reshape(blocks.shape), blocks)
        ):
            return layout
        if by_filter and matrix.shape[:3] == blocks.shape[:3]:
            filters = np.arange(1, prod(blocks.shape[:3]) + 1).reshape(*blocks.shape[:3], 1)
            filter_of = np.zeros(numbers.size + 1, filters.dtype)
            filter_of[blocks] = filters
            if _fits(filter_of[matrix], filters):
                return layout
    return None


def _fits(numbers: NDArray[Any], expected: NDArray[Any]) -> bool:
    equal = numbers == expected
    return bool(equal.all() or (equal | (numbers == 0)).all())


def _of_graph(weights: Weights, layers: Sequence[str]) -> Tracing | None:
    """Return the graph of a model or, of the layers that the user gave, the part with these.

    None without a graph, and for names that it has no layers of, which are read as arrays.
    """
    tracing = weights.graph
    if tracing is None or (layers and weights.is_recorded):  # of a run, whose dense layers have a name too
        return None
    if layers:
        names = Weights(parts=tracing.parts, default=())
        if not all(matched(layer, names) for layer in layers):
            return None
        wanted = {one.name for one in chosen(names, layers)}
        part = tracing.with_uses([use for use in tracing.uses if use.parameter in wanted])
        part.weighted, part.outputs = [], []
        return part
    if not tracing.uses:
        left = _left(weights, {})
        other = "; ".join(f"{name}: {left[name][1]}" for name in list(tracing.reasons)[:12] if name in left)
        raise InvalidSpecError(
            f"the graph has no layer: no operator that topokit follows multiplies features by a weight ({other}): "
            "write the product as linear, matmul or a convolution"
            if other
            else "the graph has no layer: no operator multiplies features by a weight"
        )
    return tracing


def _left(
    weights: Weights, taken: Mapping[str, Part], *, selected: bool = False
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and reason of each array that was not taken."""
    reasons = {**weights.skipped, **(weights.graph.reasons if weights.graph else {})}
    default = "to extract it, select all layers by name"
    if selected:
        default = "it is not among the selected layers"
    elif weights.graph and not weights.is_recorded:
        default = "no operator of the graph reads it beside data"
    left = {
        name: (part.shape, reasons.get(name, default))
        for name, part in weights.parts.items()
        if name not in taken and len(part.shape) > 1
    }
    return left | {name: ((), reason) for name, reason in weights.refused.items()}


def _notes(
    taken: Mapping[str, Part], full: Sequence[str], left: Mapping[str, tuple[tuple[int, ...], str]], order: str
) -> Iterator[str]:
    if order.startswith("their"):
        yield f"the order of the layers is {order}: {', '.join(taken)}"
    if left:
        how = "to extract them, select all layers by name"
        if order == "the graph":
            how = "selected by name, they are read without the connections of the graph"
        yield f"not extracted: {with_shapes({name: shape for name, (shape, _) in left.items()})}; {how}"
    if full:
        yield f"no weight of {listed(full)} is 0, so the topology has all edges; keep the largest for fewer"


def _lost(sizes: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """Yield a note if edges have more weights than are kept."""
    wider = {name: size for name, size in sizes.items() if size[0] < size[1]}
    if wider:
        number, total = (sum(numbers) for numbers in zip(*wider.values(), strict=True))
        yield (
            f"reading by channel loses the pruning inside the filters or features of {listed(wider)}: {number:,} "
            f"weights are kept, but the edges have {total:,}. To keep it, extract with conv weight, or extract masks"
        )


def extract(
    weights: Weights | Mapping[str, ArrayLike],
    *,
    layers: str | Sequence[str] = (),
    rule: str | None = None,
    above: float | None = None,
    keep: float | str | None = None,
    scope: str = "layer",
    conv: str = "channel",
    layout: str | None = None,
) -> Topology:
    """Return the topology of a model's weights.

    Args:
        weights: the result of `topokit_train.read_weights`; or parameter name -> array of shape (out, in) or
            (out, in, rows, columns), also pairs of torch.nn.utils.prune. Tensors of torch are allowed if NumPy reads
            them.
        layers: names, with or without `.weight`, or shell patterns; by default all parameters named weight. @N behind
            the name of a convolution says that it has N groups.
        rule: "mask" or "nonzero"; by default a layer's mask or, without a mask, its weights other than 0.
        above: keep |w| > above.
        keep: keep this share of the weights, the largest.
        scope: the share is of each "layer", or "global".
        conv: read convolutions by "channel" or by "weight", see `topokit.convolutions`.
        layout: "in-out" for kernels that are stored as (in, out, ...).

    Raises:
        InvalidSpecError: no dictionary of arrays, numbers out of range, no such layer, layers that are not in series,
            or whose order or orientation is not certain: the message has what to choose from.
        InvalidGraphError: weights with NaN, a mask of another shape, or a layer of which nothing is kept.
        TooLargeError: not enough free memory.

    Cost: O(weights) time; about 9 bytes a weight and another 16 of the largest layer.

    >>> import numpy as np
    >>> extract({"fc1.weight": np.array([[0, 1.5], [2, 0], [0, 0.1]]), "fc2.weight": np.ones((1, 3))}, above=0.5)
    <Topology 2-3-1, 5 edges, density 0.5556>
    """
    known = weights if isinstance(weights, Weights) else from_arrays(weights)
    rules = Rule(rule=rule, above=above, keep=keep, scope=scope)
    return select(known, rules, layers, conv, layout).topology
