"""Which weights go, against a slow oracle in NumPy."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from topokit_train.pruning.magnitude import all_together, below, per_layer, smallest


def oracle(magnitudes, count):
    """What is kept of one row: all but the first `count` in order of size and then place."""
    kept = np.ones(len(magnitudes), bool)
    kept[np.argsort(magnitudes, kind="stable")[:count]] = False
    return kept


@given(
    rows=st.integers(1, 3),
    values=st.integers(1, 40),
    distinct=st.integers(1, 50),
    counts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_exactly_so_many_go_whatever_ties_there_are_and_once_gone_they_stay(rows, values, distinct, counts, seed):
    draw = np.random.default_rng(seed)
    kept = np.ones((rows, values), bool)
    for share in sorted(counts):
        count = round(share * values)
        weights = draw.integers(0, distinct, (rows, values)).astype(np.float32) * kept
        # the pruned ones come first where they tie with a kept zero
        wanted = np.array([oracle(np.where(k, w, -1), count) for k, w in zip(kept, weights, strict=True)])
        found = smallest(weights, kept, count)
        np.testing.assert_array_equal(found, wanted)
        assert ((~found).sum(1) == count).all()
        kept = found


def test_layers_are_pruned_alone_or_all_together():
    draw = np.random.default_rng(2)
    weights = {
        name: np.abs(draw.standard_normal((2, size))).astype(np.float32) * scale
        for name, size, scale in (("small", 30, 0.1), ("large", 70, 1))
    }
    kept = {name: np.ones(rows.shape, bool) for name, rows in weights.items()}
    for name, rows in per_layer(weights, kept, Fraction(3, 5)).items():
        wanted = [oracle(row, round(0.6 * len(row))) for row in weights[name]]
        np.testing.assert_array_equal(rows, wanted)
    together = all_together(weights, kept, Fraction(3, 5))
    assert list(together) == ["small", "large"]
    for k in range(2):
        wanted = oracle(np.concatenate([rows[k] for rows in weights.values()]), 60)
        np.testing.assert_array_equal(np.concatenate([rows[k] for rows in together.values()]), wanted)


def test_a_threshold_keeps_what_is_as_large():
    values = np.array([[0.1, 0.2, 0.3, 0.0]], np.float32)
    kept = np.array([[True, True, False, True]])
    assert below({"a": values}, {"a": kept}, 0.2)["a"].tolist() == [[False, True, False, False]]
