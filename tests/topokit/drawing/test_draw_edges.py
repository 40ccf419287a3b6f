"""Pictures with nodes and lines: every edge is drawn once, between the right nodes, and traced where it should be."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from scipy.sparse import csr_array

from topokit.drawing import draw
from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.topologies import Topology

EIGHTS = RadixNet(radices=[(2, 2, 2)])


@st.composite
def nets(draw_value):
    widths = draw_value(st.lists(st.integers(1, 7), min_size=2, max_size=5))
    rng = np.random.default_rng(draw_value(st.integers(0, 2**32)))
    density = draw_value(st.sampled_from([0, 0.2, 0.5, 1]))
    return Topology.from_dense([rng.random(shape) < density for shape in pairwise(widths)])


def edges_of(net):
    return {((i, u), (i + 1, v)) for i in range(len(net)) for u, v in np.argwhere(net.layer(i).to_dense()).tolist()}


def drawn(axes, net, label, rows=False):
    """The edges of the lines with this label, found from where the lines start and end."""

    def node(x, y):
        layer, across = (round(-y), x) if rows else (round(x), 1 - y)
        return layer, round(across * net.widths[layer] - 0.5)

    segments = [
        segment
        for lines in axes.collections
        if isinstance(lines, LineCollection) and lines.get_label() == label
        for segment in lines.get_segments()
    ]
    found = [(node(*start), node(*end)) for start, end in segments]
    assert len(found) == len(set(found))
    return set(found)


@settings(deadline=None, max_examples=30)
@given(net=nets(), rows=st.booleans())
def test_the_lines_are_the_edges(net, rows):
    [axes] = draw(net, style="edges", rows=rows).axes
    assert drawn(axes, net, "edges", rows) == edges_of(net)


@settings(deadline=None, max_examples=30)
@given(net=nets(), data=st.data())
def test_traced_lines_are_the_edges_on_paths_from_the_input(net, data):
    source = data.draw(st.integers(0, net.widths[0] - 1))
    graph = nx.DiGraph(edges_of(net))
    graph.add_nodes_from((i, u) for i, width in enumerate(net.widths) for u in range(width))
    reached = {(0, source)} | nx.descendants(graph, (0, source))
    expected = {edge for edge in edges_of(net) if edge[0] in reached}

    figure = draw(net, trace=source)
    assert drawn(figure.axes[0], net, "traced edges") == expected
    assert drawn(figure.axes[0], net, "edges") == edges_of(net) - expected
    outputs = sum(layer == len(net) for layer, _ in reached)
    share = "all" if outputs == net.widths[-1] else f"{outputs} of"
    said = figure.texts[-1].get_text()
    assert f"input {source} reaches {share} {net.widths[-1]} output" in said
    assert f"use {len(expected)} edge" in said


def test_reached_nodes_are_filled():
    figure = draw(EIGHTS, trace=3)
    inputs, *_, outputs = (nodes for nodes in figure.axes[0].collections if not isinstance(nodes, LineCollection))
    white = np.ones(4)
    assert [bool((colour == white).all()) for colour in inputs.get_facecolors()] == [u != 3 for u in range(8)]
    assert not any((colour == white).all() for colour in outputs.get_facecolors())


def test_others_stand_below_each_with_its_heading():
    other = Topology.from_dense([np.eye(3)])
    figure = draw(EIGHTS, beside=[other, EIGHTS], trace=1)
    found = [drawn(axes, net, "traced edges") for axes, net in zip(figure.axes, [EIGHTS, other], strict=False)]
    assert list(map(len, found)) == [14, 1]
    tops = [axes.bbox.y1 for axes in figure.axes]
    assert tops == sorted(tops, reverse=True)
    said = [text.get_text() for text in figure.texts]
    assert said.count("radix-net radices=2,2,2") == 2
    assert "3-3, 3 edges, density 0.3333" in said
    assert len(draw(EIGHTS, beside=other).axes) == 2


def test_auto_takes_lines_for_few_edges_and_where_they_are_asked_for():
    wide = RadixNet(radices=[(8, 8)], kron=(1, 2, 1))  # 2,048 edges
    assert len(draw(wide).axes[0].images) == 1
    for lines_only in ({"trace": 0}, {"rows": True}, {"style": "edges"}):
        assert not draw(wide, **lines_only).axes[0].images
    assert not draw(EIGHTS).axes[0].images
    assert draw(Topology.from_scipy([csr_array((1001, 1))])).axes[0].images
    assert draw(EIGHTS, beside=wide).axes[0].images


def test_deep_networks_are_drawn_in_part_and_traced_to_the_end():
    deep = RadixNet(radices=[(2, 2)] * 15)
    figure = draw(deep, trace=0)
    layers = drawn(figure.axes[0], deep, "edges") | drawn(figure.axes[0], deep, "traced edges")
    assert len(layers) == 24 * 8
    said = [text.get_text() for text in figure.texts]
    assert "The first 24 of 30 edge layers are shown." in said
    assert any("reaches all 4 outputs, its paths use 230 edges" in line for line in said)  # 2 + 4 + 28 * 8


def test_many_lines_are_stored_as_an_image():
    def rasterized(net):
        return [lines.get_rasterized() for lines in draw(net, style="edges").axes[0].collections[: len(net)]]

    assert rasterized(EIGHTS) == [False] * 3
    assert rasterized(RadixNet(radices=[(8, 8)], kron=(2, 4, 2))) == [True] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trace": 8}, "inputs are 0 to 7"),
        ({"trace": -1}, "at least 0"),
        ({"trace": "3"}, "must be integers"),
        ({"trace": 5, "beside": Topology.from_dense([np.ones((5, 2))])}, "inputs are 0 to 4"),
        ({"style": "lines"}, "auto, edges, pattern"),
        ({"style": "pattern", "trace": 1}, "take the style edges"),
        ({"style": "pattern", "rows": True}, "take the style edges"),
        ({"beside": RadixNet(radices=[(64, 64)], kron=(1, 1, 1)), "style": "edges"}, "at most 100,000"),
        ({"beside": Topology.from_scipy([csr_array((1, 100_001))]), "rows": True}, "at most 100,000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, said):
    with pytest.raises(InvalidSpecError, match=said):
        draw(EIGHTS, **options)
