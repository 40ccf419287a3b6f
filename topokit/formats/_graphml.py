"""GraphML and networkx graphs, for small networks."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import numpy as np

from topokit.csr import require_memory
from topokit.edges import from_edges
from topokit.errors import FileFormatError, InvalidGraphError, TooLargeError
from topokit.formats._format import Format, damaged, parse_widths, require_room
from topokit.layered import Layer, Layered, Source, network
from topokit.reprs import counted
from topokit.topologies import Topology, fingerprint

if TYPE_CHECKING:
    import networkx

LIMIT = 100_000
"""Most nodes and most edges: a networkx graph takes about 1,000 bytes for each."""

_MAX_BYTES = 1 << 26


def to_networkx(net: Source) -> networkx.DiGraph[str]:
    """The network as a directed graph.

    Nodes are named "layer:index", both from 0, and have the attribute `layer`; the graph's attribute
    `widths` is a JSON list, as GraphML has no lists.

    Raises:
        TooLargeError: more than 100,000 nodes or edges.
    """
    import networkx as nx

    net = network(net)
    if max(sum(net.widths), net.edges) > LIMIT:
        raise TooLargeError(
            f"{counted(net.edges, 'edge')} between {counted(sum(net.widths), 'node')} are too many for networkx "
            "and GraphML, "
            f"which topokit limits to {LIMIT:,} of each: save as .npz instead"
        )
    graph = nx.DiGraph(widths=json.dumps(net.widths))
    for k, width in enumerate(net.widths):
        graph.add_nodes_from((f"{k}:{u}" for u in range(width)), layer=k)
    for i, layer in enumerate(net.stream()):
        edges = zip(layer.sources.tolist(), layer.indices.tolist(), strict=True)
        graph.add_edges_from((f"{i}:{u}", f"{i + 1}:{v}") for u, v in edges)
    return graph


def from_networkx(graph: networkx.Graph[Any], *, layer: str | None = None) -> Topology:
    """Return the topology of a graph that `to_networkx` made, or whose nodes have the number of their layer.

    A graph without the attribute `widths` is read by an attribute of its nodes, whose values are consecutive
    integers. The nodes of a layer are numbered in the graph's order. Edges lead to the next layer; those of an
    undirected graph are read from the lower to the higher layer. Other attributes, weights included, are ignored.

    Args:
        graph: the graph.
        layer: the nodes' attribute; `layer` or `subset`, as in `networkx.multipartite_layout`, if omitted.

    Raises:
        InvalidGraphError: a node lacks the attribute, or has two that differ; the layers are not consecutive; a node
            has another name than `widths` asks for; an edge skips a layer or is given twice.
        TooLargeError: not enough free memory.
    """
    if not hasattr(graph, "nodes"):
        raise InvalidGraphError(f"a graph must be a networkx.Graph, not {type(graph).__name__}")
    return _topology(graph, layer, "this graph")


def _topology(graph: networkx.Graph[Any], layer: str | None, what: str) -> Topology:
    recorded = layer is None and "widths" in graph.graph
    widths, places = _recorded(graph, what) if recorded else _numbered(graph, layer)
    edges: list[list[tuple[int, int]]] = [[] for _ in widths[1:]]
    for one, two in graph.edges():
        (i, u), (j, v) = places[one], places[two]
        if not graph.is_directed() and i > j:
            (i, u), (j, v) = (j, v), (i, u)
        if j != i + 1:
            raise InvalidGraphError(f"edge {one!r:.80} to {two!r:.80} does not lead to the next node layer")
        edges[i].append((u, v))
    layers = []
    for i, pairs in enumerate(edges):
        sources, targets = np.array(pairs, np.int64).reshape(-1, 2).T
        layers.append(Layer(from_edges(sources, targets, (widths[i], widths[i + 1]), f"layer {i}")))
    return Topology(layers)


def _recorded(graph: networkx.Graph[str], what: str) -> tuple[tuple[int, ...], dict[Any, tuple[int, int]]]:
    """The recorded widths, and the (layer, index) that each node's name holds."""
    widths = parse_widths(graph.graph["widths"])
    require_memory(48 * sum(widths) + 200 * graph.number_of_edges(), what)
    places = {}
    for node in graph:
        match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", node) if isinstance(node, str) else None
        if match is None:
            raise InvalidGraphError(f"a node is named {node!r:.80}; the names must be layer:index, such as '0:3'")
        places[node] = layer, index = int(match[1]), int(match[2])
        if layer >= len(widths) or index >= widths[layer]:
            raise InvalidGraphError(f"node {node} is outside of the widths {widths!s:.80}")
    return widths, places


def _numbered(graph: networkx.Graph[Any], layer: str | None) -> tuple[list[int], dict[Any, tuple[int, int]]]:
    """The widths, and the (layer, index) of each node by an attribute."""
    found = {name: dict(graph.nodes(data=name)) for name in ([layer] if layer else ["layer", "subset"])}
    full = {name: numbers for name, numbers in found.items() if numbers and None not in numbers.values()}
    if not full or any(numbers != next(iter(full.values())) for numbers in full.values()):
        problem = "the attributes layer and subset differ" if full else f"nodes lack the attribute {layer or 'layer'}"
        other = "" if layer else ", or give the graph the attribute widths, such as [784, 300, 10]"
        raise InvalidGraphError(
            f"{problem}: name the one with the layer's number, from_networkx(graph, layer=...){other}"
        )
    name, numbers = next(iter(full.items()))
    for value in numbers.values():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InvalidGraphError(f"the attribute {name} of the nodes must hold integers, not {shortened(value)}")
    values = set(numbers.values())
    first = min(values)
    if len(values) < 2 or max(values) - first >= len(values):
        raise InvalidGraphError(f"the node layers must be two or more, numbered without a gap, not {shortened(values)}")
    widths = [0] * len(values)
    places = {}
    for node, number in numbers.items():
        i = int(number) - int(first)
        places[node] = i, widths[i]
        widths[i] += 1
    return widths, places


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
        return _topology(graph, None, f"reading {path}")


FORMAT = Format(
    suffix=".graphml",
    begins=lambda start: start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"),
    read=read,
    write=write,
)
