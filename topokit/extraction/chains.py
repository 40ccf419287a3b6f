"""The layers of a traced graph as topologies: chains of layers in series, and how the chains are joined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from topokit.convolutions import Mask, shown
from topokit.edges import from_mask
from topokit.errors import InvalidGraphError
from topokit.extraction.tracing import Ids, Space, Tracing, Use, nodes_of
from topokit.layer import Layer

Joint = dict[str, Any]
"""kind ("parallel", "added", "concatenated", "part", ...), from and to (names of layers and inputs), JSON-able."""


def _spread(matrix: Mask, sources: Ids) -> Mask:
    """Return the edges (nodes, groups * out) of a matrix (groups, out, in) whose inputs are nodes (groups, in, k)."""
    groups, out, _ = matrix.shape
    nodes = nodes_of(sources)
    edges = np.zeros((nodes.size, groups * out), np.bool_)
    for group, columns in enumerate(sources):
        which, k = np.nonzero(columns >= 0)
        if which.size:
            at = np.searchsorted(nodes, columns[which, k])
            order = np.argsort(at, kind="stable")
            rows, starts = np.unique(at[order], return_index=True)
            block = np.logical_or.reduceat(matrix[group][:, which[order]], starts, axis=1)
            edges[rows, group * out : (group + 1) * out] = block.T
    return edges


@dataclass(frozen=True)
class Connections:
    """Which layers follow each other, and how the others are joined.

    Args:
        tracing: the nodes and layers of a graph.
        conv: reading of convolutions, by "channel" or by "weight".
    """

    tracing: Tracing
    conv: str

    @cached_property
    def reads(self) -> list[Ids]:
        """The nodes that each layer reads, increasing."""
        return [use.nodes for use in self.tracing.uses]

    @cached_property
    def read_spaces(self) -> list[list[Space]]:
        """The spaces of the nodes that each layer reads."""
        return [self.tracing.spaces_of(ids) for ids in self.reads]

    def patched(self, use: Use) -> bool:
        """Whether the sources of a layer are weights of filters, or features, and not nodes of the layers before."""
        return self.conv != "channel" and self._joins(use)

    def _joins(self, use: Use) -> bool:
        """Whether an edge by channel is several weights: of a filter, or of the features of a node."""
        return use.filters or not (use.in_line or self.features(use) == 1)

    def features(self, use: Use) -> int:
        """Return the number of inputs of a layer for each node that it reads; 0 if it differs, or there is no node."""
        times, rest = divmod(use.sources[..., 0].size, max(use.nodes.size, 1))
        return 0 if rest else times

    def read(self, use: Use) -> str:
        """Return how a layer is read, for a table."""
        times = 1 if self.patched(use) else self.features(use)
        each = f" ({times or 'several'} features of each)" if times != 1 and use.sources.size else ""
        return f"{use.how}, by {self.conv}{each}" if use.filters or each else use.how

    def sizes(self, use: Use, mask: Mask, layer: Layer) -> tuple[int, int]:
        """Return the numbers of weights that a layer keeps, and that its edges have: a filter, or all features."""
        if self.conv != "channel" or not self._joins(use):
            return layer.edges, layer.edges
        matrix = use.matrix(mask)
        groups, out, _, taps = matrix.shape
        inputs = use.sources[..., -1]  # the last node of an input; -1 if it has none
        group, at = np.nonzero(inputs >= 0)
        of = np.zeros((groups, use.nodes.size), np.int64)
        np.add.at(of, (group, np.searchsorted(use.nodes, inputs[group, at])), taps)
        return int(np.count_nonzero(matrix)), int(of[layer.targets // out, layer.sources].sum())

    def difference(self, use: Use) -> str:
        """Return how the inputs of a layer differ from its nodes in their order: a key of topokit.masking.DIFFERENCES.

        "" if they are the nodes in the order of their numbers, each equally often in a row.
        """
        if use.in_line or self.patched(use):
            return ""
        if use.sources.shape[2] > 1:
            return "joined"
        inputs = use.sources.ravel()
        known = inputs[inputs >= 0]
        if (np.diff(known) < 0).any():
            return "permuted"
        if known.size < inputs.size:
            return "padded"
        return "" if np.array_equal(use.nodes.repeat(self.features(use)), inputs) else "uneven"

    def layer(self, use: Use, mask: Mask) -> Layer:
        """Return the edges of a layer by the mask of its parameter. O(weights); 2 bytes a weight."""
        matrix = use.matrix(mask)
        if matrix.ndim != 4 or matrix.shape[::2] != use.sources.shape[:2]:
            raise InvalidGraphError(f"{use.name} {shown(mask.shape)} does not fit what it multiplies: save it again")
        groups, out, into, taps = matrix.shape
        patched = self.patched(use)
        if patched:
            matrix, sources = matrix.reshape(groups, out, -1), np.arange(groups * into * taps)
            sources = sources.reshape(groups, into * taps, 1)
        else:
            matrix, sources = matrix[..., 0] if taps == 1 else np.asarray(matrix.any(axis=3)), use.sources
        edges = matrix[0].T if use.in_line or (patched and groups == 1) else _spread(matrix, sources)
        return Layer(from_mask(edges, use.name))

    @cached_property
    def _live(self) -> set[str]:
        """Names of the spaces that a layer or the output depends on."""
        tracing = self.tracing
        read = (*tracing.outputs, *(by for _, _, by in tracing.weighted))
        spaces = (*self.read_spaces, *map(tracing.spaces_of, read))
        found = {space.name for several in spaces for space in several}
        for space in reversed(tracing.spaces):
            if space.kind != "layer" and space.name in found:
                found |= {one.name for one in tracing.spaces_of(space.of)}
        return found

    @cached_property
    def readers(self) -> dict[str, list[str]]:
        """Name of a layer, input or joint -> the names of those that read its nodes."""
        tracing = self.tracing
        pairs = [(use.name, spaces) for use, spaces in zip(tracing.uses, self.read_spaces, strict=True)]
        live = (space for space in tracing.spaces if space.name in self._live and space.of.size)
        pairs += [(space.name, tracing.spaces_of(space.of)) for space in live]
        pairs += [(name, tracing.spaces_of(by)) for name, _, by in tracing.weighted]
        found: dict[str, list[str]] = {}
        for reader, spaces in pairs:
            for space in spaces:
                found.setdefault(space.name, []).append(reader)
        return found

    @cached_property
    def chains(self) -> list[list[Use]]:
        """The layers, those in series together: each reads all nodes of the one before, which no other reads."""
        uses = self.tracing.uses
        by_first = {use.first: use.name for use in uses}
        sizes = {space.name: space.size for space in self.tracing.spaces}
        chains: dict[str, list[Use]] = {}
        for use, ids in zip(uses, self.reads, strict=True):
            before = by_first.get(int(ids[0]), "") if ids.size else ""
            in_series = before in chains and ids.size == sizes[before] and ids[-1] - ids[0] == ids.size - 1
            if in_series and self.readers[before] == [use.name] and not self.patched(use):
                chain = chains.pop(before)
            else:
                chain = []
            chain.append(use)
            chains[use.name] = chain
        order = {use.name: i for i, use in enumerate(uses)}
        return sorted(chains.values(), key=lambda chain: order[chain[0].name])

    def joints(self) -> list[Joint]:
        """Return how the chains are connected."""
        tracing = self.tracing
        heads = {chain[0].name for chain in self.chains}
        found = []
        for space in tracing.spaces:
            readers = self.readers.get(space.name, [])
            if space.kind not in ("layer", "input") and space.name in self._live:
                before = [one.name for one in tracing.spaces_of(space.of)]
                found.append({"kind": space.kind, "name": space.name, "from": before, "to": readers})
            if len(readers) > 1:
                found.append({"kind": "parallel", "from": [space.name], "to": readers})
        for use, ids, spaces in zip(tracing.uses, self.reads, self.read_spaces, strict=True):
            if use.name in heads and len(spaces) > 1:
                found.append({"kind": "concatenated", "from": [one.name for one in spaces], "to": [use.name]})
            elif use.name in heads and spaces and ids.size < spaces[0].size:
                found.append({"kind": "part", "from": [spaces[0].name], "to": [use.name]})
            elif use.name in heads and self.patched(use) and spaces[0].kind == "layer":
                found.append({"kind": "patches", "from": [spaces[0].name], "to": [use.name]})
        for name, ids, by in tracing.weighted:
            ends = ([one.name for one in tracing.spaces_of(some)] for some in (by, ids))
            found.append({"kind": "attention", "name": name, **dict(zip(("from", "to"), ends, strict=True))})
        return found
