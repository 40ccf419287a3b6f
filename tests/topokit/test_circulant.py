"""Circulant layers: the native library against NumPy, and both against the definition."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

import topokit as tk
from topokit import _native
from topokit.checks import run_checks
from topokit.checks._probe import run_probes
from topokit.circulant import Circulant
from topokit.csr import Buffers
from topokit.layer import Layer
from topokit.measures import _classes
from topokit.measures._classes import quotient, twins
from topokit.spec import CirculantSpec

needs_library = pytest.mark.skipif(_native.native() is None, reason=_native.description())
SEEDS = range(40)
NETS = {
    "radix-net": tk.RadixNet(radices=[(2, 3, 2), (12,)], kron=(2, 1, 4, 2, 3), diagonals=(1, 1, 1, 1)),
    "backward": tk.RadixNet(radices=[(5, 2)], kron=(2, 4, 6), diagonals=(2, 1), direction=-1),
    "graph-challenge": tk.GraphChallenge(neurons=1024, layers=14),
    "random": tk.Bernoulli(widths=(70, 40, 60, 30), density=".1", seed=3),
    "without edges": tk.Bernoulli(widths=(3, 2, 4), density=(0,), seed=3),
}


def drawn(seed):
    """A circulant layer of random numbers, which is shuffled if the seed is odd."""
    random = np.random.default_rng(seed)
    radix, place, step = (int(n) for n in random.integers(1, 5, size=3))
    nodes = radix * place + int(random.integers(0, 5))
    copies = tuple(int(n) * step for n in random.integers(1, 5, size=2))
    order = random.integers(0, nodes * copies[0], size=nodes * copies[0]) if seed % 2 else None
    direction = int(random.choice([1, -1]))
    return Circulant(nodes=nodes, radix=radix, place=place, direction=direction, copies=copies, step=step, order=order)


def edges_of(layer):
    """The definition: node u of copy c is joined to u + k * place in the copies equal to c modulo step."""
    dense = np.zeros(layer.shape, bool)
    for source in range(layer.shape[0]):
        copy, u = divmod(source if layer.order is None else int(layer.order[source]), layer.nodes)
        for k in range(layer.radix):
            target = (u + layer.direction * k * layer.place) % layer.nodes
            for other in range(layer.copies[1]):
                if (other - copy) % layer.step == 0:
                    dense[source, other * layer.nodes + target] = True
    return dense


@pytest.fixture(params=["native", "numpy"])
def either(request, monkeypatch):
    """Both ways in turn."""
    if request.param == "numpy":
        monkeypatch.setattr(_native, "native", lambda: None)
    elif _native.native() is None:
        pytest.skip(_native.description())


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_edges_are_those_of_the_definition(seed):
    layer = drawn(seed)
    indptr, indices = layer.arrays(Buffers())
    assert np.array_equal(np.diff(indptr), np.full(layer.shape[0], layer.degree))
    sources, targets = np.nonzero(edges_of(layer))
    assert np.array_equal(np.repeat(np.arange(layer.shape[0]), layer.degree), sources)
    assert np.array_equal(indices, targets)


@needs_library
@pytest.mark.parametrize("seed", SEEDS)
def test_degrees_and_products_are_those_of_the_edges(seed):
    layer = drawn(seed)
    dense = edges_of(layer).astype(np.uint64)
    outgoing, incoming = _native.survey(layer.rows())
    assert np.array_equal(outgoing, dense.sum(1))
    assert np.array_equal(incoming, dense.sum(0))
    random = np.random.default_rng(seed)
    for reverse in (False, True):
        matrix = dense if reverse else dense.T
        for width in (1, 3, 4):
            vectors = random.integers(2**64, size=(matrix.shape[1], width), dtype=np.uint64)
            assert np.array_equal(_native.multiply(layer.rows(), vectors, reverse=reverse), matrix @ vectors)


@needs_library
@pytest.mark.parametrize(
    "wrong", [{"targets": 20}, {"radix": 5}, {"joined": 3}, {"place": 6}], ids=lambda wrong: str(*wrong)
)
def test_a_survey_looks_at_each_edge(wrong):
    rows = Circulant(nodes=12, radix=4, place=3, copies=(2, 2)).rows()
    assert _native.survey(rows) is not None
    for name, value in wrong.items():
        setattr(rows, name, value)
    assert _native.survey(rows) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"place": 4},
        {"place": 0},
        {"direction": 2},
        {"copies": (2, 3), "step": 2},
        {"order": np.zeros(23, np.int64)},
        {"order": np.zeros(24, np.int32)},
        {"order": np.zeros(48, np.int64)[::2]},
        {"order": np.full(24, 24)},
        {"order": np.full(24, -1)},
        {"nodes": 2**31, "copies": (2, 2)},
    ],
    ids=str,
)
def test_numbers_of_no_circulant_layer_are_refused(wrong):
    layer = Circulant(nodes=12, radix=4, place=3, copies=(2, 2))
    with pytest.raises(ValueError, match="not a circulant layer"):
        replace(layer, **wrong).rows()


@needs_library
def test_arrays_that_do_not_fit_are_refused():
    layer = Circulant(nodes=12, radix=4, place=3, copies=(2, 2))
    rows, indices = layer.rows(), np.zeros(24 * 8, np.uint64)
    frozen = indices.copy()
    frozen.flags.writeable = False
    for room in (indices[:-1], indices.astype(np.int64), np.zeros(400, np.uint64)[::2], frozen):
        with pytest.raises(ValueError, match="room for the targets"):
            _native.fill(rows, room)
    in_memory = tk.Topology.from_dense([np.eye(3)]).layer(0).native_rows()
    with pytest.raises(ValueError, match="needs a circulant layer"):
        _native.fill(in_memory, indices)
    for vectors in (np.zeros((23, 1), np.uint64), np.zeros((24, 1)), np.zeros(24, np.uint64)):
        with pytest.raises(ValueError, match="vectors of 24 numbers"):
            _native.multiply(rows, vectors, reverse=False)
    labels, alike = np.zeros(24, np.int64), np.zeros(24, np.int64)
    for near, far in (
        (labels[1:], alike),
        (labels, alike[1:]),
        (labels + 1, alike),
        (labels - 1, alike),
        (labels, alike + 1),
        (labels, np.arange(24) // 2),
        (labels.astype(np.int32), alike),
    ):
        with pytest.raises(ValueError, match="needs the class"):
            _native.entries_of_classes(rows, near, 1, far, 8, reverse=False)


def by_numpy(function, *args, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layer, "native_rows", lambda _: None)
        patch.setattr(_classes, "_natively_classed", lambda *_, **__: None)
        return function(*args, **options)


@needs_library
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_classes_of_nodes_are_those_of_numpy(net, reverse):
    random = np.random.default_rng(0)
    for layer in net:
        for found, expected in zip(twins(layer, reverse=reverse), by_numpy(twins, layer, reverse=reverse), strict=True):
            assert np.array_equal(found, expected)
        near = layer.shape[1 if reverse else 0]
        for classes in (2, 5, near):
            labels = random.integers(classes, size=near)
            (found, step), (labels_there, step_there) = (
                way(quotient, layer, labels, classes, reverse=reverse) for way in (directly, by_numpy)
            )
            assert np.array_equal(found, labels_there)
            assert (step.dtype, step.shape) == (np.uint64, step_there.shape)
            assert (step != step_there).nnz == 0


def directly(function, *args, **options):
    return function(*args, **options)


@needs_library
@pytest.mark.parametrize("reverse", [False, True])
def test_nodes_that_are_not_alike_are_found(reverse):
    dense = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]], bool)
    rows = tk.Topology.from_dense([dense if reverse else dense.T]).layer(0).native_rows()
    labels = np.array([0, 1, 1, 2])  # then nodes 0, 1 and 2 are alike, and 3 is not
    alike = np.array([0, 0, 0, 3])
    nodes, classes, counts = _native.entries_of_classes(rows, labels, 3, alike, 4, reverse=reverse)
    found = csr_array((counts, (nodes, classes)), shape=(4, 3)).toarray()
    assert found.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert _native.entries_of_classes(rows, labels, 3, np.zeros(4, np.int64), 8, reverse=reverse) is None
    assert _native.entries_of_classes(rows, labels, 3, alike, 1, reverse=reverse) is None  # too little room


@needs_library
def test_hashes_that_collide_are_left_to_numpy(monkeypatch):
    layer = NETS["random"].layer(0)
    expected = by_numpy(twins, layer)
    monkeypatch.setattr(_classes, "_random_numbers", lambda size: np.ones(size, np.uint64))  # equal degrees collide
    assert _classes._natively_classed(layer, np.arange(70), 70, reverse=False, with_entries=True) is None
    assert len(by_numpy(twins, layer)[1]) == len(expected[1])


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_proofs_are_the_same_both_ways(net):
    report = run_checks(net)
    assert [result.to_json() for result in run_checks(net.build())][1:] == [result.to_json() for result in report][1:]
    assert run_probes(net, 2, 0) == run_probes(net.build(), 2, 0)
    counts = np.eye(1, net.widths[0]).astype(object)[0]  # paths from input 0
    for layer in net:
        counts = np.array([sum(counts[layer.sources[layer.targets == t]]) for t in range(layer.shape[1])], object)
    assert np.array_equal(tk.path_counts(net)[0], counts)
    for probe in run_probes(net, 2, 0):
        assert probe.paths == counts[0] % probe.prime


def test_a_layer_that_is_only_surveyed_is_never_in_memory(monkeypatch):
    if _native.native() is None:
        pytest.skip(_native.description())
    monkeypatch.setattr(CirculantSpec, "storage", lambda *_: pytest.fail("a layer was written to memory"))
    net = NETS["graph-challenge"]
    assert run_checks(net).verdict.value == "holds"
    assert run_checks(net, method="probe").verdict.value == "holds"


def test_a_family_of_circulant_layers_has_no_arrays_of_its_own():
    with pytest.raises(TypeError, match="Other must define circulant, not arrays"):

        class Other(tk.RadixNet):
            def arrays(self, i, buffers):
                raise NotImplementedError
