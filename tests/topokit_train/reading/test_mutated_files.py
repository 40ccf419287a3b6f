"""Changed files of models: each is refused in one line or read. Nothing crashes or hangs, and no pickle is run."""

import io
import random
import warnings
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (skipped without it)

import topokit_train  # noqa: E402
from topokit.errors import TopokitError  # noqa: E402

from . import mutations  # noqa: E402

FILES = 100
"""Files of a kind in each run."""


def graph_of_convolutions():
    draw = np.random.default_rng(0).standard_normal
    tensors = {"w": draw((3, 2, 3, 3)), "v": draw((4, 12)), "shape": np.array([1, -1]), "pads": np.zeros(8, np.int64)}
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["d", "shape"], ["e"]),
        helper.make_node("Gemm", ["e", "v"], ["f"], transB=1),
        helper.make_node("Softmax", ["f"], ["y"]),
    ]
    return nodes, tensors, (1, 2, 4, 4)


def graph_of_moves():
    draw = np.random.default_rng(1).standard_normal
    value = numpy_helper.from_array(draw((6, 6)).astype(np.float32), "k")
    ends = {"starts": [0], "ends": [2], "axes": [1], "many": [1, 2, 1], "sizes": [1, 4, 6]}
    tensors = {"w": draw((6, 6)), "t": draw((9, 6)), **{name: np.array(one) for name, one in ends.items()}}
    branch = helper.make_graph([], "branch", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, (6, 6))])
    nodes = [
        helper.make_node("Constant", [], ["k"], value=value),
        helper.make_node("If", ["sure"], ["k2"], then_branch=branch, else_branch=branch),
        helper.make_node("MatMul", ["x", "k2"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Slice", ["b", "starts", "ends", "axes"], ["c"]),
        helper.make_node("Tile", ["c", "many"], ["d"]),
        helper.make_node("Expand", ["d", "sizes"], ["e"]),
        helper.make_node("Concat", ["e", "b"], ["f"], axis=1),
        helper.make_node("Shape", ["f"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["zeros"]),
        helper.make_node("Add", ["f", "zeros"], ["g"]),
        helper.make_node("ReduceMean", ["g"], ["h"], axes=[1]),
        helper.make_node("MatMul", ["h", "k"], ["y"]),
    ]
    return nodes, {**tensors, "sure": np.array(True)}, (1, 4, 6)


def graph_of_states():
    draw = np.random.default_rng(2).standard_normal
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["a", "", ""], hidden_size=3),
        helper.make_node("Squeeze", ["a", "axes"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["y"]),
    ]
    tensors = {"w": draw((1, 12, 4)), "r": draw((1, 12, 3)), "v": draw((3, 2)), "axes": np.array([1])}
    return nodes, tensors, (5, 1, 4)


def of_onnx(nodes, tensors, shape):
    arrays = {name: one.astype(np.float32) if one.dtype.kind == "f" else one for name, one in tensors.items()}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", shape), ("y", None))]
    held = [numpy_helper.from_array(one, name) for name, one in arrays.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def of_torch(content, **options):
    torch.save(content, file := io.BytesIO(), **options)
    return file.getvalue()


class Mixed(torch.nn.Module):
    """Convolution, recurrent layer, a concatenation, a skip and an embedding."""

    def __init__(self):
        super().__init__()
        self.conv, self.table = torch.nn.Conv2d(1, 2, 3), torch.nn.Embedding(5, 4)
        self.lstm, self.out = torch.nn.LSTM(4, 3), torch.nn.Linear(11, 2)

    def forward(self, image, tokens):
        steps = self.lstm(self.table(tokens) + 1)[0][:, -1]
        return self.out(torch.cat([self.conv(image).relu().flatten(1), steps], 1)) * torch.arange(2)


def programs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.export.export(Mixed().eval(), (torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, dtype=torch.long)))
        torch.export.save(made, file := io.BytesIO())
    return [file.getvalue()]


def states():
    weight = torch.eye(5)
    state = {"fc1.weight": weight, "fc1.bias": weight[0], "fc2.weight_orig": weight, "fc2.weight_mask": weight.bool()}
    sparse = {"fc.weight": weight.to_sparse(), "half.weight": weight.half()}
    nested = {
        "epoch": 3,
        "state_dict": {"module.conv.weight": torch.ones(2, 1, 3, 3)},
        "masks": {"conv": torch.ones(2, 1, 3, 3)},
    }
    legacy = of_torch(state, _use_new_zipfile_serialization=False)
    return [of_torch(state), of_torch(nested), of_torch(sparse), of_torch({"model": state}), legacy]


def arrays():
    def packed(save, **more):
        save(file := io.BytesIO(), **more)
        return file.getvalue()

    one = {"a": np.eye(4), "b": np.eye(4, dtype=np.int8)}
    return [packed(np.savez, **one), packed(np.savez_compressed, **one, kernel=np.ones((3, 3, 3, 2), np.float16))]


GRAPHS = (graph_of_convolutions, graph_of_moves, graph_of_states)
KINDS = {
    "onnx": (lambda: [of_onnx(*make()) for make in GRAPHS], {}),
    "pt": (states, {"data.pkl": mutations.changed_pickle}),
    "pt2": (programs, {".json": mutations.changed_json}),
    "npz": (arrays, {".npy": mutations.changed_header}),
}
"""Kind -> its files, and the changes of the members of an archive."""


def changed(kind, contents, draw, canary):
    """Return a changed file: its bytes, what is behind its checksums, or with a pickle in it."""
    content, changes = draw.choice(contents), KINDS[kind][1]
    how = draw.random()
    if how < 0.2 or not (changes or kind == "onnx"):
        return mutations.noise(content, draw)
    if kind == "onnx":
        return mutations.changed_proto(content, draw)
    if content[:2] != b"PK":
        return mutations.changed_pickle(content, draw) if how < 0.9 else mutations.pickled(canary)
    if how > 0.9:
        return mutations.with_payload(content, draw, canary, ("data.pkl", ".npy", ".json", "weight_0"))
    return mutations.changed_archive(content, draw, changes)


@cache
def contents(kind):
    """Return the unchanged files of a kind."""
    return KINDS[kind][0]()


@pytest.mark.parametrize("kind", KINDS)
def test_unchanged_files_are_read(kind, tmp_path):
    for content in contents(kind):
        (tmp_path / "model").write_bytes(content)
        assert topokit_train.extract(tmp_path / "model").layers


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 100))])
@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_read_or_refused(kind, seed, tmp_path, free_memory):
    # so that a file which claims much is refused before anything is allocated
    free_memory(1 << 26)
    path, canary = tmp_path / "model", tmp_path / "canary"
    refused = 0
    for number in range(FILES):
        path.unlink(missing_ok=True)  # some file systems flush a file that is written over
        path.write_bytes(changed(kind, contents(kind), random.Random(f"{seed} {number}"), canary))
        try:
            found = topokit_train.extract(path)
        except TopokitError as error:
            assert len(str(error).splitlines()) == 1, number  # noqa: PT017 (some changes change nothing)
            refused += 1
        else:
            assert all(layer["edges"] <= layer["total"] for layer in found.layers)
    assert FILES / 4 < refused < FILES
    assert not canary.exists()
