"""The graph of arrays that are layers in series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.extraction.choosing import Chosen
from topokit.extraction.tracing import Constant, Tracing
from topokit.extraction.weights import Part


def series(*chains: Sequence[Chosen]) -> Tracing:
    """Return a graph in which each layer of a chain reads the outputs of the one before; the first has own inputs."""
    tracing = Tracing()
    parts: dict[str, Part] = {}
    for before, one in ((before, one) for chain in chains for before, one in zip((None, *chain), chain, strict=False)):
        into = one.ends[0]
        if before is None or not one.follows(before):
            nodes = tracing.fresh(f"input of {one.name}" if tracing.uses else "input", "input", (into,))
        each = into // nodes.size
        reads = np.tile(nodes, each) if one.flat == "last" else nodes.repeat(each)
        reads = reads.reshape(one.groups, -1, 1)
        out = one.ends[1] // one.groups
        how = "(in, out)" if one.part.layout != "out-in" else "(out, in)"
        how += f", {one.groups} groups" if one.groups > 1 else ""
        how += f", channels {one.flat}" if each > 1 else ""
        how += f", {one.assumed}" if one.assumed else ""
        weight = Constant.of(one.name, parts.setdefault(one.name, one.part))  # also of one that is used twice
        made = tracing.connect(weight, how, _matrix(one), reads, out, filters=one.is_convolution)
        nodes = made.ravel()
    return tracing


def _matrix(one: Chosen) -> Any:
    """Return what makes (groups, out, in, taps) of an array of the layer's weight."""
    groups, out, layout = one.groups, one.ends[1] // one.groups, one.part.layout

    def matrix(array: NDArray[Any]) -> NDArray[Any]:
        if layout == "last":
            array = np.moveaxis(array, (-1, -2), (0, 1))
        if layout == "in-out":
            return np.swapaxes(array.reshape(groups, -1, out, math.prod(array.shape[2:])), 1, 2)
        return array.reshape(groups, out, array.shape[1], -1)

    return matrix
