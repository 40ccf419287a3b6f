"""The native library's checks and counts of edges against those in NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest

from topokit import Bernoulli, edges
from topokit._native import counts, description, is_canonical, native
from topokit.errors import InvalidGraphError

needs_library = pytest.mark.skipif(native() is None, reason=description())


def arrays(seed=0):
    layer = Bernoulli(widths=(40, 30), density=".2", seed=seed).layer(0)
    return layer.indptr.copy(), layer.indices.copy()


def broken(kind, indptr, indices):
    """A layer with one fault."""
    row = int(np.argmax(np.diff(indptr) > 2))
    first = int(indptr[row])
    if kind == "twice":
        indices[first + 1] = indices[first]
    if kind == "out of order":
        indices[first : first + 2] = indices[first : first + 2][::-1].copy()
    if kind == "out of range":
        indices[int(indptr[row + 1]) - 1] = 30
    if kind == "far out of range":
        indices[int(indptr[row + 1]) - 1] = 2**63 + 5
    if kind == "decreases":
        indptr[row + 1] = indptr[-1] + 7
    if kind == "starts late":
        indptr[0] = 1
    if kind == "ends early":
        indptr[-1] -= 1
    return indptr, indices


KINDS = ["twice", "out of order", "out of range", "far out of range", "decreases", "starts late", "ends early"]


@needs_library
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_faults_that_numpy_finds(kind, seed, monkeypatch):
    indptr, indices = broken(kind, *arrays(seed))
    assert not is_canonical(indptr, indices, (40, 30))
    monkeypatch.setattr(edges, "is_canonical", lambda *_: False)
    with pytest.raises(InvalidGraphError):
        edges.validate(indptr, indices, (40, 30))


@needs_library
def test_it_finds_no_fault_where_there_is_none():
    for seed in range(20):
        assert is_canonical(*arrays(seed), (40, 30))
    empty = np.zeros(5, np.uint64), np.zeros(0, np.uint64)
    assert is_canonical(*empty, (4, 1))


def test_arrays_of_other_types_are_left_to_numpy():
    indptr, indices = arrays()
    assert not is_canonical(indptr.astype(np.int64), indices, (40, 30))
    assert not is_canonical(indptr[:-1], indices, (40, 30))
    assert counts(indices.astype(np.int32), 30) is None
    assert counts(indices[::2], 30) is None


@needs_library
@pytest.mark.parametrize("targets", [1, 1023, 1024, 1025, 70_000])
def test_counts_are_those_of_numpy(targets):
    indices = np.random.default_rng(0).integers(targets, size=5000).astype(np.uint64)
    assert np.array_equal(counts(indices, targets), np.bincount(indices.astype(np.int64), minlength=targets))
    assert np.array_equal(counts(indices[:0], targets), np.zeros(targets))


@needs_library
def test_a_target_out_of_range_is_not_counted():
    assert counts(np.array([3, 30], np.uint64), 30) is None


def test_without_the_library_a_proof_is_the_same():
    code = "import topokit; print(topokit.verify('graph-challenge neurons=1024 layers=12').verdict.value)"
    for limit in ("0", "1"):
        environment = {**os.environ, "TOPOKIT_NATIVE": limit}
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        assert done.stdout == "holds\n"
