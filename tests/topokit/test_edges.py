"""Edges from outside: which arrays are a pattern, and what becomes of a list of edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.edges import from_edges, validate
from topokit.errors import InvalidGraphError


def uint(*values):
    return np.array(values, np.uint64)


GOOD = (uint(0, 2, 2, 3), uint(0, 2, 1), (3, 4))


def test_canonical_arrays_pass():
    validate(*GOOD)


@pytest.mark.parametrize(
    ("indptr", "indices", "shape", "said"),
    [
        (uint(0, 2, 2, 3), uint(0, 4, 1), (3, 4), "node 4"),
        (uint(0, 2, 2, 3), uint(0, 0, 1), (3, 4), "twice"),
        (uint(0, 2, 2, 3), uint(2, 0, 1), (3, 4), "out of order"),
        (uint(0, 2, 1, 3), uint(0, 2, 1), (3, 4), "decreases"),
        (uint(0, 2, 2, 4), uint(0, 2, 1), (3, 4), "ends at 4"),
        (uint(1, 2, 2, 3), uint(0, 2, 1), (3, 4), "starts at 1"),
        (uint(0, 2, 3), uint(0, 2, 1), (3, 4), "need 4"),
        (np.array([0, 2, 2, 3]), np.array([0, -1, 1]), (3, 4), "negative"),
        (uint(0, 2, 2, 3), np.array([0, np.nan, 1]), (3, 4), "float64"),
        (uint(0, 2, 2, 3), uint(0, 2, 1).reshape(1, 3), (3, 4), "dimensions"),
        (uint(0, 0), uint(), (1, 0), "widths"),
        (uint(0, 0), uint(), (1, 2**32), "widths"),
        (uint(0, 1, 2), uint(1, 0), (2, 1), "node 1"),
    ],
)
def test_bad_arrays_are_refused(indptr, indices, shape, said):
    with pytest.raises(InvalidGraphError, match=said):
        validate(indptr, indices, shape)


def test_messages_name_the_layer_and_the_source():
    with pytest.raises(InvalidGraphError, match="layer 7: source 2 lists target 1 twice"):
        validate(uint(0, 1, 1, 3), uint(3, 1, 1), (3, 4), "layer 7")


edge_lists = st.integers(1, 6).flatmap(
    lambda rows: st.integers(1, 6).flatmap(
        lambda columns: st.tuples(
            st.just((rows, columns)),
            st.sets(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))).map(list),
        )
    )
)


@settings(deadline=None, max_examples=60)
@given(edge_lists)
def test_an_edge_list_in_any_order_becomes_that_matrix(case):
    shape, edges = case
    dense = np.zeros(shape, bool)
    for source, target in edges:
        dense[source, target] = True
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    storage = from_edges(pairs[:, 0], pairs[:, 1], shape)
    validate(storage.indptr, storage.indices, shape)
    rows, columns, _ = storage.matrix().to_coo()
    assert storage.matrix().shape == shape
    assert storage.matrix().nvals == dense.sum()
    assert dense[rows, columns].all()


def test_edges_given_twice_or_out_of_range_are_refused():
    with pytest.raises(InvalidGraphError, match="twice"):
        from_edges(np.array([0, 0]), np.array([1, 1]), (1, 2))
    with pytest.raises(InvalidGraphError, match="source"):
        from_edges(np.array([5]), np.array([1]), (1, 2))
    with pytest.raises(InvalidGraphError, match="target"):
        from_edges(np.array([0]), np.array([-1]), (1, 2))


def test_an_edge_list_of_too_many_nodes_is_refused_before_they_are_made():
    with pytest.raises(InvalidGraphError, match="widths"):
        from_edges(np.array([0]), np.array([0]), (2**40, 1))
