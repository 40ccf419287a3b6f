"""Density: the share of all possible edges that a network has, as an exact fraction.

Keys:
    whole, layers: edges over all possible edges, of the network and of each layer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod

from topokit.layered import Source, network, possible_edges
from topokit.measures._measure import Measure
from topokit.reprs import short_repr


@dataclass(frozen=True, slots=True)
class Density:
    """Exact densities; sparsity is one minus density.

    Args:
        layers: edges over sources times targets, of each edge layer.
        whole: all edges over all cells, which is not the mean of `layers`.
    """

    layers: tuple[Fraction, ...]
    whole: Fraction

    __repr__ = short_repr


def density(net: Source) -> Density:
    """The density of each edge layer and of the whole network. O(layers): no edge is read.

    >>> from topokit.families.radix_net import RadixNet
    >>> density(RadixNet(radices=[(2, 5)], kron=(1, 3, 1)))
    Density(layers=(Fraction(1, 5), Fraction(1, 2)), whole=Fraction(7, 20))
    """
    net = network(net)
    return density_of(net.layer_edges, net.widths)


def density_of(layer_edges: Sequence[int], widths: Sequence[int]) -> Density:
    """The density of so many edges in each layer of a network of these widths."""
    layers = tuple(map(Fraction, layer_edges, map(prod, pairwise(widths))))
    return Density(layers, Fraction(sum(layer_edges), possible_edges(widths)))


MEASURE = Measure(density, cost=0, scalars={"density": "whole"}, columns={"density": ""})
