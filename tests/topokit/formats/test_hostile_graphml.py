"""GraphML files made by hand to be wrong in one way each: the message says which."""

import os

import numpy as np
import pytest

from topokit.errors import TooLargeError
from topokit.formats import load


def graphml(body, widths="[1, 2]", edgedefault="directed"):
    return (
        '<?xml version="1.0" encoding="utf-8"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
        '<key id="w" for="graph" attr.name="widths" attr.type="string"/>'
        f'<graph edgedefault="{edgedefault}"><data key="w">{widths}</data>{body}</graph></graphml>'
    )


EDGE = '<edge source="0:0" target="1:1"/>'


def test_the_graph_that_the_others_are_made_of_is_fine(path):
    path.write_text(graphml('<node id="0:0"/>' + EDGE))
    assert np.array_equal(load(path).layer(0).to_dense(), [[0, 1]])
    path.write_bytes(b"\xef\xbb\xbf" + graphml(EDGE).encode())
    assert load(path).edges == 1
    path.write_text(graphml('<edge source="1:1" target="0:0"/>', edgedefault="undirected"))
    assert np.array_equal(load(path).layer(0).to_dense(), [[0, 1]])  # from the lower layer to the higher one
    path.write_text(graphml(EDGE).replace(' attr.type="string"', ""))  # networkx warns and takes it for a string
    assert load(path).edges == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (graphml(EDGE, widths="[1, 1]"), "node 1:1 is outside"),
        (graphml(EDGE, widths="[1]"), "JSON list"),
        (graphml(EDGE, widths="12"), "JSON list"),
        (graphml(EDGE).replace("widths", "width"), "or give the graph the attribute widths, such as [784, 300, 10]"),
        (graphml(EDGE + EDGE), "twice"),
        (graphml('<edge source="0:0" target="0:0"/>'), "does not lead to the next node layer"),
        (graphml('<edge source="1:0" target="0:0"/>'), "does not lead to the next node layer"),
        (graphml('<node id="a"/>'), "layer:index"),
        (graphml('<node id="0:0:0"/>'), "layer:index"),
        (graphml('<node id="0:-1"/>'), "layer:index"),
        (graphml('<node id="2:0"/>'), "outside"),
        (graphml("<node/>"), "layer:index"),
        (graphml('<node id="0:0" label="é"/>').encode("latin1"), "damaged"),
        ("<svg/>", "damaged"),
        ("<graphml", "damaged"),
        (graphml(EDGE)[:-9], "damaged"),
    ],
)
def test_graphs_that_are_no_network(path, text, said, refusal):
    assert said in refusal(path, text)


def test_entities_are_refused(path, refusal):
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    start, _, rest = graphml("&l9;").partition("?>")
    text = f'{start}?><!DOCTYPE graphml [<!ENTITY l0 "ha">{laughs}]>{rest}'
    assert "document type" in refusal(path, text)
    assert "document type" in refusal(path, f"{start}?><!DOCTYPE graphml>{rest}")
    assert "none of the formats" in refusal(path, text.encode("utf-16"))


def test_a_document_type_cannot_hide_in_another_encoding(path, refusal):
    assert "damaged" in refusal(path, b'<?xml version="1.0" encoding="cp037"?>' + "<!DOCTYPE a>".encode("cp037"))


def test_widths_that_do_not_fit_are_refused(path, refusal, free_memory):
    free_memory(1 << 24)
    assert "are free" in refusal(path, graphml("", widths="[4000000000, 1]"), TooLargeError)


def test_graphml_is_for_small_networks(path, refusal):
    path.write_bytes(b"<graphml>")
    os.truncate(path, (1 << 26) + 1)
    assert "small networks" in refusal(path)
