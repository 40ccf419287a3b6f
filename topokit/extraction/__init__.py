"""Extraction: the topology of a model from its weights, with a record of its origin.

`topokit_train.weights` and `topokit_train.reading` read files and models; nothing here opens one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from topokit.convolutions import require_reading
from topokit.errors import InvalidSpecError
from topokit.extraction.chains import Connections
from topokit.extraction.choosing import are_exact, chosen, matched, with_layout, with_shapes
from topokit.extraction.names import could_be_layer, state_dict
from topokit.extraction.orders import arranged, assumptions
from topokit.extraction.result import Extraction
from topokit.extraction.rules import Rule, kept, magnitudes_of
from topokit.extraction.series import series
from topokit.extraction.storing import layout_of, record_of
from topokit.extraction.tracing import Tracing, Use
from topokit.extraction.weights import Part, Weights, from_arrays
from topokit.fields import names_of, one_of
from topokit.layer import Layer
from topokit.masking import DIFFERENCES, LAYOUTS, Parameter
from topokit.reprs import listed
from topokit.topologies import Topology

__all__ = ["Extraction", "Part", "Rule", "Weights", "extract", "from_arrays", "select", "state_dict"]


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
        layers: names, with or without `.weight`, or shell patterns, and @N behind a convolution in N groups; a list, or
            one text with commas; by default all parameters named weight.
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
    whole = {**weights.parts, **(weights.graph.parts if weights.graph else {})}
    layers = names_of(layers, "`layers`", [*whole, *(name.removesuffix(".weight") for name in whole)])
    if weights.order == "the graph" and (layout or len({*layers}) < len(layers) or any("@" in one for one in layers)):
        raise InvalidSpecError(
            "the model itself says how its weights are stored and used: omit `layout`, and what follows @ and repeated "
            "names in `layers`"
        )
    tracing = _of_graph(weights, layers)
    if tracing is not None:
        order = "the model" if weights.is_recorded else "the graph"
        return _extracted(weights, rule, tracing, conv, order, selected=bool(layers), chained=chained)
    tracing, order, assumed = _of_arrays(weights, layers, layout, chained=chained)
    return _extracted(weights, rule, tracing, conv, order, selected=bool(layers), chained=chained, assumed=assumed)


def _of_arrays(
    weights: Weights, layers: Sequence[str], layout: str | None, *, chained: bool
) -> tuple[Tracing, str, tuple[str, ...]]:
    """Return arrays as layers, the source of their order, and what is assumed about them; see `select`."""
    if not chained and not weights.is_recorded:
        taken = (name for name, part in weights.parts.items() if could_be_layer(name, part))
        default = dict.fromkeys((*weights.default, *taken))
        weights = replace(weights, default=tuple(name for name in default if name not in weights.skipped))
    found, exact = chosen(weights, layers), are_exact(weights, layers)
    order = "`layers`" if exact else weights.order or "the file"
    if chained:
        found, order = arranged(weights, found, exact=exact, layout=layout)
    elif layout is not None:
        found = tuple(with_layout(one, layout) for one in found)
    assumed = assumptions(found, weights, exact=exact, chained=chained)
    return series(found) if chained else series(*([one] for one in found)), order, assumed


def _extracted(
    weights: Weights,
    rule: Rule,
    tracing: Tracing,
    conv: str,
    order: str,
    *,
    selected: bool,
    chained: bool,
    assumed: tuple[str, ...] = (),
) -> Extraction:
    """Return the layers of a graph with their masks and edges.

    Args:
        weights: of the model.
        rule: which weights are edges.
        tracing: the layers.
        conv: see `select`.
        order: where the order of the layers is from.
        selected: whether the user selected layers.
        chained: whether they become topologies, and not only masks.
        assumed: what is assumed about the layers, as notes.
    """
    wanted = {use.parameter: tracing.parts[use.parameter] for use in tracing.uses}
    connections = Connections(tracing, conv)
    uses: dict[str, list[Use]] = {}
    for use in tracing.uses:
        uses.setdefault(use.parameter, []).append(use)
    counts: dict[str, tuple[int, int]] = {}
    edges: dict[str, Layer] = {}
    sizes: dict[str, tuple[int, int]] = {}
    parameters: dict[str, Parameter] = {}
    for name, mask in kept(wanted, rule):  # of a large model no more than one layer is in memory
        counts[name] = int(mask.sum()), mask.size
        if rule.of(wanted[name]) == "mask" and wanted[name].weight is not None:
            magnitudes_of(name, wanted[name])  # which refuses NaN; other rules have read the weights
        for use in uses[name]:
            edges[use.name] = connections.layer(use, mask)
            sizes[use.name] = connections.sizes(use, mask, edges[use.name])
            layout = layout_of(use, mask.shape, by_filter=use.filters and conv == "channel")
            if layout is not None:
                parameters[use.name] = Parameter.of(mask.shape, layout, len(use.sources))
    computed = [use.name for use in tracing.uses if use.name not in parameters or use.parameter not in weights.parts]
    found = {use.name: connections.difference(use) for use in tracing.uses}
    differing = {key: [name for name, how in found.items() if how == key] for key in DIFFERENCES}
    differing["reordered"] = computed
    full = [name for name, (number, all_) in counts.items() if rule.of(wanted[name]) == "nonzero" and number == all_]
    left = _left(weights, wanted, selected=selected)
    return Extraction(
        parts=wanted,
        rule=rule,
        counts=counts,
        edges=edges,
        connections=connections,
        record=record_of(weights, rule, parameters, edges, **differing),
        order=order,
        parameters=parameters,
        left=left,
        notes=(*_notes(wanted, full, {} if selected else left, order), *(_lost(sizes) if chained else ()), *assumed),
    )


def _of_graph(weights: Weights, layers: Sequence[str]) -> Tracing | None:
    """Return the graph of a model or, of the layers that the user gave, the part with these.

    None without a graph, or if it has no layers of these names: arrays are then read without a graph.
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
    """Return the shape of each array that was not taken, and the reason."""
    graph = weights.graph
    reasons = dict(weights.skipped)
    if graph:
        layers = {use.parameter for use in graph.uses}
        reasons |= {name: why for name, why in graph.reasons.items() if name not in layers}
    default = "to extract it, select all layers by name"
    if selected:
        default = "it is not among the selected layers"
    elif graph and not weights.is_recorded:
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
        yield f"no weight of {listed(full)} is 0, so the topology has all edges; give `keep` for fewer"


def _lost(sizes: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """Yield a note if edges have more weights than are kept."""
    wider = {name: size for name, size in sizes.items() if size[0] < size[1]}
    if wider:
        number, total = (sum(numbers) for numbers in zip(*wider.values(), strict=True))
        yield (
            f"reading by channel loses the pruning inside the filters or features of {listed(wider)}: {number:,} "
            f"weights are kept, but the edges have {total:,}. To keep it, extract with `conv` weight, or extract masks"
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
        layers: names, with or without `.weight`, or shell patterns, a list or one text with commas; by default all
            parameters named weight. @N behind the name of a convolution says that it has N groups.
        rule: "mask" or "nonzero"; by default a layer's mask or, without a mask, its weights other than 0.
        above: keep |w| > above.
        keep: keep this share of the weights, the largest.
        scope: the share is of each "layer", or "global".
        conv: read convolutions by "channel" or by "weight", see `topokit.convolutions`.
        layout: "in-out" for kernels that are stored as (in, out, ...), "out-in" for (out, in, ...).

    Raises:
        InvalidSpecError: not a dictionary of arrays, numbers out of range, no such layer, layers that are not in
            series, or whose order or orientation is not certain: the message has what to choose from.
        InvalidGraphError: weights with NaN, a mask of another shape, or a layer of which nothing is kept.
        TooLargeError: not enough free memory.

    Cost: O(weights) time; about 9 bytes a weight and another 16 of the largest layer, or of all layers with the scope
    "global".

    >>> import numpy as np
    >>> extract({"fc1.weight": np.array([[0, 1.5], [2, 0], [0, 0.1]]), "fc2.weight": np.ones((1, 3))}, above=0.5)
    <Topology 2-3-1, 5 edges, density 0.5556>
    """
    known = weights if isinstance(weights, Weights) else from_arrays(weights)
    rules = Rule(rule=rule, above=above, keep=keep, scope=scope)
    return select(known, rules, layers, conv, layout).topology
