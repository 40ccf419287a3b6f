"""All or nothing: whatever goes wrong while writing, what stood there stays and nothing is left behind."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from errno import ENOSPC
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import numpy as np
import pytest

from topokit.errors import InvalidSpecError, OutputExistsError, TooLargeError, TopokitError
from topokit.families.radix_net import RadixNet
from topokit.formats import FORMATS, load, replacing, save, save_masks
from topokit.layered import Layered
from topokit.masking import masks
from topokit.topologies import Topology, fingerprint

NET = RadixNet(radices=[(2, 2)], kron=(1, 2, 1))
OTHER = RadixNet(radices=[(3, 2)])
FOLDERS = {"tsv": "n4x8-l1.tsv", "matrix-market": "layer-1.mtx"}


class Broken(Layered):
    """Fails when its second layer is asked for."""

    widths = NET.widths
    layer_edges = NET.layer_edges

    def __init__(self, error):
        self.error = error

    def layer(self, i):
        return NET.layer(i)

    def stream(self, *, reverse=False):  # noqa: ARG002 (the interface's)
        yield NET.layer(0)
        raise self.error


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("error", "seen", "said"),
    [
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (OSError(28, "No space left on device"), TopokitError, "No space left on device: free some space"),
        (OSError(13, "Permission denied"), TopokitError, "Permission denied: choose another place"),
        (OSError(30, "Read-only file system"), TopokitError, "Read-only file system: choose another place"),
        (ZeroDivisionError("mistake"), ZeroDivisionError, "mistake"),
    ],
)
def test_a_failure_leaves_nothing_behind(name, error, seen, said, tmp_path):
    with pytest.raises(seen, match=said):
        save(Broken(error), tmp_path / "net", to=name)
    assert not list(tmp_path.iterdir())
    save(OTHER, tmp_path / "net", to=name)
    with pytest.raises(seen, match=said):
        save(Broken(error), tmp_path / "net", to=name, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert fingerprint(load(tmp_path / "net")) == fingerprint(OTHER)


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock
from topokit.errors import TopokitError
from topokit.families.radix_net import RadixNet
from topokit.formats import FORMATS, save, save_masks
from topokit.masking import masks
net = RadixNet(radices=[(40, 2)])
attempts = {name: lambda name=name: save(net, "net", to=name) for name in FORMATS}
attempts["masks"] = lambda: save_masks(masks(net, ["a", "b"]), "net")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for name, attempt in attempts.items():
    try:
        attempt()
    except TopokitError as error:
        print(name, error)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = run.stdout.splitlines()
    assert [line.split()[0] for line in said] == [*FORMATS, "masks"]
    assert all("cannot write net: File too large: free some space" in line for line in said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_is_found_full_only_when_flushed(name, tmp_path, monkeypatch):
    def fail(descriptor):  # noqa: ARG001 (os.fsync's)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(TopokitError, match="No space left on device"):
        save(NET, tmp_path / "net", to=name)
    assert not list(tmp_path.iterdir())


def test_the_longest_suffix_decides_the_format(tmp_path, monkeypatch):
    module = ModuleType("graph_npz")
    module.FORMAT = replace(FORMATS["graphml"], suffix=".graph.npz")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS.places, "graph-npz", "graph_npz:FORMAT")
    formats = {"net.graph.npz": "graphml", "net.npz": "npz", "graph.npz": "npz", ".npz": "safetensors"}
    for name, kind in formats.items():
        save(NET, tmp_path / name)
        assert FORMATS[kind].begins((tmp_path / name).read_bytes()), name
    with pytest.raises(InvalidSpecError, match=r"unknown extension \.graph: end it in .*\.graph\.npz"):
        save(NET, tmp_path / "net.npz.graph")


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_overwritten_without_force(name, tmp_path):
    path = tmp_path / "net"
    save(NET, path, to=name)
    with pytest.raises(OutputExistsError, match="force"):
        save(OTHER, path, to=name)
    assert fingerprint(load(path)) == fingerprint(NET)
    save(OTHER, path, to=name, force=True)
    assert fingerprint(load(path)) == fingerprint(OTHER)
    assert [each.name for each in tmp_path.iterdir()] == ["net"]


def test_what_appears_while_writing_is_not_overwritten(tmp_path):
    def write_slowly():
        with replacing(tmp_path / "net", force=False) as temporary:
            temporary.write_text("late")
            (tmp_path / "net").write_text("early")

    with pytest.raises(OutputExistsError):
        write_slowly()
    assert (tmp_path / "net").read_text() == "early"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("to", ["npz", "tsv"])
def test_one_of_several_that_write_at_the_same_time_wins(to, linked, tmp_path, monkeypatch):
    if not linked:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    every = threading.Barrier(4, timeout=30)
    flush = os.fsync

    def flush_and_wait(descriptor):
        flush(descriptor)
        if not waited.get(threading.get_ident()):
            waited[threading.get_ident()] = True
            every.wait()

    waited, won, lost = {}, [], []
    monkeypatch.setattr(os, "fsync", flush_and_wait)

    def attempt(net):
        try:
            won.append(save(net, tmp_path / "net", to=to))
        except OutputExistsError as error:
            lost.append(str(error))

    nets = [RadixNet(radices=[(2,) * k]) for k in range(1, 5)]
    threads = [threading.Thread(target=attempt, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) + len(lost) == 4
    assert fingerprint(load(tmp_path / "net")) in won
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    if linked or to == "tsv":
        assert len(won) == 1
        assert all("net exists" in said for said in lost)


def no_links(self, target):  # noqa: ARG001 (pathlib's)
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("to", ["npz", "tsv"])
def test_what_appears_at_the_last_moment_is_not_overwritten(to, tmp_path, monkeypatch):
    monkeypatch.setattr("topokit.formats._writing._require_free", lambda *_: None)
    save(OTHER, tmp_path / "net", to=to)
    with pytest.raises(OutputExistsError, match="force"):
        save(NET, tmp_path / "net", to=to)
    assert fingerprint(load(tmp_path / "net")) == fingerprint(OTHER)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_where_there_are_no_hard_links_files_are_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    save(NET, tmp_path / "net")
    assert fingerprint(load(tmp_path / "net")) == fingerprint(NET)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_anything_else_is_never_replaced(name, tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    save(NET, folder, to=name)  # an empty folder may be filled
    (folder / "thesis.tex").write_text("three years of work")
    with pytest.raises(OutputExistsError, match=r"thesis\.tex"):
        save(OTHER, folder, to=name, force=True)
    assert (folder / FOLDERS[name]).exists()
    (folder / "thesis.tex").unlink()
    (folder / f"folder{FOLDERS[name][-4:]}").mkdir()
    with pytest.raises(OutputExistsError, match="holds more than"):
        save(OTHER, folder, to=name, force=True)


def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch):
    save(OTHER, tmp_path / "net", to="tsv")
    rename, calls = Path.rename, []

    def rename_once(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_once)
    with pytest.raises(TopokitError, match="Input/output error"):
        save(NET, tmp_path / "net", to="tsv", force=True)
    assert fingerprint(load(tmp_path / "net")) == fingerprint(OTHER)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(("renamed", "kept"), [(1, OTHER), (2, NET)])
def test_a_folder_is_the_old_one_or_the_new_one_whenever_it_is_interrupted(renamed, kept, tmp_path, monkeypatch):
    save(OTHER, tmp_path / "net", to="tsv")
    rename, calls = Path.rename, []

    def rename_and_stop(self, target):
        rename(self, target)
        calls.append(self)
        if len(calls) == renamed:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", rename_and_stop)
    with pytest.raises(KeyboardInterrupt):
        save(NET, tmp_path / "net", to="tsv", force=True)
    assert fingerprint(load(tmp_path / "net")) == fingerprint(kept)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_an_old_folder_that_cannot_be_removed_fails_no_save_that_is_in_place(tmp_path, monkeypatch):
    save(OTHER, tmp_path / "net", to="tsv")
    (tmp_path / "net").chmod(0o555)
    save(NET, tmp_path / "net", to="tsv", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]

    def fail(folder, ignore_errors=False):  # noqa: ARG001 (shutil's)
        if not ignore_errors:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", fail)
    save(OTHER, tmp_path / "net", to="tsv", force=True)
    assert fingerprint(load(tmp_path / "net")) == fingerprint(OTHER)


def test_an_empty_folder_is_filled_or_stays(tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", Mock(side_effect=OSError(ENOSPC, "No space left on device")))
        with pytest.raises(TopokitError, match="No space left"):
            save(NET, tmp_path / "net", to="tsv")
    assert not any((tmp_path / "net").iterdir())
    save(NET, tmp_path / "net", to="tsv")
    assert fingerprint(load(tmp_path / "net")) == fingerprint(NET)


def test_files_and_folders_do_not_take_each_others_place(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputExistsError, match="is no folder"):
        save(NET, tmp_path / "file", to="tsv", force=True)
    with pytest.raises(OutputExistsError, match="is no file"):
        save(NET, tmp_path / "folder", to="npz", force=True)
    with pytest.raises(OutputExistsError, match="is no file"):
        save(NET, "/dev/null", to="npz", force=True)


def test_the_folder_above_must_be_there(tmp_path):
    with pytest.raises(TopokitError, match=r"there is no folder .*no: create it first"):
        save(NET, tmp_path / "no" / "net")
    (tmp_path / "file").touch()
    with pytest.raises(TopokitError, match="create it first"):
        save(NET, tmp_path / "file" / "net")
    with pytest.raises(TopokitError, match=r"cannot write .*name too long"):
        save(NET, tmp_path / ("x" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    save(NET, tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink()
    assert fingerprint(load(tmp_path / "real")) == fingerprint(NET)


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    save(NET, tmp_path / "net")
    assert (tmp_path / "net").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("net.mtx", {}, "a folder with a .mtx file for each layer: .* and choose to=matrix-market"),
        ("net.tsv", {}, "give the folder's name, .* and choose to=tsv of topokit convert"),
        ("net.v2", {}, r"unknown extension .*: end it in .safetensors, .npz, .graphml"),
        ("net.npz", {"to": "graphml"}, "ends as npz does, but to is graphml"),
        ("net.npz", {"to": "tsv"}, "give one of the two"),
        ("folder/", {}, "is a folder: .* choose to=matrix-market or tsv"),
        ("folder/", {"to": "npz"}, "is the name of a folder"),
        ("", {}, "is a folder: give a file's name, or choose to=matrix-market or tsv"),
        ("net", {"to": "nzp"}, "did you mean npz"),
        ("net.npz", {"weight": 1.0}, "npz holds no weights"),
        ("net", {"to": "tsv", "weight": 0.0}, "other than 0"),
        ("net", {"to": "tsv", "weight": float("nan")}, "finite"),
    ],
)
def test_no_format_for_this(name, options, said, tmp_path):
    with pytest.raises(InvalidSpecError, match=said):
        save(NET, f"{tmp_path}/{name}", **options)
    assert not list(tmp_path.iterdir())


def test_masks_are_written_like_everything_else(tmp_path):
    made = masks(NET, ["fc1.weight", "fc2.weight"])
    save_masks(made, tmp_path / "masks")
    with pytest.raises(OutputExistsError):
        save_masks(made, tmp_path / "masks")
    save_masks({"b": np.eye(2), "a": np.ones((3, 2), int)}, tmp_path / "masks", force=True)
    assert load(tmp_path / "masks").widths == (2, 2, 3)


def test_names_keep_the_order_of_masks_and_others_are_sorted_naturally(tmp_path):
    net = Topology.from_dense([np.ones(shape) for shape in pairwise(range(1, 13))])
    made = masks(net, [f"fc{i}.weight" for i in range(len(net), 0, -1)])
    save_masks(made, tmp_path / "masks")
    assert load(tmp_path / "masks").widths == net.widths
    from safetensors.numpy import load_file, save_file

    tensors = load_file(tmp_path / "masks")
    assert set(tensors) == {f"fc{i}.weight_mask" for i in range(1, 12)}
    renamed = {f"fc{i}.weight_mask": tensors[f"fc{12 - i}.weight_mask"].astype(np.float32) for i in range(1, 12)}
    save_file({**renamed, "fc1.weight_orig": np.zeros((2, 1))}, tmp_path / "theirs")
    assert load(tmp_path / "theirs").widths == net.widths


def test_a_file_whose_header_nobody_could_read_is_not_written(tmp_path, monkeypatch):
    net = Topology.from_dense([np.eye(2)], recipe={"family": "mine", "options": {"list": [0] * 1000}})
    save(net, tmp_path / "net")
    size = int.from_bytes((tmp_path / "net").read_bytes()[:8], "little")
    monkeypatch.setattr("topokit.formats._tensors.MAX_HEADER", size)
    save(net, tmp_path / "net", force=True)
    monkeypatch.setattr("topokit.formats._tensors.MAX_HEADER", size - 1)
    with pytest.raises(TooLargeError, match=f"needs {size:,}: permute by a seed"):
        save(net, tmp_path / "more")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(("module", "name"), [("_npz", "npz"), ("_safetensors", "safetensors")])
def test_edges_are_written_in_blocks_as_at_once(module, name, tmp_path, monkeypatch):
    save(OTHER, tmp_path / "one", to=name)
    monkeypatch.setattr(f"topokit.formats.{module}._BLOCK", 7)
    save(OTHER, tmp_path / "two", to=name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
