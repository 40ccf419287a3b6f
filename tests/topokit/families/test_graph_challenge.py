"""The Graph Challenge's networks against the official files and against their definition."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import topokit as tk

HASHES = Path(__file__).parents[2] / "golden" / "graph-challenge-1024-tsv.sha256"


def oracle(neurons, i):
    """Edge layer i as a dense matrix, from the definition."""
    nodes = neurons // 16
    period = nodes.bit_length() - 1
    block, place = divmod(i, period)
    shift = np.roll(np.eye(nodes, dtype=bool), -(2**place), axis=1)
    plain = np.kron(np.ones((16, 16), bool), np.eye(nodes, dtype=bool) | shift)
    if block == 0:
        return plain
    runs = np.random.RandomState(5489).random_sample((block, neurons))
    official = np.empty_like(plain)
    official[np.argsort(runs[-1])] = plain
    return official


def test_all_official_files_byte_for_byte(tmp_path):
    tk.save(tk.GraphChallenge(neurons=1024, layers=120), tmp_path / "gc", to="tsv")
    published = dict(line.split() for line in HASHES.read_text().splitlines())
    written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "gc").iterdir()}
    assert len(published) == 120
    assert written == published


@pytest.mark.parametrize(("neurons", "layers"), [(1024, (0, 5, 6, 18, 17, 5, 23)), (4096, (7, 8, 25, 16))])
def test_layers_alone_and_in_any_order_agree_with_the_definition(neurons, layers):
    net = tk.GraphChallenge(neurons=neurons, layers=30)
    for i in layers:
        assert np.array_equal(net.layer(i).to_dense(), oracle(neurons, i))


def test_streaming_backwards_gives_the_same_layers():
    net = tk.GraphChallenge(neurons=1024, layers=20)
    backwards = [layer.indices.copy() for layer in net.stream(reverse=True)][::-1]
    for layer, indices in zip(net.stream(), backwards, strict=True):
        assert np.array_equal(layer.indices, indices)


def test_threads_that_read_one_network_get_its_layers():
    wanted = tk.fingerprint(tk.GraphChallenge(neurons=1024, layers=40))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(10):
                assert set(pool.map(tk.fingerprint, [tk.GraphChallenge(neurons=1024, layers=40)] * 4)) == {wanted}
    finally:
        sys.setswitchinterval(before)


def test_the_promised_number_of_paths():
    assert tk.GraphChallenge(neurons=1024, layers=120).promises.paths == 2**590
    assert tk.GraphChallenge(neurons=65536, layers=1920).promises.paths == 2**9584
    assert tk.verify(tk.GraphChallenge(neurons=1024, layers=7)).verdict.value == "holds"
    vector = np.eye(1024, 1, dtype=object)[:, 0]
    for i in range(14):  # not a whole number of blocks
        vector = vector @ oracle(1024, i).astype(object)
        promises = tk.GraphChallenge(neurons=1024, layers=i + 1).promises
        same = len(set(vector)) == 1
        assert promises.connected == same
        assert promises.paths == (vector[0] if same else None)


def test_what_is_not_checked_says_so():
    assert tk.GraphChallenge(neurons=1024, layers=120).notes == ()
    assert "layers 121 to 480 are predicted" in tk.GraphChallenge(neurons=1024, layers=480).notes[0]
    assert "4096 neurons is predicted" in tk.GraphChallenge(neurons=4096, layers=1).notes[0]
