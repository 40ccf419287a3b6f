"""The parts that path counts are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.measures._classes import equal_columns, quotient, twins
from topokit.measures._limbs import carried, position, to_integers
from topokit.topologies import Topology

LIMB = 2**32


def layer_of(matrix):
    return Topology.from_dense([np.array(matrix)]).layer(0)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.booleans())
@settings(deadline=None, max_examples=150)
def test_a_quotient_counts_edges_between_classes(seed, classes, sources, targets, reverse):
    random = np.random.default_rng(seed)
    dense = random.random((sources, targets)) < 0.5
    near = dense.T if reverse else dense
    labels = random.integers(classes, size=near.shape[0])
    far_labels, matrix = quotient(layer_of(dense), labels, classes, reverse=reverse)
    counts = np.array([[near[labels == k, v].sum() for k in range(classes)] for v in range(near.shape[1])])
    assert np.array_equal(matrix.toarray()[far_labels], counts)
    assert matrix.nnz == np.count_nonzero(matrix.toarray())
    assert matrix.shape == (len(np.unique(counts, axis=0)), classes)  # and equal ones are in one class


@pytest.mark.parametrize("reverse", [False, True])
def test_twins_have_the_same_neighbours(reverse):
    matrix = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]])
    labels, firsts = twins(layer_of(matrix.T if reverse else matrix), reverse=reverse)
    assert labels.tolist() == [0, 1, 0, 2, 1]
    assert firsts.tolist() == [0, 1, 3]


def test_equal_columns_are_found():
    table = np.array([[5, 7, 5, 5, 7], [1, 2, 1, 3, 2]], np.uint64)
    labels, firsts = equal_columns(table)
    assert np.array_equal(table[:, firsts[labels]], table)
    assert len(set(labels)) == len(firsts) == 3


def test_columns_whose_hashes_collide_are_kept_apart():
    _, a, b = np.random.default_rng(0).integers(2**64, size=3, dtype=np.uint64)  # the hash's weights
    table = np.array([[7, 7, 7, 7], [b, 0, b, 0], [0, a, 0, a]], np.uint64)  # columns' hashes grow by a * b alike
    labels, firsts = equal_columns(table)
    assert np.array_equal(table[:, firsts[labels]], table)


numbers = st.lists(st.integers(0, (LIMB - 1) ** 2), min_size=1, max_size=6)


@given(st.one_of(numbers, st.lists(st.sampled_from([LIMB - 1, LIMB, 1, (LIMB - 1) ** 2]), min_size=1, max_size=6)))
@settings(deadline=None)
def test_carrying_keeps_the_value(sums):
    value = sum(limb * LIMB**k for k, limb in enumerate(sums))
    limbs = carried(np.array(sums, np.uint64).reshape(1, -1, 1))
    assert (limbs < LIMB).all()
    assert to_integers(limbs).tolist() == [[value]]
    assert limbs.shape[1] <= len(sums) + 1


def test_the_largest_and_smallest_numbers_are_found_by_their_high_limbs_first():
    values = np.array([[5, LIMB + 1], [2 * LIMB, LIMB + 2], [2 * LIMB + 3, 9]], object)
    limbs = np.array([[[v % LIMB for v in row], [v // LIMB for v in row]] for row in values], np.uint64)
    assert position(limbs, largest=True) == (2, 0)
    assert position(limbs, largest=False) == (0, 0)
    values[0, 0] = 10
    limbs[0, 0, 0] = 10
    assert position(limbs, largest=False) == (2, 1)


@pytest.mark.parametrize("reverse", [False, True])
def test_nodes_whose_hashes_collide_are_no_twins(monkeypatch, reverse):
    class Equal:
        def integers(self, *_, size, dtype):
            return np.ones(size, dtype)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Equal())
    matrix = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]])
    labels, firsts = twins(layer_of(matrix.T if reverse else matrix), reverse=reverse)
    assert labels.tolist() == [0, 1, 0, 2, 3]
    assert firsts.tolist() == [0, 1, 3, 4]
