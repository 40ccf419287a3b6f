"""Weight: what a topology must know about a weight of a model; layers and masks of weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from topokit.convolutions import shown
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.masking import Parameter, as_bools, oriented
from topokit.topologies import Topology


@dataclass(frozen=True)
class Weight(Parameter):
    """A weight of a model, and whether a topology can fill it.

    Args:
        shape: (out, in) of a linear layer; (out, in / groups, rows, columns) of a convolution.
        groups: number of groups of a convolution.
        layout: "in-out" if the model stores it as (in, out / groups, ...), as transposed convolutions do.
        only_by_name: whether a layer fills it only if its name is given, and never because of its shape.
        obstacle: the reason why no layer can fill it, as the end of a sentence; None if a layer can.
    """

    only_by_name: bool = False
    obstacle: str | None = None

    @property
    def fits(self) -> str:
        """The layers that can fill it, as text: "784 -> 300"."""
        return " or ".join(f"{into} -> {out}" for into, out in self.readings())

    def require_fillable(self, name: str) -> None:
        """Refuse a weight that no layer can fill; `name` is its name, for the message.

        Raises:
            InvalidSpecError: says why.
        """
        if self.obstacle is not None:
            raise InvalidSpecError(f"{name} {self.obstacle}")

    @property
    def group(self) -> tuple[int, int]:
        """The (sources, targets) of a layer by weight that fills one group."""
        return prod(self.shape[1:]), self.shape[0] // self.groups

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
        sources += targets // (self.shape[0] // self.groups) * own  # numbered among the sources of all groups
        return Layer.from_edges(sources, targets, (own * self.groups, self.shape[0]))


def by_feature(layer: Layer, features: int) -> Layer:
    """Return a layer with `features` sources for each source, with the same targets. O(edges * features)."""
    sources = (layer.sources[:, None] * features + np.arange(features)).ravel()
    shape = (layer.shape[0] * features, layer.shape[1])
    return Layer.from_edges(sources, layer.targets.repeat(features), shape)


def thirds(layer: Layer) -> list[Layer]:
    """Return a layer to the targets of q, k and v of attention, one after another, as one for each."""
    edges, size = layer.to_scipy().tocsc(), layer.shape[1] // 3
    return [Topology.from_scipy(edges[:, part * size : (part + 1) * size]).layer(0) for part in range(3)]
