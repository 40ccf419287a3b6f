"""Extraction: the topology of a model from its weights, with a record of its origin.

`topokit_train.weights` reads the files; nothing here opens one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import ArrayLike

from topokit.convolutions import Mask, require_reading
from topokit.extraction.choosing import are_exact, chained, chosen, listed
from topokit.extraction.rules import Rule, kept
from topokit.extraction.weights import Weights, from_arrays
from topokit.fields import names_of
from topokit.masking import from_masks
from topokit.reprs import Tabular, cell, short_repr
from topokit.topologies import Topology

__all__ = ["Extraction", "Rule", "Weights", "extract", "select"]


@dataclass(frozen=True, kw_only=True)
class Extraction(Tabular):
    """The masks of the chosen layers.

    Args:
        masks: parameter name -> mask of the weight's own shape.
        rules: parameter name -> the rule of its mask.
        record: origin of the weights and rule, as JSON-able values; empty if the origin is unknown.
        fixed: whether the user gave the order.
        notes: messages for the user.
    """

    masks: dict[str, Mask]
    rules: dict[str, str]
    record: Mapping[str, Any]
    fixed: bool
    notes: tuple[str, ...]

    __repr__ = short_repr

    def layers(self) -> list[dict[str, Any]]:
        """Return name, shape, kept, total and rule of each layer."""
        return [
            {"name": name, "shape": list(mask.shape), "kept": int(mask.sum()), "total": mask.size, "rule": rule}
            for (name, mask), rule in zip(self.masks.items(), self.rules.values(), strict=True)
        ]

    records = layers

    def rows(self) -> list[tuple[str, ...]]:
        heads = ("layer", "shape", "kept", "of", "share", "rule")
        return [
            heads,
            *(
                (name, " x ".join(map(str, shape)), cell(kept), cell(total), cell(kept / total), rule)
                for name, shape, kept, total, rule in (one.values() for one in self.layers())
            ),
        ]

    def in_order(self, conv: str = "channel") -> Extraction:
        """Return the same masks in an order in which their layers chain.

        Raises:
            InvalidSpecError: there is no such order, or more than one.
        """
        require_reading(conv)
        order = chained({name: mask.shape for name, mask in self.masks.items()}, conv, fixed=self.fixed)
        if order == tuple(self.masks):
            return self
        note = f"the layers are in the order in which their shapes chain: {', '.join(order)}"
        return replace(
            self,
            masks={name: self.masks[name] for name in order},
            rules={name: self.rules[name] for name in order},
            notes=(*self.notes, note),
        )

    def topology(self, conv: str = "channel") -> Topology:
        """Return the topology of the masks in their order, with their names and a recipe that records their origin.

        Raises:
            InvalidGraphError: they do not chain: see `in_order`.
            TooLargeError: not enough free memory.
        """
        made = from_masks(self.masks, conv)
        recipe = None
        if self.record:
            options = {**self.record, "layers": list(self.masks)}
            if any(mask.ndim == 4 for mask in self.masks.values()):
                options["conv"] = conv
            recipe = {"extraction": options.pop("kind"), "options": options}
        about: dict[str, Any] = {"notes": self.notes, "names": made.names, "by_channel": made.by_channel}
        return Topology(made, recipe=recipe, **about)


def select(weights: Weights, rule: Rule, layers: str | Sequence[str] = ()) -> Extraction:
    """Choose layers of a model and, by a rule, the edges among their weights.

    Args:
        weights: of the model.
        rule: which weights are edges.
        layers: names, with or without `.weight`, or shell patterns; by default all parameters named weight.

    Raises:
        InvalidSpecError: a name or pattern matches no layer.
        InvalidGraphError: see `topokit.extraction.rules.kept`.
        TooLargeError: not enough free memory.
    """
    layers = names_of(layers, "`layers`")
    names = chosen(weights, layers)
    parts = {name: weights.parts[name] for name in names}
    rules = {name: rule.of(part) for name, part in parts.items()}
    masks = kept(parts, rule)
    full = [name for name, mask in masks.items() if rules[name] == "nonzero" and mask.all()]
    notes = [] if layers else list(weights.notes)
    default = {*weights.default}
    others = {name: part.shape for name, part in weights.parts.items() if name not in default}
    if others and not layers and not notes:
        notes.append(f"not extracted: {listed(others)}; to extract them, select all layers by name")
    if full:
        notes.append(f"no weight of {', '.join(full)} is 0, so the topology has all edges; keep the largest for fewer")
    record = {**weights.origin, **rule.said()} if weights.origin else {}
    return Extraction(masks=masks, rules=rules, record=record, fixed=are_exact(weights, layers), notes=tuple(notes))


def extract(
    weights: Weights | Mapping[str, ArrayLike],
    *,
    layers: str | Sequence[str] = (),
    rule: str | None = None,
    above: float | None = None,
    keep: float | str | None = None,
    scope: str = "layer",
    conv: str = "channel",
) -> Topology:
    """Return the topology of a model's weights.

    Args:
        weights: the result of `topokit_train.read_weights`; or parameter name -> array of shape (out, in) or
            (out, in, rows, columns), also pairs of torch.nn.utils.prune. Tensors of torch are allowed if NumPy reads
            them.
        layers: names, with or without `.weight`, or shell patterns; by default all parameters named weight.
        rule: "mask" or "nonzero"; by default a layer's mask or, without a mask, its weights other than 0.
        above: keep |w| > above.
        keep: keep this share of the weights, the largest.
        scope: the share is of each "layer", or "global".
        conv: read convolutions by "channel" or by "weight", see `topokit.convolutions`.

    Raises:
        InvalidSpecError: no dictionary of arrays, numbers out of range, no such layer, or layers that do not chain.
        InvalidGraphError: weights with NaN, a mask of another shape, or a layer of which nothing is kept.
        TooLargeError: not enough free memory.

    Cost: O(weights) time; about 9 bytes a weight and another 16 of the largest layer.

    >>> import numpy as np
    >>> extract({"fc1.weight": np.array([[0, 1.5], [2, 0], [0, 0.1]]), "fc2.weight": np.ones((1, 3))}, above=0.5)
    <Topology 2-3-1, 5 edges, density 0.5556>
    """
    known = weights if isinstance(weights, Weights) else from_arrays(weights)
    found = select(known, Rule(name=rule, above=above, keep=keep, scope=scope), layers)
    return found.in_order(conv).topology(conv)
