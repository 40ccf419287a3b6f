"""Extraction: what was read of a model, as topologies, masks and a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from topokit.convolutions import shown
from topokit.errors import InvalidSpecError
from topokit.extraction.chains import Connections, Joint
from topokit.extraction.rules import Rule, kept
from topokit.extraction.tracing import Use
from topokit.extraction.weights import Part
from topokit.layer import Layer
from topokit.masking import Masks, Parameter
from topokit.reprs import Tabular, cell, short_repr
from topokit.topologies import Topology


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
        parameters: layer name -> how the model stores its parameter; not of layers that reorder or compute it.
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
    parameters: Mapping[str, Parameter]
    left: Mapping[str, tuple[tuple[int, ...], str]]
    notes: tuple[str, ...]

    __repr__ = short_repr

    @cached_property
    def masks(self) -> Masks:
        """Parameter name -> mask in the shape in which the model stores the parameter. A byte a weight."""
        return Masks(dict(kept(self.parts, self.rule)), self.parameters)

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
