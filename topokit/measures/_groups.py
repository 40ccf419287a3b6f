"""Groups: n:m sparsity, where each node has n edges in every group of m consecutive nodes on the other side."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from topokit.layered import Layer

LARGEST = 64
"""The largest m that is looked for. Hardware knows 4, and the literature goes to 32."""


@dataclass(frozen=True, slots=True)
class Groups:
    """n:m sparsity of an edge layer.

    Args:
        n: edges in each group.
        m: consecutive nodes in a group; the first group begins with node 0.
        along: "sources" if each target has n edges in every group of m sources, as hardware wants it; "targets" if
            each source has n in every group of m targets.
    """

    n: int
    m: int
    along: str

    def __str__(self) -> str:
        return f"{self.n}:{self.m} along the {self.along}"


def groups_of(layer: Layer, fan_in: int | None, fan_out: int | None) -> Groups | None:
    """The n:m sparsity with the smallest m that a layer has, along the sources if it has it there, else the targets.

    There are at least two groups, as a single one says no more than the fan-in does; and a complete layer, in which
    n = m, has none.

    Args:
        layer: the layer.
        fan_in: in-degree of every target, None where it varies.
        fan_out: out-degree of every source, None where it varies.

    Cost: O(edges) for each m that divides the width and fits the degree; O(edges / groups) where the first group
    shows that there is none, as it does in a random layer.

    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378.
    """
    sources, targets = layer.shape
    for n, m in _fitting(fan_in, sources):
        if all(_has_along_sources(layer, n, low, low + m) for low in range(0, sources, m)):
            return Groups(n, m, "sources")
    for n, m in _fitting(fan_out, targets):
        ends = layer.indices.reshape(sources, targets // m, n)  # each source's targets are sorted
        if all((ends[:, k] // np.uint64(m) == k).all() for k in range(targets // m)):
            return Groups(n, m, "targets")
    return None


def _fitting(degree: int | None, width: int) -> list[tuple[int, int]]:
    """(n, m) of the groups that so many edges can be spread over evenly, the smallest m first."""
    if not degree or degree == width:
        return []
    step = width // gcd(degree, width)
    sizes = range(step, min(LARGEST, width // 2) + 1, step)
    return [(degree * m // width, m) for m in sizes if width % m == 0]


def _has_along_sources(layer: Layer, n: int, low: int, high: int) -> bool:
    """Whether each target has n edges from sources low to high - 1."""
    start, end = layer.indptr[[low, high]].tolist()
    if end - start != n * layer.shape[1]:
        return False
    counts = np.bincount(layer.indices[start:end].view(np.intp), minlength=layer.shape[1])
    return bool((counts == n).all())
