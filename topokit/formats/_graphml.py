"""GraphML and networkx graphs, for small networks."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
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


def from_networkx(graph: networkx.Graph[Any], *, layer: str | None = None) -> Topology:
    """The topology of a graph as `to_networkx` makes it, or of one whose nodes say which node layer they are in.

    A graph without the attribute `widths` is read by an attribute of its nodes, whose values are consecutive
    integers. The nodes of a layer are numbered in the graph's order; edges lead to the next layer. A graph that is not
    directed is read from lower to higher layers. Other attributes, weights included, do not count.

    Args:
        graph: the graph.
        layer: the nodes' attribute. If left out `layer` or `subset`, as `networkx.multipartite_layout` has it.

    Raises:
        InvalidGraphError: nodes without the attribute, or with two that differ; layers that are not consecutive; nodes
            of another name than `widths` wants; an edge that skips a layer or is given twice.
        TooLargeError: not enough free memory.
    """
    if layer is None and "widths" in graph.graph:
        return _topology(graph, "this graph")
    numbers = _layer_numbers(graph, layer)
    first, last = min(numbers.values()), max(numbers.values())
    members: list[list[Any]] = [[] for _ in range(first, last + 1)]
    place = {}
    for node, number in numbers.items():
        place[node] = len(members[number - first])
        members[number - first].append(node)
    edges: list[list[tuple[int, int]]] = [[] for _ in members[1:]]
    for one, two in graph.edges():
        source, target = (two, one) if not graph.is_directed() and numbers[one] > numbers[two] else (one, two)
        if numbers[target] != numbers[source] + 1:
            raise InvalidGraphError(f"edge {one!r:.80} to {two!r:.80} does not lead to the next node layer")
        edges[numbers[source] - first].append((place[source], place[target]))
    return _of_pairs(edges, list(map(len, members)))


def _layer_numbers(graph: Any, layer: str | None) -> dict[Any, int]:
    """The number of each node's layer, in the order of the graph."""
    found = {name: dict(graph.nodes(data=name)) for name in ([layer] if layer else ["layer", "subset"])}
    full = {name: numbers for name, numbers in found.items() if numbers and None not in numbers.values()}
    if not full or any(numbers != next(iter(full.values())) for numbers in full.values()):
        problem = "the attributes layer and subset differ" if full else f"nodes lack the attribute {layer or 'layer'}"
        raise InvalidGraphError(f"{problem}: say which one numbers the node layers, as from_networkx(graph, layer=...)")
    name, numbers = next(iter(full.items()))
    for value in numbers.values():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InvalidGraphError(f"the attribute {name} of the nodes must hold integers, not {shortened(value)}")
    values = set(numbers.values())
    if len(values) < 2 or max(values) - min(values) >= len(values):
        raise InvalidGraphError(f"the node layers must be two or more, numbered without a gap, not {shortened(values)}")
    return {node: int(value) for node, value in numbers.items()}


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
    return _of_pairs(edges, widths)


def _of_pairs(edges: Sequence[Sequence[tuple[int, int]]], widths: Sequence[int]) -> Topology:
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
