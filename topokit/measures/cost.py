"""Cost: the numbers, operations and bytes that a network's layers take.

Keys:
    weights, biases, multiply_adds: a weight and a multiply-add (two floating-point operations) for each edge, a bias
        for each node behind the inputs
    weight_bytes, csr_bytes, dense_bytes: bytes in float32: the weights alone; with uint32 targets and uint64 row
        pointers; the same layers as dense matrices
"""

from __future__ import annotations

from dataclasses import dataclass

from topokit.layered import Layered
from topokit.measures._measure import Measure, Values


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network takes as a neural network with a bias for each node but the inputs.

    Args:
        weights: one for each edge.
        biases: one for each node behind the inputs.
        multiply_adds: for one sample, forwards: one for each edge. Twice that many floating-point operations.
        weight_bytes: of the weights alone, as float32.
        csr_bytes: of the weights in compressed sparse rows: float32 values, uint32 targets, uint64 row pointers.
        dense_bytes: of the same layers as dense float32 matrices.
    """

    weights: int
    biases: int
    multiply_adds: int
    weight_bytes: int
    csr_bytes: int
    dense_bytes: int


def cost(net: Layered) -> Cost:
    """The parameters, multiply-adds and bytes of a network. O(layers): no edge is read.

    >>> from topokit.families.radix_net import RadixNet
    >>> found = cost(RadixNet(radices=[(10, 10)], kron=(8, 3, 1)))
    >>> found.weights, found.biases, found.csr_bytes, found.dense_bytes
    (27000, 400, 224816, 1080000)
    """
    edges, widths = net.edges, net.widths
    pointers = sum(width + 1 for width in widths[:-1])
    return Cost(
        weights=edges,
        biases=sum(widths[1:]),
        multiply_adds=edges,
        weight_bytes=4 * edges,
        csr_bytes=(4 + 4) * edges + 8 * pointers,
        dense_bytes=4 * net.possible_edges,
    )


def _line(values: Values) -> dict[str, str]:
    weights, csr, dense = (f"{values[key]:,}" for key in ("weight_bytes", "csr_bytes", "dense_bytes"))
    return {
        "parameters": f"{values['weights']:,} weights, {values['biases']:,} biases",
        "multiply-adds": f"{values['multiply_adds']:,} per sample",
        "float32": f"{weights} bytes of weights, {csr} as CSR, {dense} dense",
    }


MEASURE = Measure(cost, cost=0, line=_line, by_channel=False)
