"""GraphML and networkx graphs, for small networks."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import numpy as np

from topokit.csr import require_memory
from topokit.edges import from_edges
from topokit.errors import FileFormatError, InvalidGraphError, TooLargeError
from topokit.formats._format import Format, damaged, parse_widths, require_room
from topokit.layered import Layer, Layered
from topokit.topologies import Topology, fingerprint

if TYPE_CHECKING:
    import networkx

LIMIT = 100_000
"""Most nodes and most edges: a networkx graph takes about 1,000 bytes for each."""

_MAX_BYTES = 1 << 26


def to_networkx(net: Layered) -> networkx.DiGraph[str]:
    """The network as a directed graph.

    Nodes are named "layer:index", both from 0, and have the attribute `layer`; the graph's attribute
    `widths` is a JSON list, as GraphML has no lists.

    Raises:
        TooLargeError: more than 100,000 nodes or edges.
    """
    import networkx as nx

    if max(sum(net.widths), net.edges) > LIMIT:
        raise TooLargeError(
            f"{net.edges:,} edges between {sum(net.widths):,} nodes are too many for networkx and GraphML, "
            f"which topokit limits to {LIMIT:,} of each: save as .npz instead"
        )
    graph = nx.DiGraph(widths=json.dumps(net.widths))
    for k, width in enumerate(net.widths):
        graph.add_nodes_from((f"{k}:{u}" for u in range(width)), layer=k)
    for i, layer in enumerate(net.stream()):
        edges = zip(layer.sources.tolist(), layer.indices.tolist(), strict=True)
        graph.add_edges_from((f"{i}:{u}", f"{i + 1}:{v}") for u, v in edges)
    return graph


def from_networkx(graph: networkx.DiGraph[str]) -> Topology:
    """The topology of a graph as `to_networkx` makes it; other attributes of it are left alone.

    Raises:
        InvalidGraphError: an undirected graph, `widths` missing or wrong, nodes of another name, an edge that
            skips a layer or is given twice.
        TooLargeError: not enough free memory.
    """
    return _topology(graph, "this graph")


def _topology(graph: networkx.DiGraph[str], what: str) -> Topology:
    if not graph.is_directed():
        raise InvalidGraphError("an undirected graph has no inputs and outputs: make it a DiGraph")
    widths = parse_widths(graph.graph.get("widths"))
    require_memory(48 * sum(widths) + 200 * graph.number_of_edges(), what)
    for node in graph:
        layer, index = _place(node)
        if not (layer < len(widths) and index < widths[layer]):
            raise InvalidGraphError(f"node {node} is outside of the widths {widths!s:.80}")
    edges: list[list[tuple[int, int]]] = [[] for _ in widths[1:]]
    for one, two in graph.edges():
        (i, u), (j, v) = _place(one), _place(two)
        if j != i + 1:
            raise InvalidGraphError(f"edge {one} to {two} does not lead to the next node layer")
        edges[i].append((u, v))
    layers = []
    for i, pairs in enumerate(edges):
        sources, targets = np.array(pairs, np.int64).reshape(-1, 2).T
        layers.append(Layer(from_edges(sources, targets, (widths[i], widths[i + 1]), f"layer {i}")))
    return Topology(layers)


def _place(node: object) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", node) if isinstance(node, str) else None
    if match is None:
        raise InvalidGraphError(f"a node is named {node!r:.80}; the names must be layer:index, such as '0:3'")
    return int(match[1]), int(match[2])


def write(net: Layered, path: Path) -> str:
    """Write a GraphML file; for errors see `to_networkx`. Returns the fingerprint."""
    import networkx as nx

    graph = to_networkx(net)
    with path.open("wb") as file:
        nx.write_graphml(graph, file)
    return fingerprint(net)


def read(path: Path) -> Topology:
    """Read a GraphML file whose graph is as `to_networkx` makes it.

    Files with a document type are refused: nothing in GraphML needs one, and entities can grow without end.

    Raises:
        FileFormatError: larger than 64 MiB, not UTF-8, with a document type, or no GraphML.
        InvalidGraphError: as for `from_networkx`.
        TooLargeError: not enough free memory.
    """
    import networkx as nx

    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise FileFormatError(f"{path} has {size:,} bytes; GraphML is for small networks, up to {_MAX_BYTES:,} bytes")
    require_room(path, (), 50 * size)
    errors = (ParseError, nx.NetworkXError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
    with damaged(path, *errors):
        text = path.read_text("utf-8")
        if "<!DOCTYPE" in text:
            raise FileFormatError(f"{path} has a document type, which topokit does not read: take it out")
        with warnings.catch_warnings(action="ignore"):  # of what networkx leaves out: ports, types of keys
            graph: Any = nx.parse_graphml(text)
        return _topology(graph, f"reading {path}")


FORMAT = Format(
    suffix=".graphml",
    begins=lambda start: start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"),
    read=read,
    write=write,
)
