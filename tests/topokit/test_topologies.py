"""Topology, streaming and fingerprints."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

from topokit.csr import graphblas
from topokit.errors import InvalidGraphError, TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.layered import Layer, Promises
from topokit.topologies import Topology, fingerprint

DENSE = [np.array([[1, 0, 1], [0, 0, 0]]), np.array([[0, 1], [1, 1], [0, 0]])]


def test_every_way_in_gives_the_same_edges():
    arrays = [(csr_array(m).indptr, csr_array(m).indices) for m in DENSE]
    matrices = [graphblas().Matrix.from_coo(*np.nonzero(m), 1.5, nrows=m.shape[0], ncols=m.shape[1]) for m in DENSE]
    nets = [
        Topology.from_dense(DENSE),
        Topology.from_scipy([coo_array(m) for m in DENSE]),
        Topology.from_csr(arrays, (2, 3, 2)),
        Topology.from_graphblas(matrices),
    ]
    assert {fingerprint(net) for net in nets} == {fingerprint(nets[0])}
    for net in nets:
        assert net.widths == (2, 3, 2)
        assert net.layer_edges == (2, 3)
        assert all(np.array_equal(layer.to_dense(), m) for layer, m in zip(net.stream(), DENSE, strict=True))
        assert all(np.array_equal(layer.to_scipy().toarray(), m) for layer, m in zip(net.stream(), DENSE, strict=True))


def test_types_and_views_of_matrices():
    matrix = graphblas().Matrix.from_coo(*np.nonzero(DENSE[0]), 1.5, nrows=2, ncols=3)
    turned = Topology.from_graphblas([matrix.T.new()])
    for net in (
        Topology.from_dense(DENSE[0].T.astype(np.float16)),
        Topology.from_dense(np.ma.masked_array(np.ones((3, 2)), DENSE[0].T == 0)),
    ):
        assert fingerprint(net) == fingerprint(turned)
    for wrong, said in ((matrix.T, "not a TransposedMatrix: use .new()"), (DENSE[0], "not a ndarray")):
        with pytest.raises(InvalidGraphError, match=said):
            Topology.from_graphblas([wrong])
    with pytest.raises(InvalidGraphError, match="not a Vector"):
        Topology.from_graphblas([graphblas().Vector.from_coo([0, 1], 1.0)])


def test_entries_of_value_0_are_edges_or_not_as_the_user_says():
    matrix = graphblas().Matrix.from_coo([0, 1, 1], [0, 1, 0], [1.0, 0.0, 2.0], nrows=2, ncols=2)
    with pytest.raises(
        InvalidGraphError, match=r"layer 0 has entries of value 0, .* matrix\.select\(\"!=\", 0\)\.new\(\)"
    ):
        Topology.from_graphblas([matrix])
    assert Topology.from_graphblas([matrix.select("!=", 0).new()]).edges == 2
    assert Topology.from_graphblas([matrix.apply("one").new()]).edges == 3


def test_arrays_from_outside_are_copied():
    indptr, indices = np.array([0, 1]), np.array([0])
    net = Topology.from_csr([(indptr, indices)], (1, 2))
    indices[0] = 1
    assert net.layer(0).indices[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        net.layer(0).indices[0] = 1


def test_the_degrees_that_a_layer_keeps_are_read_only_and_so_is_a_layer_out_of_a_pickle():
    net = RadixNet(radices=[(2, 3)]).build()
    again = pickle.loads(pickle.dumps(net))
    assert fingerprint(again) == fingerprint(net)
    for layer in (net.layer(0), again.layer(0)):
        assert layer.in_degrees is layer.in_degrees
        for array in (layer.in_degrees, layer.indptr, layer.indices):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_widths_of_numpy_become_integers_of_python():
    n = 50_000
    net = Topology.from_csr([(np.arange(n + 1), np.arange(n))], np.array([n, n], np.int32))
    assert json.loads(json.dumps(net.widths)) == [n, n]
    assert net.summary().endswith("density 2e-05")


def test_the_fingerprint_is_what_its_definition_says():
    net = Topology.from_dense(DENSE)
    total = hashlib.sha256(np.array([2, 3, 2], "<u8").tobytes())
    for matrix in DENSE:
        sparse = csr_array(matrix)
        arrays = sparse.indptr.astype("<u8").tobytes() + sparse.indices.astype("<u4").tobytes()
        total.update(hashlib.sha256(arrays).digest())
    assert fingerprint(net) == total.hexdigest()


def test_the_fingerprint_sees_edges_and_widths_only():
    spec = RadixNet(radices=[(2, 3), (3, 2)], kron=(1, 2, 1, 2, 1))
    assert fingerprint(spec) == fingerprint(spec.build())
    moved = [layer.to_dense() for layer in spec.stream()]
    source, target = np.argwhere(moved[2])[0]
    free = np.argwhere(~moved[2][source])[0]
    moved[2][source, target], moved[2][source, free] = False, True
    assert fingerprint(Topology.from_dense(moved)) != fingerprint(spec)
    wider = [np.zeros((1, 2)), np.zeros((2, 1))]
    assert fingerprint(Topology.from_dense(wider)) != fingerprint(
        Topology.from_dense([np.zeros((1, 1)), np.zeros((1, 1))])
    )


def test_fingerprints_of_layers_larger_than_a_block():
    dense = np.ones((1100, 1000), bool)
    sparse = csr_array(dense)
    layer = hashlib.sha256(sparse.indptr.astype("<u8").tobytes() + sparse.indices.astype("<u4").tobytes()).digest()
    assert (
        fingerprint(Topology.from_dense([dense]))
        == hashlib.sha256(np.array([1100, 1000], "<u8").tobytes() + layer).hexdigest()
    )


def test_a_streamed_layer_is_gone_once_the_next_is_asked_for():
    stream = RadixNet(radices=[(2, 2, 2)]).stream()
    first = next(stream)
    assert first.matrix.nvals == 16
    next(stream)
    with pytest.raises(RuntimeError, match="streamed"):
        _ = first.matrix


def test_equal_layers_are_built_once_and_hashed_once(monkeypatch):
    net = RadixNet(radices=[(2, 2)] * 5, kron=(3,) * 11).build()
    assert len({id(net.layer(i)) for i in range(len(net))}) == 2
    assert [net.same_layer(i) for i in range(4)] == [0, 1, 0, 1]
    hashed = []
    monkeypatch.setattr("topokit.topologies.layer_digest", lambda layer: hashed.append(layer) or b"")
    fingerprint(net)
    assert len(hashed) == 2


def test_a_network_that_does_not_fit_is_refused_before_it_is_built():
    with pytest.raises(TooLargeError, match="this network needs"):
        RadixNet(radices=[(1000, 1000)], kron=(1, 1000, 1)).build()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Topology([]), "at least one"),
        (
            lambda: Topology.from_dense([np.ones((2, 3)), np.ones((2, 2))]),
            "layer 0 ends in 3 nodes, but layer 1 starts from 2",
        ),
        (lambda: Topology.from_csr([([0, 1], [0])], (1, 1, 1)), "3 widths need 2 layers, not 1"),
        (lambda: Topology.from_csr([([0, 1], [0])] * 2, (1, 1)), "2 widths need 1 layer, not 2"),
        (lambda: Topology.from_csr([([0, 1], [0])], (1.0, 1.0)), r"must be integers, not \(1.0, 1.0\)"),
        (lambda: Topology.from_scipy([coo_array(([1], ([0], [0])), shape=(2**40, 1))]), "layer 0: widths"),
        (lambda: Topology.from_dense(DENSE, names=["a"]), "1 name, 1 of them different, for 2 layers"),
        (lambda: Topology.from_dense(DENSE, names=["a", "a"]), "2 names, 1 of them different, for 2 layers"),
        (lambda: Topology.from_csr([([0, 2], [0, 0])], (1, 1)), "layer 0: source 0 lists target 0 twice"),
        (lambda: Topology.from_dense([np.array([[np.nan]])]), "layer 0: a value is not a number"),
        (lambda: Topology.from_dense([[0, 1], [1, 0]]), "layer 0 has 1 dimensions"),
        (lambda: Topology.from_dense(np.array(["a"])[None]), "holds <U1"),
        (lambda: Topology.from_scipy(np.ones((2, 2))), "must be a 2-D scipy sparse matrix, not ndarray: from_dense"),
        (
            lambda: Topology.from_scipy([np.eye(2)]),
            "layer 0 must be a 2-D scipy sparse matrix, not ndarray: from_dense",
        ),
        (lambda: Topology.from_scipy([coo_array(([1, 1], ([0, 0], [0, 0])), shape=(1, 1))]), "twice"),
    ],
)
def test_what_is_no_layered_graph_is_refused(make, said):
    with pytest.raises(InvalidGraphError, match=said):
        make()


def test_promises_name_their_checks():
    assert Promises().names == {"soundness"}
    assert Promises(paths=0, degrees=()).names == {"soundness", "path-symmetry", "regularity"}


def test_reprs_are_one_short_line():
    net = RadixNet(radices=[(2,) * 10] * 3).build()
    assert repr(net) == "<Topology 1024-...-1024 (31 node layers), 61,440 edges, density 0.001953>"
    assert repr(net.layer(0)) == "<Layer 1024 to 1024, 2,048 edges>"
    assert isinstance(net.layer(0), Layer)
