"""Edge lists in CSV and pandas, and networkx graphs with a plain layer attribute."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import topokit as tk
from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError, TopokitError

NET = tk.Bernoulli(widths=(9, 5, 7), density=".3", seed=2)
ROWS = [(i, u, v) for i in range(2) for u, v in NET.edge_index(i).T.tolist()]
FRAME = pd.DataFrame(ROWS, columns=["layer", "source", "target"])


def test_tables_of_edges_in_any_order_of_rows_and_columns(tmp_path):
    mixed = FRAME.sample(frac=1, random_state=0)[["target", "layer", "source"]]
    assert tk.from_pandas(FRAME, NET.widths) == tk.from_pandas(mixed, NET.widths) == NET
    for k, frame in enumerate((FRAME, mixed, mixed.astype("uint8"))):
        frame.to_csv(tmp_path / f"{k}.csv", index=False)
        assert tk.from_csv(tmp_path / f"{k}.csv", NET.widths) == NET
        assert tk.from_pandas(frame, NET.widths) == NET
    one = FRAME[FRAME["layer"] == 0].drop(columns="layer")
    assert tk.from_pandas(one, NET.widths[:2]) == tk.from_dense(NET[0].to_dense())
    assert tk.from_pandas(FRAME.iloc[:0], NET.widths).edges == 0


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("source,target\n0,1\n1,0\n", 2),
        ("\ufeffsource, target\r\n0, 1\r\n", 1),
        ('"source","target"\n"0","1"\n', 1),
        ("source,target\n", 0),
    ],
)
def test_csv_as_programs_write_it(text, edges, tmp_path):
    (tmp_path / "edges.csv").write_bytes(text.encode())
    net = tk.from_csv(tmp_path / "edges.csv", (2, 2))
    assert (net.widths, net.edges) == ((2, 2), edges)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not named"),
        ("0,1\n1,0\n", "columns are 0, 1"),
        ("source,target,weight\n0,1,0\n", "no others"),
        ("source,source\n0,1\n", "columns are source, source"),
        ("source,target\n0,2\n", "target .2.; targets are 0 to 1"),
        ("source,target\n-1,0\n", "source .-1."),
        ("source,target\n0,1\n0,1\n", "twice"),
        ("source,target\n0,1.0\n", "must hold integers alone, such as 3 and not 3.0: .* row 0, column 2"),
        ("source,target\n0,a\n", "must hold integers alone"),
        ("source,target\n0,1_0\n", "must hold integers alone"),
        ("source,target\n0\n", "but 1 column$"),
        ("source,target\n0,99999999999999999999\n", "must hold integers alone"),
        ("source;target\n0;1\n", "columns are source;target"),
        ("layer,source,target\n1,0,1\n", "layer 1; 2 widths have edge layers 0 to 0"),
    ],
)
def test_a_csv_file_that_is_no_edge_list_says_why(text, said, tmp_path):
    (tmp_path / "edges.csv").write_text(text)
    with pytest.raises(FileFormatError, match=said) as caught:
        tk.from_csv(tmp_path / "edges.csv", (2, 2))
    assert "edges.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nodes_that_may_be_counted_from_1_are_noted(tmp_path):
    (tmp_path / "edges.csv").write_text("source,target\n1,1\n2,1\n2,2\n1,3\n")
    (note,) = tk.from_csv(tmp_path / "edges.csv", (4, 4)).notes
    assert note == "no edge has node 0 as its source or target: if the nodes are counted from 1, subtract 1"
    with pytest.raises(FileFormatError, match=r"source .2.; sources are 0 to 1; no edge has node 0 .* from 1"):
        tk.from_csv(tmp_path / "edges.csv", (2, 4))
    assert tk.from_pandas(FRAME, NET.widths).notes == ()
    with pytest.raises(FileFormatError, match=r"topokit.from_csv reads a CSV file of edges"):
        tk.load(tmp_path / "edges.csv")


def test_a_missing_or_binary_csv_file(tmp_path):
    with pytest.raises(TopokitError, match="cannot read"):
        tk.from_csv(tmp_path / "none.csv", (2, 2))
    (tmp_path / "edges.csv").write_bytes(b"source,target\n\xff,1\n")
    with pytest.raises(FileFormatError, match="damaged"):
        tk.from_csv(tmp_path / "edges.csv", (2, 2))


@pytest.mark.parametrize(
    ("frame", "widths", "said"),
    [
        (
            FRAME.drop(columns="layer"),
            NET.widths,
            "of 3 node layers must be source, target, layer",
        ),
        (FRAME.astype(float), NET.widths, "holds float64: convert it to integers"),
        (FRAME.astype(str), NET.widths, "holds object"),
        (FRAME.astype("Int64").replace({"source": {0: pd.NA}}), NET.widths, "column source has missing values"),
        (FRAME.rename(columns={"source": "from"}), NET.widths, "columns are layer, from, target"),
        (FRAME, (9,), "at least 2"),
    ],
)
def test_a_data_frame_that_is_no_edge_list_says_why(frame, widths, said):
    with pytest.raises(InvalidGraphError, match=said):
        tk.from_pandas(frame, widths)


@pytest.mark.parametrize("widths", [(9, 5.5, 7), (9, 0, 7), "957", 9])
def test_widths_that_are_none(widths):
    with pytest.raises(InvalidSpecError, match="widths must be"):
        tk.from_pandas(FRAME, widths)


def names_of(net):
    """(node layer, number) of each node, not in order."""
    places = [(k, u) for k, width in enumerate(net.widths) for u in range(width)]
    return places[::2] + places[1::2]


def plain(net, name="layer", first=0, kind=nx.DiGraph):
    """The graph of a network as another program has it: named nodes, in any order, with a layer each."""
    graph = kind()
    for k, u in names_of(net):
        graph.add_node(f"node {k} {u}", **{name: np.int64(first + k) if u % 2 else first + k})
    for i in range(len(net)):
        for u, v in net.edge_index(i).T:
            ends = f"node {i} {u}", f"node {i + 1} {v}"
            graph.add_edge(*(ends if graph.is_directed() else ends[::-1]), weight=0)
    return graph


def reordered(net):
    """The same network with the nodes of each layer in the order of `plain`."""
    order = [[u for k, u in names_of(net) if k == layer] for layer in range(len(net.widths))]
    return tk.from_dense([net[i].to_dense()[np.ix_(order[i], order[i + 1])] for i in range(len(net))])


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.Graph, nx.MultiDiGraph])
@pytest.mark.parametrize(("name", "first"), [("layer", 0), ("subset", 1), ("subset", -3)])
def test_networkx_graphs_with_an_attribute_of_their_nodes(kind, name, first):
    assert tk.from_networkx(plain(NET, name, first, kind)) == reordered(NET)


def test_multipartite_graphs_of_networkx_and_a_named_attribute():
    assert tk.from_networkx(nx.complete_multipartite_graph(3, 4)) == tk.from_dense(np.ones((3, 4)))
    graph = plain(NET, "depth")
    assert tk.from_networkx(graph, layer="depth") == reordered(NET)
    nx.set_node_attributes(graph, 0, "layer")
    assert tk.from_networkx(graph, layer="depth") == reordered(NET)
    assert tk.from_networkx(tk.to_networkx(NET)) == tk.from_networkx(tk.to_networkx(NET), layer="layer") == NET


def changed(change):
    graph = plain(NET)
    change(graph)
    return graph


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (nx.DiGraph(), "lack the attribute layer"),
        (changed(lambda graph: graph.add_node("new")), "lack the attribute layer"),
        (changed(lambda graph: nx.set_node_attributes(graph, 1, "subset")), "layer and subset differ"),
        (changed(lambda graph: nx.set_node_attributes(graph, 0, "layer")), "two or more"),
        (changed(lambda graph: graph.add_node("new", layer=4)), "without a gap"),
        (changed(lambda graph: graph.add_node("new", layer="2")), "must hold integers"),
        (changed(lambda graph: graph.add_node("new", layer=True)), "must hold integers"),
        (changed(lambda graph: graph.add_node("new", layer=[2])), "must hold integers"),
        (changed(lambda graph: graph.add_edge("node 0 0", "node 2 0")), "does not lead to the next node layer"),
        (changed(lambda graph: graph.add_edge("node 1 0", "node 0 0")), "does not lead to the next node layer"),
        (changed(lambda graph: graph.add_edge("node 1 0", "node 1 1")), "does not lead to the next node layer"),
        (nx.complete_multipartite_graph(3, 4, 5), "does not lead to the next node layer"),
    ],
)
def test_a_networkx_graph_that_is_no_network_says_why(graph, said):
    with pytest.raises(InvalidGraphError, match=said):
        tk.from_networkx(graph)


def test_an_edge_given_twice_is_refused():
    graph = plain(NET, kind=nx.MultiDiGraph)
    graph.add_edge(*next(iter(graph.edges())))
    with pytest.raises(InvalidGraphError, match="twice"):
        tk.from_networkx(graph)
