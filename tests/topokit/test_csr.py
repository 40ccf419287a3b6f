"""The door to GraphBLAS: what is shared, what is handed over, and what is taken back."""

import gc
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest

from topokit import csr
from topokit.csr import Buffers, Storage
from topokit.errors import TooLargeError


def uint(*values):
    return np.array(values, np.uint64)


def address(array):
    return array.__array_interface__["data"][0]


def test_the_matrix_lies_over_the_same_memory():
    indptr, indices = uint(0, 2, 2, 3), uint(0, 2, 1)
    storage = Storage(indptr, indices, (3, 4))
    before = address(storage.indices)
    assert storage.matrix().ss.is_iso
    assert storage.matrix().nvals == 3
    exported = storage.matrix().ss.export("csr", give_ownership=True, raw=True)
    assert address(exported["col_indices"]) == before


def test_arrays_that_graphblas_would_copy_are_refused():
    for indices in (np.arange(6, dtype=np.uint64)[::2], np.arange(3, dtype=np.uint64).reshape(3), np.arange(3)):
        with pytest.raises(ValueError, match="own their data"):
            Storage(uint(0, 2, 2, 3), indices, (3, 9))


def test_views_are_read_only_and_outlive_their_storage():
    views = []
    for made in (False, True):
        storage = Storage(np.arange(0, 300001, 3, dtype=np.uint64), np.tile(uint(1, 5, 9), 100000).copy(), (100000, 10))
        if made:
            assert storage.matrix().nvals == 300000
        views.append(storage.indices)
        del storage
    gc.collect()
    _churn = [np.full(300000, 77, np.uint64) for _ in range(4)]
    for view in views:
        assert not view.flags.writeable
        assert np.array_equal(view[-3:], uint(1, 5, 9))


def test_memory_is_freed_with_the_last_view():
    storage = Storage(uint(0, 1), uint(0), (1, 1))
    owner = weakref.ref(storage.matrix())
    view = storage.indices
    del storage
    gc.collect()
    assert owner() is not None
    del view
    gc.collect()
    assert owner() is None


def test_a_storage_out_of_a_pickle_is_again_one_memory_that_nobody_writes_to():
    for made in (False, True):
        storage = Storage(np.arange(0, 3001, 3, dtype=np.uint64), np.tile(uint(1, 5, 9), 1000).copy(), (1000, 10))
        if made:
            storage.matrix()
        again = pickle.loads(pickle.dumps(storage))
        assert not again.indptr.flags.writeable
        assert not again.indices.flags.writeable
        assert np.array_equal(again.indices, storage.indices)
        before = address(again.indices)
        exported = again.matrix().ss.export("csr", give_ownership=True, raw=True)
        assert address(exported["col_indices"]) == before


THREADS = """
import sys
import threading

import numpy as np

from topokit.csr import Storage

sys.setswitchinterval(1e-6)
for _ in range(300):
    storage = Storage(np.arange(0, 61, 3, dtype=np.uint64), np.tile(np.arange(3, dtype=np.uint64), 20).copy(), (20, 3))
    barrier, found = threading.Barrier(6), []

    def ask():
        barrier.wait()
        found.append(storage.matrix())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1 and len(found) == 6, found
    assert found[0].nvals == 60
"""


def test_threads_that_ask_at_once_get_the_same_matrix():
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_buffers_hand_the_same_memory_on_and_old_views_stay_valid():
    buffers = Buffers()
    seen, views = set(), []
    for k in range(4):
        indptr, indices = buffers.take(2, 3)
        seen.add(address(indices))
        indptr[:] = (0, 1, 3)
        indices[:] = (k, 0, 1)
        storage = buffers.store(indptr, indices, (2, 9))
        assert storage.matrix().nvals == 3
        views.append(storage.indices)
        buffers.reclaim(storage)
    assert len(seen) == 1
    indptr, indices = buffers.take(2, 50)  # another size: the old memory goes, but not under the views
    indices[:] = 8
    gc.collect()
    assert all(np.array_equal(view, uint(3, 0, 1)) for view in views)


def test_a_reclaimed_storage_says_so():
    buffers = Buffers()
    indptr, indices = buffers.take(1, 1)
    indptr[:], indices[:] = (0, 1), 0
    storage = buffers.store(indptr, indices, (1, 1))
    buffers.reclaim(storage)
    with pytest.raises(RuntimeError, match="streamed"):
        storage.matrix()
    with pytest.raises(RuntimeError, match="before"):
        storage.reclaim()
    with pytest.raises(RuntimeError, match="streamed"):
        pickle.dumps(storage)


def test_work_that_cannot_fit_is_refused_before_it_is_tried(free_memory):
    free_memory(1000)
    csr.require_memory(1000, "this")
    with pytest.raises(TooLargeError, match="this needs"):
        csr.require_memory(1001, "this")
    with pytest.raises(TooLargeError):
        Buffers().take(10, 200)


def test_a_layer_without_edges():
    storage = Storage(uint(0, 0, 0), uint(), (2, 3))
    assert storage.matrix().nvals == 0
    assert storage.matrix().shape == (2, 3)
