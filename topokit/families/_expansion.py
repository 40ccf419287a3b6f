"""What a spectral gap proves about the networks of expander layers."""

from __future__ import annotations

_ENOUGH = 180
"""Layers that do for all widths below 2^32: in all our families d^2 is at least 1.28 s^2, and 1.28^180 > 2^64."""


def gap_connects(nodes: int, degree: int, squared: int, layers: int) -> bool:
    """Whether the gap alone proves that every input reaches every output.

    With d the degree and s the largest singular value but d, the path counts of L layers are d^L / n everywhere,
    plus a matrix of norm s^L or less whose entries are at most (1 - 1/n) s^L. So none is 0 where d^L > (n - 1) s^L.

    Args:
        nodes: n, in each node layer.
        degree: d, in and out, in each edge layer; edges are counted with multiplicity.
        squared: s**2, or a bound on it.
        layers: L.
    """
    layers = min(layers, _ENOUGH)  # the powers would grow with the layers, and the answer stays
    gap: int = degree ** (2 * layers) - (nodes - 1) ** 2 * squared**layers
    return gap > 0
