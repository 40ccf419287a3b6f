"""Spectra: the largest singular values of each edge layer, and how far it is from the best expander."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered
from topokit.measures._layers import each_layer
from topokit.measures._singular import largest_values
from topokit.measures.degrees import LayerDegrees
from topokit.measures.twins import Quotient, quotient_of

DIGITS = 12
"""Digits after the point of a margin, so that rounding makes none of a layer that has none."""


@dataclass(frozen=True, slots=True)
class LayerSpectrum:
    """The singular values of one edge layer's biadjacency matrix.

    Args:
        values: the largest ones, descending, each as often as it occurs.
        components: connected components with an edge. The largest singular value of a biregular layer, the
            trivial one, occurs that often.
        degrees: (out-degree, in-degree), None for a side that varies.
    """

    values: tuple[float, ...]
    components: int
    degrees: tuple[int | None, int | None]

    @property
    def ratio(self) -> float | None:
        """Second singular value over the first: 0 is a complete layer, 1 one that falls apart; None without edges."""
        return self._second / self.values[0] if self.values[0] else None

    @property
    def ramanujan_margin(self) -> float | None:
        """sqrt(out - 1) + sqrt(in - 1) - sigma_2, for a biregular layer; negative where it is no Ramanujan graph.

        sigma_1 = sqrt(out * in) is the trivial singular value. A layer that falls apart has it again as
        sigma_2. Where degrees vary nothing is trivial and the bound has no meaning: None.

        Source: Marcus, Spielman & Srivastava 2015, Annals of Mathematics 182:307.
        """
        out, into = self.degrees
        if not (out and into):
            return None
        return round(sqrt(out - 1) + sqrt(into - 1) - self._second, DIGITS) + 0.0  # never -0.0

    @property
    def _second(self) -> float:
        return self.values[1] if len(self.values) > 1 else 0.0


def spectra(net: Layered, *, count: int = 6) -> Iterator[LayerSpectrum]:
    """The `count` largest singular values of each edge layer; layers known to be equal are read once.

    Twins are taken together first, which changes no singular value but zeros: if class i of sources has a_i nodes
    and class j of targets b_j, the values are those of the quotient with entries sqrt(a_i b_j).

    Cost of a layer: O(edges log edges), and either a dense decomposition of the quotient, where it has at
    most 64 classes on one side or nearly all values are asked for; or Lanczos' iteration, O(edges) a step. The
    latter gives a value that occurs more than once at least once, and as a rule as often as it occurs.

    Raises:
        InvalidSpecError: `count` below 2.
        TooLargeError: not enough free memory, or no convergence.

    >>> from topokit.families.radix_net import RadixNet
    >>> [tuple(map(round, found.values)) for found in spectra(RadixNet(radices=[(3, 2)], kron=(1, 2, 2)), count=3)]
    [(4, 3, 3), (4, 4, 4)]
    """
    if count < 2:
        raise InvalidSpecError(f"count must be at least 2, not {count}: the second singular value is always looked at")
    return each_layer(net, partial(_spectrum, count=count))


def _spectrum(layer: Layer, count: int) -> LayerSpectrum:
    quotient = quotient_of(layer)
    matrix = _weighted(quotient)
    values = np.zeros(min(count, *layer.shape))
    found = largest_values(matrix, min(values.size, *matrix.shape))
    values[: found.size] = found
    degrees = LayerDegrees(layer.out_degrees, layer.in_degrees).constant
    return LayerSpectrum(tuple(values.tolist()), _components(quotient), degrees)


def _weighted(quotient: Quotient) -> Any:
    """The quotient as a scipy.sparse.csr_array with the singular values of the layer."""
    from scipy.sparse import csr_array

    weights = [np.sqrt(sizes) for sizes in quotient.sizes]
    data: NDArray[np.float64] = weights[0][quotient.sources] * weights[1][quotient.targets]
    return csr_array((data, (quotient.sources, quotient.targets)), shape=quotient.shape)


def _components(quotient: Quotient) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sources, nodes = quotient.shape[0], sum(quotient.shape)
    ends = quotient.sources, quotient.targets + sources
    graph = coo_array((np.ones(quotient.edges, np.bool_), ends), shape=(nodes, nodes))
    return int(connected_components(graph, directed=False, return_labels=False)) if nodes else 0
