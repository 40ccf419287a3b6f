"""Path counts, against dense products of Python integers."""

from functools import reduce
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from topokit.errors import InvalidSpecError, TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.measures._sweep import Sweep, finished_sweep
from topokit.measures.paths import path_counts, path_range
from topokit.topologies import Topology


def dense_counts(net):
    """The product of the biadjacency matrices in Python integers, which never overflow."""
    return reduce(np.dot, [layer.to_dense().astype(int).astype(object) for layer in net.stream()])


def confirm(found, counts):
    assert (found.min, found.max) == (counts.min(), counts.max())
    assert counts[found.min_pair] == found.min
    assert counts[found.max_pair] == found.max


@st.composite
def networks(draw, max_width=6, max_layers=5):
    """Random layers, with empty rows and columns, twins and complete layers among them."""
    widths = draw(st.lists(st.integers(1, max_width), min_size=2, max_size=max_layers + 1))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    densities = [draw(st.sampled_from([0.3, 0.6, 0.9, 1.0])) for _ in widths[1:]]
    return Topology.from_dense([random.random(shape) < d for shape, d in zip(pairwise(widths), densities, strict=True)])


@pytest.mark.parametrize(
    ("radices", "kron", "paths"),
    [
        ([(3, 4), (2, 6), (4,)], (2, 1, 3, 2, 1, 2), 288),
        ([(3, 4), (6, 2)], (1, 2, 1, 3, 1), 72),
        ([(10, 10), (10,)], (8, 3, 1, 1), 30),
        ([(2, 2, 2)], (10, 10), 100),
    ],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_golden_counts(radices, kron, paths, direction):
    net = RadixNet(radices=radices, kron=kron, direction=direction)
    found = path_range(net)
    assert (found.min, found.max) == (paths, paths)
    assert (dense_counts(net) == paths).all()


def test_the_papers_cropped_network_has_three_paths_for_each_of_78400_pairs():
    full = RadixNet(radices=[(10, 10)], kron=(8, 3, 1))
    net = Topology.from_scipy(
        layer.to_scipy()[:a, :b] for layer, a, b in zip(full.stream(), (784, 300), (300, 100), strict=True)
    )
    assert net.layer_edges == (23520, 3000)
    counts = path_counts(net)
    assert counts.shape == (784, 100)
    assert set(counts.flat) == {3}


@pytest.mark.parametrize("inputs", [[], [0, 0], [-1], [4], [1.0], 3, "3"])
def test_inputs_that_are_not_there_are_refused(inputs):
    with pytest.raises(InvalidSpecError, match="inputs must be"):
        path_range(RadixNet(radices=[(2, 2)]), inputs=inputs)


@given(networks(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_counts_from_some_inputs(net, random):
    inputs = random.sample(range(net.widths[0]), random.randint(1, net.widths[0]))
    found = path_range(net, inputs=inputs)
    counts = dense_counts(net)
    assert (found.min, found.max) == (counts[inputs].min(), counts[inputs].max())
    assert {found.min_pair[0], found.max_pair[0]} <= set(inputs)
    assert (counts[found.min_pair], counts[found.max_pair]) == (found.min, found.max)


@pytest.mark.parametrize("reverse", [False, True])
def test_big_irregular_counts_need_several_limbs_and_carries(reverse):
    random = np.random.default_rng(3)
    widths = [40, 37, 50, 31, 45, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 23]
    matrices = [random.random((a, b)) < 0.9 for a, b in pairwise(widths)]
    net = Topology.from_dense([matrix.T for matrix in matrices[::-1]] if reverse else matrices)
    counts = dense_counts(net)
    assert counts.max() > 2**95
    assert np.array_equal(path_counts(net), counts)
    confirm(path_range(net), counts)


def test_a_full_system_folds_into_one_class_of_inputs_and_one_of_nodes():
    sweep = Sweep(RadixNet(radices=[(2, 3, 4), (4, 6), (24,)], kron=(3, 1, 2, 3, 2, 1, 3)))
    shapes = []
    while not sweep.done:
        sweep.advance()
        shapes.append(sweep.counts.shape)
    assert shapes == [(24, 1, 24), (24, 1, 24), *[(1, 1, 1)] * 4]  # copies of the 24 nodes never count


def test_the_end_that_folds_first_is_taken():
    """Random layers outside a full system, on either side of it."""
    random = np.random.default_rng(1)
    system = [layer.to_dense() for layer in RadixNet(radices=[(4, 4, 4)]).stream()]
    outside = [random.random((64, 64)) < 0.1 for _ in range(4)]
    for reverse, layers in ((False, [*system, *outside]), (True, [*outside, *system])):
        net = Topology.from_dense(layers)
        assert finished_sweep(net, None, inf).reverse == reverse
        confirm(path_range(net), dense_counts(net))


def test_a_budget_counts_all_layers():
    net = Topology.from_dense(np.random.default_rng(0).random((4, 30, 30)) < 0.5)
    needed = finished_sweep(net, None, inf).spent
    assert path_range(net, budget=needed) == path_range(net)
    with pytest.raises(TooLargeError, match="use a probe"):
        path_range(net, budget=needed - 1)


@pytest.mark.parametrize(("free", "what"), [(7_000, "every pair n"), (28_000, "counting"), (39_000, "pair of classes")])
def test_too_little_memory_is_refused(free_memory, free, what):
    """900 pairs: 8 bytes each in the answer, 32 for counting them, 44 for their Python integers."""
    net = Topology.from_dense(np.random.default_rng(0).random((2, 30, 30)) < 0.5)
    free_memory(free)
    with pytest.raises(TooLargeError, match=what):
        path_counts(net)


def test_a_network_too_large_for_a_table_has_a_range():
    wide = 10**6
    hub = Topology.from_scipy([csr_array(np.ones((wide, 1))), csr_array(np.ones((1, wide)))])
    with pytest.raises(TooLargeError, match="path count of every pair"):
        path_counts(hub)
    assert path_range(hub).max == 1
