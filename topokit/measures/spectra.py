"""Spectra: the largest singular values of each edge layer, and how far it is from the best expander.

Keys:
    layers of singular_values, components, ratio, ramanujan_margin: the six largest singular values of the biadjacency
        matrix; connected components with an edge; sigma_2 / sigma_1; sqrt(out − 1) + sqrt(in − 1) − sigma_2
    mean_ratio: mean of sigma_2 / sigma_1 over the layers
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.components import connected_components
from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered
from topokit.measures._measure import Measure, each_layer, mean
from topokit.measures._singular import largest_values
from topokit.measures.degrees import LayerDegrees
from topokit.measures.twins import Quotient, quotient_of

DIGITS = 12
"""Digits after the point of a margin, so that rounding makes none of a layer that has none."""


@dataclass(frozen=True, slots=True)
class LayerSpectrum:
    """The singular values of one edge layer's biadjacency matrix.

    Args:
        singular_values: the largest ones, descending, each as often as it occurs.
        components: connected components with an edge. The largest singular value of a biregular layer, the
            trivial one, occurs that often.
        ratio: second singular value over the first: 0 for a complete layer, 1 for one of several equal components;
            None without edges.
        ramanujan_margin: sqrt(out - 1) + sqrt(in - 1) - sigma_2, of a biregular layer; negative if it is not a
            Ramanujan graph. The trivial singular value is sigma_1 = sqrt(out * in); a layer of several components has
            it again as sigma_2. None if degrees vary: no singular value is trivial then.

    Source: Marcus, Spielman & Srivastava 2015, Annals of Mathematics 182:307 (the margin).
    """

    singular_values: tuple[float, ...]
    components: int
    ratio: float | None
    ramanujan_margin: float | None


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
    >>> net = RadixNet(radices=[(3, 2)], kron=(1, 2, 2))
    >>> [tuple(map(round, found.singular_values)) for found in spectra(net, count=3)]
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
    first, second = (*values.tolist(), 0.0)[:2]
    out, into = LayerDegrees(layer.out_degrees, layer.in_degrees).constant
    ends = quotient.sources, quotient.targets + quotient.shape[0]
    parts = int(connected_components(*ends, sum(quotient.shape)).max()) + 1 if quotient.edges else 0
    margin = None
    if out and into:
        margin = round(sqrt(out - 1) + sqrt(into - 1) - second, DIGITS) + 0.0  # never -0.0
    return LayerSpectrum(tuple(values.tolist()), parts, second / first if first else None, margin)


def _weighted(quotient: Quotient) -> Any:
    """The quotient as a scipy.sparse.csr_array with the singular values of the layer."""
    from scipy.sparse import csr_array

    classes = quotient.source_class, quotient.target_class
    weights = [np.sqrt(np.bincount(labels[labels >= 0])) for labels in classes]
    data: NDArray[np.float64] = weights[0][quotient.sources] * weights[1][quotient.targets]
    return csr_array((data, (quotient.sources, quotient.targets)), shape=quotient.shape)


MEASURE = Measure(
    spectra,
    lambda found: {"mean_ratio": mean(layer.ratio for layer in found), "layers": found},
    cost=1000,
    scalars={"mean sigma_2/sigma_1": "mean_ratio"},
    columns={
        "sigma_1": lambda layer: layer["singular_values"][0],
        "sigma_2": lambda layer: (*layer["singular_values"], 0.0)[1],
        "margin": "ramanujan_margin",
    },
)
