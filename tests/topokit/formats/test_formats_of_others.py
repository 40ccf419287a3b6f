"""Other libraries read what topokit writes, and topokit reads what they write; docs/format.md is right about it."""

import hashlib
import json
import re
import zipfile
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as serialize

from topokit.errors import FileFormatError, TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.formats import FORMATS, as_tensors, from_networkx, load, save, to_networkx
from topokit.topologies import Topology, fingerprint

NET = RadixNet(radices=[(2, 3), (3, 2)], kron=(1, 2, 1, 3, 2))
DENSE = [layer.to_dense() for layer in NET.stream()]

OFFICIAL = [
    "48f8c5363f7f6579b4a186b0d03a27b13d5d9e3e41e17af884569d754248903a",
    "8285beff071684fd0bf02faf63e5d65c8093096719ae469f23cfa9482b1071ad",
    "5323985b9f59f47f1ea6f5d342d2877385f36db8978b481cb47aeaf1e388d43c",
    "e329c5fdfd4b5edc0c869c57a7fd4ab1d443d5a00a31fb13a2927984c0ff0454",
    "77d4bc3b2cc6d869e6fc4391ab95160663a0e7f1b6597bbc1befe42d282050e1",
    "fe114f5984385992eacfd4a827dd1d0c77523887dcf6a0ade222ad544ac7a249",
    "2c63b12ddca93f266438c44210bc333cdc975f25df2b5886455ef52d6e41331d",
    "439cd6802ef2d8e50da2268b87df3b1f32d69352489f1e9575481217e0aec8b4",
    "7a6b97ef1402c8490fc089acfbd383f1f8bd17f9bc26d2bc5562d432165012df",
    "d10186073120eacdaa3d9b95e9ee7bdc41ccb9844fe994d4e7eece3307402836",
    "9a30c4b3057b9731484611677750234fdd1d397b48854f41c791d0b5991b6161",
    "63c8100c07c517e7b0806223afa2cee6ecfba1e801965f2cdb6af2b70365bc66",
]
"""SHA-256 of the first twelve files of the Graph Challenge's network of 1024 neurons."""


def same(net, dense):
    return all(np.array_equal(layer.to_dense(), each) for layer, each in zip(net.stream(), dense, strict=True))


def test_the_safetensors_library_reads_our_file(tmp_path):
    save(NET, tmp_path / "net")
    tensors = load_file(tmp_path / "net")
    for i, dense in enumerate(DENSE):
        indptr, indices = tensors.pop(f"layer.{i}.indptr"), tensors.pop(f"layer.{i}.indices")
        assert (indptr.dtype, indices.dtype) == (np.uint64, np.uint32)
        assert np.array_equal(indptr, np.cumsum([0, *dense.sum(1)]))
        assert np.array_equal(indices, np.nonzero(dense)[1])
    assert not tensors


def test_our_header_is_the_librarys(tmp_path):
    """Same keys, types and shapes; ours keeps the layers' order, has no gaps, and every tensor is aligned."""

    def header(content):
        return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])

    save(NET, tmp_path / "net")
    ours = (tmp_path / "net").read_bytes()
    with safe_open(tmp_path / "net", framework="numpy") as file:
        theirs = serialize(load_file(tmp_path / "net"), file.metadata())
    one, two = header(ours), header(theirs)
    assert one.pop("__metadata__") == two.pop("__metadata__")
    assert {name: (t["dtype"], t["shape"]) for name, t in one.items()} == {
        name: (t["dtype"], t["shape"]) for name, t in two.items()
    }
    assert len(ours) == len(theirs)
    assert int.from_bytes(ours[:8], "little") % 8 == 0
    end = 0
    for tensor in one.values():
        assert tensor["data_offsets"][0] == end
        assert end % {"U64": 8, "U32": 4}[tensor["dtype"]] == 0
        end = tensor["data_offsets"][1]


def test_a_file_that_the_library_wrote_is_read(tmp_path):
    save(NET, tmp_path / "net")
    with safe_open(tmp_path / "net", framework="numpy") as file:
        save_file(load_file(tmp_path / "net"), tmp_path / "theirs", file.metadata())
    assert same(load(tmp_path / "theirs"), DENSE)


def test_a_topology_beside_weights(tmp_path):
    tensors, metadata = as_tensors(NET)
    save_file({**tensors, "fc1.weight": np.zeros(7)}, tmp_path / "checkpoint", {**metadata, "epoch": "3"})
    back = load(tmp_path / "checkpoint")
    assert same(back, DENSE)
    assert back.recorded_fingerprint == fingerprint(NET)
    assert back.recipe == NET.recipe


def test_the_fingerprint_is_what_the_docs_say(tmp_path):
    save(NET, tmp_path / "net")
    tensors = load_file(tmp_path / "net")
    total = hashlib.sha256(b"".join(width.to_bytes(8, "little") for width in NET.widths))
    for i in range(len(NET)):
        layer = tensors[f"layer.{i}.indptr"].tobytes() + tensors[f"layer.{i}.indices"].tobytes()
        total.update(hashlib.sha256(layer).digest())
    assert load(tmp_path / "net").recorded_fingerprint == total.hexdigest()


def test_the_docs_example_reads_our_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(NET, "net.safetensors")
    text = (Path(__file__).parents[3] / "docs" / "format.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(list(filter(None, example.splitlines()))) == 6
    names = {}
    exec(example, names)
    assert all(np.array_equal(layer.toarray(), dense) for layer, dense in zip(names["layers"], DENSE, strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_row_in_the_docs(name):
    text, kind = (Path(__file__).parents[3] / "docs" / "format.md").read_text(), FORMATS[name]
    assert f"| `{name}` | {'a folder' if kind.folder else f'`{kind.suffix}`'} |" in text, "add it to docs/format.md"


@pytest.mark.parametrize("kind", ["bsr", "dia"])
def test_matrices_of_scipy_that_we_do_not_read_are_not_called_damaged(kind, tmp_path):
    scipy.sparse.save_npz(tmp_path / "layer.npz", scipy.sparse.csr_array(np.eye(4)).asformat(kind))
    with pytest.raises(FileFormatError, match=f"format '{kind}'; topokit reads csr, csc and coo: save it with"):
        load(tmp_path / "layer.npz")


def test_scipy_reads_our_npz(tmp_path):
    save(NET, tmp_path / "net.npz")
    matrix = scipy.sparse.load_npz(tmp_path / "net.npz")
    whole = np.zeros((sum(NET.widths),) * 2, bool)
    starts = np.cumsum([0, *NET.widths])
    for i, dense in enumerate(DENSE):
        whole[starts[i] : starts[i + 1], starts[i + 1] : starts[i + 2]] = dense
    assert isinstance(matrix, scipy.sparse.csr_array)
    assert (matrix.indices.dtype, matrix.indptr.dtype, matrix.data.dtype) == (np.int32, np.int32, np.bool_)
    assert np.array_equal(matrix.toarray(), whole)
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(tmp_path / "net.npz") as arrays:
        assert arrays["widths"].tolist() == list(NET.widths)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [float, np.float16, np.int8, np.uint64, bool, ">f8", ">i4"])
def test_any_layer_that_scipy_wrote_is_read(kind, dtype, tmp_path):
    dense = np.zeros((5, 7))
    dense[[0, 0, 2, 4, 4], [6, 1, 3, 3, 0]] = 1
    matrix = scipy.sparse.csr_array(dense).asformat(kind)
    dense[4, 3] = 0
    matrix.data = np.where((matrix.tocoo().row == 4) & (matrix.tocoo().col == 3), 0, 1).astype(dtype)  # a stored zero
    scipy.sparse.save_npz(tmp_path / "layer.npz", matrix)
    assert same(load(tmp_path / "layer.npz"), [dense])


@pytest.mark.parametrize("index", ["<i4", ">i4", "<u8", "<i2"])
def test_indices_may_be_of_any_integer_type(index, tmp_path):
    arrays = {"data": np.ones(2), "indices": np.array([2, 0], index), "indptr": np.array([0, 1, 2], index)}
    np.savez(tmp_path / "layer.npz", format=b"csr", shape=[2, 3], **arrays)
    assert same(load(tmp_path / "layer.npz"), [[[0, 0, 1], [1, 0, 0]]])


def test_unsorted_csr_is_sorted(tmp_path):
    matrix = scipy.sparse.csr_matrix((np.ones(3), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3))
    scipy.sparse.save_npz(tmp_path / "layer.npz", matrix, compressed=False)
    assert same(load(tmp_path / "layer.npz"), [[[1, 0, 1], [0, 1, 0]]])


def test_scipy_reads_our_matrix_market_files(tmp_path):
    save(NET, tmp_path / "net", to="matrix-market")
    for i, dense in enumerate(DENSE, start=1):
        assert np.array_equal(scipy.io.mmread(tmp_path / "net" / f"layer-{i}.mtx", spmatrix=False).toarray(), dense)


@pytest.mark.parametrize("field", ["pattern", "real", "integer"])
def test_a_layer_that_scipy_wrote_as_matrix_market_is_read(field, tmp_path):
    dense = np.array([[0, 2, 0], [1, 0, 5]])
    scipy.io.mmwrite(tmp_path / "layer.mtx", scipy.sparse.coo_array(dense), "by scipy", field, symmetry="general")
    assert same(load(tmp_path / "layer.mtx"), [dense != 0])


def test_ten_layers_are_read_in_order_of_number(tmp_path):
    net = Topology.from_dense([np.ones(shape) for shape in pairwise(range(1, 13))])
    for name in ("matrix-market", "tsv"):
        save(net, tmp_path / name, to=name)
        assert load(tmp_path / name).widths == tuple(range(1, 13))


def test_a_tsv_line_is_source_target_and_two_over_in_degree(tmp_path):
    net = Topology.from_dense([[[1, 0], [1, 1], [0, 0]]])
    save(net, tmp_path / "net", to="tsv")
    assert (tmp_path / "net" / "n3x2-l1.tsv").read_bytes() == (
        b"1\t1\t1.000000e+00\n2\t1\t1.000000e+00\n2\t2\t2.000000e+00\n"
    )
    save(net, tmp_path / "net", to="tsv", weight=-0.5, force=True)
    assert (tmp_path / "net" / "n3x2-l1.tsv").read_bytes() == (
        b"1\t1\t-5.000000e-01\n2\t1\t-5.000000e-01\n2\t2\t-5.000000e-01\n"
    )


def official_layers(count):
    """The Graph Challenge's network of 1024 neurons, dense; the recipe is checked against all 120 official files."""
    draw = np.random.RandomState(5489)
    order = np.arange(1024)
    for layer in range(count):
        if layer and layer % 6 == 0:
            order = np.argsort(draw.random_sample(1024))
        shift = np.eye(64) + np.roll(np.eye(64), -(2 ** (layer % 6)), axis=1)
        dense = np.empty((1024, 1024))
        dense[order] = np.kron(np.ones((16, 16)), shift)
        yield dense


def test_the_official_network_is_written_byte_for_byte(tmp_path):
    save(Topology.from_dense(official_layers(len(OFFICIAL))), tmp_path / "net", to="tsv")
    for i, digest in enumerate(OFFICIAL, start=1):
        assert hashlib.sha256((tmp_path / "net" / f"n1024-l{i}.tsv").read_bytes()).hexdigest() == digest


def test_networkx_graphs_name_nodes_by_layer_and_index():
    graph = to_networkx(NET)
    wanted = {(f"{i}:{u}", f"{i + 1}:{v}") for i, dense in enumerate(DENSE) for u, v in np.argwhere(dense)}
    assert set(graph.edges) == wanted
    assert len(graph) == sum(NET.widths)
    assert {data["layer"] for _, data in graph.nodes(data=True)} == set(range(len(NET.widths)))
    assert same(from_networkx(graph), DENSE)


def test_networkx_reads_our_graphml(tmp_path):
    save(NET, tmp_path / "net.graphml")
    graph = nx.read_graphml(tmp_path / "net.graphml")
    assert dict(graph.nodes(data=True)) == dict(to_networkx(NET).nodes(data=True))
    assert set(graph.edges) == set(to_networkx(NET).edges)
    assert json.loads(graph.graph["widths"]) == list(NET.widths)


def test_networkx_is_for_small_networks(tmp_path):
    big = RadixNet(radices=[(400,)])
    for net in (big, Topology.from_scipy([scipy.sparse.coo_array((100_000, 1))])):
        with pytest.raises(TooLargeError, match="npz"):
            to_networkx(net)
    with pytest.raises(TooLargeError):
        save(big, tmp_path / "net.graphml")
    assert not list(tmp_path.iterdir())
