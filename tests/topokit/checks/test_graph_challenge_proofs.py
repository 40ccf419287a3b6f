"""The Graph Challenge's networks proved, and disproved where a single edge is moved."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

import topokit as tk


def recount(net, source):
    """The number of paths from one input to each output, by Python's own integers."""
    counts = {source: 1}
    for layer in net.stream():
        after = {}
        for node, count in counts.items():
            for target in layer.indices[layer.indptr[node] : layer.indptr[node + 1]].tolist():
                after[target] = after.get(target, 0) + count
        counts = after
    return counts


def moved(layer, source, target):
    """The layer with the first edge of `source` led to `target` instead."""
    dense = layer.to_dense()
    dense[source, layer.indices[layer.indptr[source]]] = False
    dense[source, target] = True
    return csr_array(dense)


def test_120_layers_have_2_to_the_590_paths_exactly():
    net = tk.GraphChallenge(neurons=1024, layers=120)
    result = tk.verify(net)["path-symmetry"]
    assert (result.verdict, result.method, result.error_bound) == ("holds", "exact", 0)
    assert result.values["paths"] == str(2**590)
    assert set(recount(net, 5).values()) == {2**590}


@pytest.mark.parametrize("method", ["exact", "probe"])
def test_one_moved_edge_deep_inside_is_caught_with_a_witness_that_a_recount_confirms(method, tmp_path):
    spec = tk.GraphChallenge(neurons=1024, layers=45)
    layers = [layer.to_scipy() for layer in spec.build().stream()]
    free = int(np.flatnonzero(~layers[30].toarray()[7])[0])
    layers[30] = moved(spec.layer(30), 7, free)
    tk.save(tk.Topology.from_scipy(layers), tmp_path / "net.safetensors")
    net = tk.load(tmp_path / "net.safetensors")
    result = tk.verify(net, ["path-symmetry"], method=method)["path-symmetry"]
    assert result.verdict == "fails"
    pairs, paths = result.witness["pairs"], list(map(int, result.witness["paths"]))
    assert paths[0] < paths[1]
    assert result.reason.endswith(" more")  # the leading digits alone would not tell them apart
    assert [recount(net, source)[target] for source, target in pairs] == paths
    json.dumps(result.to_json())
