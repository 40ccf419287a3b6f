"""The graph of arrays that are layers in series."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from topokit.extraction.choosing import Chosen
from topokit.extraction.tracing import Constant, Tracing
from topokit.extraction.weights import Part
from topokit.masking import as_blocks


def series(*chains: Sequence[Chosen]) -> Tracing:
    """Return a graph in which each layer of a chain reads the outputs of the layer before.

    The first one, and one that cannot follow the layer before, has inputs of its own.
    """
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
        matrix = partial(as_blocks, layout=one.part.layout, groups=one.groups)
        made = tracing.connect(weight, how, matrix, reads, out, filters=one.is_convolution)
        nodes = made.ravel()
    return tracing
