"""Paths and files that hold no topology at all, and what a reader may take of the memory."""

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from topokit.errors import TooLargeError, TopokitError
from topokit.families.radix_net import RadixNet
from topokit.formats import FORMATS, load, save, save_masks


def test_no_such_file(path, refusal):
    assert "No such file" in refusal(path, error=TopokitError)


def test_an_unreadable_file(path, refusal):
    path.symlink_to(path)
    assert "cannot read" in refusal(path, error=TopokitError)


def test_a_pipe_is_not_waited_for(path, refusal):
    os.mkfifo(path)
    assert "no file and no folder" in refusal(path)


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04\x95", b"\0" * 100, b"%%MatrixMarke", b"\n"])
def test_no_known_format(path, content, refusal):
    assert "none of the formats" in refusal(path, content)


def test_an_empty_file(path, refusal):
    assert "is empty" in refusal(path, b"")


def test_a_pickle_is_never_opened(tmp_path, refusal):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    refusal(tmp_path / "net.npz", pickle.dumps(Bomb()))
    buffer = io.BytesIO()
    np.savez(buffer, format=np.array([Bomb()]), data=np.array([Bomb()]), shape=np.array([2, 2]))
    refusal(tmp_path / "net.npz", buffer.getvalue())
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", [*FORMATS, "masks", "sparse-masks"])
def test_a_reader_asks_for_what_it_then_takes(name, path, memory_of, free_memory):
    net = RadixNet(radices=[(60 if name == "graphml" else 150,)])
    if name.endswith("masks"):
        save_masks({"a": np.eye(1000) if name == "sparse-masks" else net.layer(0).to_dense()}, path)
    else:
        save(net, path, to=name)
    peak = memory_of(lambda: load(path))
    free_memory(0.8 * peak)
    with pytest.raises(TooLargeError):
        load(path)


def test_readers_touch_graphblas_never_and_networkx_only_for_graphml(tmp_path):
    net = RadixNet(radices=[(2, 2)])
    for name in FORMATS:
        save(net, tmp_path / name, to=name)
    code = """
import sys
from topokit.formats import FORMATS, load
for name in sorted(FORMATS, key="graphml".__eq__):
    assert "networkx" not in sys.modules, name
    load(name)
print("graphblas" in sys.modules, "networkx" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "False True\n"
