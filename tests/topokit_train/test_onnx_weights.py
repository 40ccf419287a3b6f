"""ONNX models: which matrices are layers, and which way round they lie, is read from the graph."""

import numpy as np
import pytest
import torch

import topokit as tk
import topokit_train
from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError, TooLargeError
from topokit_train import extract, read_weights

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (skipped without it)
from onnx.reference import ReferenceEvaluator  # noqa: E402 (skipped without it)

RNG = np.random.default_rng(0)


def drawn(*shape):
    return (RNG.standard_normal(shape) * (RNG.random(shape) < 0.5)).astype(np.float32)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


def save(path, nodes, tensors, shape=(2, 6), **options):
    """A model of input x and output y."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [
            value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value, name)
            for name, value in tensors.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    onnx.save(model, path, **options)


def edges(path, **options):
    return [layer.to_dense().T for layer in tk.extract(read_weights(path), **options).stream()]


def test_orientations(tmp_path):
    """x -> Gemm transB -> Gemm -> MatMul -> MatMul of a Transpose -> W x: every way of multiplying by (out, in)."""
    w1, w2, w3, w4 = drawn(7, 6), drawn(5, 7), drawn(4, 5), drawn(3, 4)
    nodes = [
        node("Gemm", ["x", "w1", "bias"], "a", transB=1),
        node("Relu", ["a"], "b"),
        node("Gemm", ["b", "z2"], "c"),
        node("Identity", ["z3"], "z3i"),
        node("MatMul", ["c", "z3i"], "d"),
        node("Transpose", ["a4"], "a4t", perm=[1, 0]),
        node("MatMul", ["d", "a4t"], "y"),
        node("Transpose", ["table"], "unused"),
    ]
    tensors = {
        "a4": w4,
        "z3": w3.T.copy(),
        "z2": w2.T.copy(),
        "w1": w1,
        "bias": np.zeros(7, np.float32),
        "table": drawn(9, 9),
    }
    save(tmp_path / "model", nodes, tensors)
    found = edges(tmp_path / "model")
    assert list(read_weights(tmp_path / "model").default) == ["w1", "z2", "z3", "a4"]
    for mask, weight in zip(found, [w1, w2, w3, w4], strict=True):
        assert np.array_equal(mask, weight != 0)
    assert np.array_equal(edges(tmp_path / "model", layers=["table"])[0], tensors["table"] != 0)  # as (out, in)
    assert tk.extract(read_weights(tmp_path / "model")).recipe["extraction"] == "onnx"


def test_a_matrix_on_the_left(tmp_path):
    weight = drawn(4, 3)
    save(tmp_path / "model", [node("MatMul", ["w", "x"], "y")], {"w": weight}, shape=(3, 5))
    assert np.array_equal(edges(tmp_path / "model")[0], weight != 0)
    save(tmp_path / "model", [node("Gemm", ["z", "x"], "y", transA=1)], {"z": weight.T.copy()}, shape=(3, 5))
    assert np.array_equal(edges(tmp_path / "model")[0], weight != 0)


ROWS = np.array([3, 1, 0, 2, 5, 4])


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Gather", ["w", "rows"], "v", axis=0)],
        [node("GatherElements", ["w", "grid"], "v", axis=0)],
        [node("GatherND", ["w", "column"], "v")],
        [helper.make_node("Split", ["w"], ["a", "b"], axis=0), node("Concat", ["b", "a"], "v", axis=0)],
    ],
    ids=["Gather", "GatherElements", "GatherND", "Concat"],
)
def test_reordered_rows_keep_their_parameter(nodes, tmp_path):
    weight = drawn(6, 6)
    tensors = {"w": weight, "rows": ROWS, "column": ROWS[:, None], "grid": np.repeat(ROWS[:, None], 6, 1)}
    save(tmp_path / "model", [*nodes, node("Gemm", ["x", "v"], "y", transB=1)], tensors)
    found = extract(tmp_path / "model")
    assert np.array_equal(found.masks["w"], weight != 0)
    used = np.roll(weight, 3, axis=0) if "Concat" in str(nodes) else weight[ROWS]
    assert np.array_equal(found.topology[0].to_dense(), used.T != 0)
    with pytest.raises(InvalidSpecError, match="the model reorders, selects or computes the weights of w,"):
        tk.masks(found.topology)


def test_convolutions_and_constants(tmp_path):
    conv, fc = drawn(5, 1, 3, 3), drawn(2, 20)
    nodes = [
        node("Conv", ["x", "conv.weight"], "a"),
        node("Flatten", ["a"], "b"),
        node("Constant", [], "k", value=numpy_helper.from_array(fc, "k")),
        node("Gemm", ["b", "k"], "y", transB=1),
    ]
    graph_shape = (2, 1, 4, 4)
    save_conv(tmp_path / "model", nodes, {"conv.weight": conv}, graph_shape)
    found = edges(tmp_path / "model")
    assert np.array_equal(found[0], (conv != 0).any((2, 3)))
    assert np.array_equal(found[1], (fc != 0).reshape(2, 5, 4).any(2))
    assert np.array_equal(
        edges(tmp_path / "model", layers=["conv.weight"], conv="weight")[0], (conv != 0).reshape(5, 9)
    )


def save_conv(path, nodes, tensors, shape, opset=17):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)


def test_weights_beside_the_file_and_of_small_types(tmp_path):
    weight = drawn(64, 6)
    save(
        tmp_path / "model.onnx",
        [node("Gemm", ["x", "w"], "y", transB=1)],
        {"w": weight},
        save_as_external_data=True,
        location="data",
        size_threshold=0,
    )
    assert (tmp_path / "data").exists()
    assert np.array_equal(edges(tmp_path / "model.onnx")[0], weight != 0)
    (tmp_path / "data").unlink()
    with pytest.raises(FileFormatError, match="the numbers of w are in data, which is missing"):
        read_weights(tmp_path / "model.onnx")
    half = helper.make_tensor("w", TensorProto.BFLOAT16, (2, 3), [0, 1, 2, 0, 0, 3])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.BFLOAT16, shape) for name, shape in (("x", [1, 3]), ("y", None))
    ]
    graph = helper.make_graph([node("Gemm", ["x", "w"], "y", transB=1)], "g", ends[:1], ends[1:], [half])
    onnx.save(helper.make_model(graph), tmp_path / "half")
    assert edges(tmp_path / "half")[0].astype(int).tolist() == [[0, 1, 1], [0, 0, 1]]


def test_tied_weights_are_a_layer_for_each_use(tmp_path):
    weight = drawn(3, 6)
    nodes = [node("Gemm", ["x", "w"], "a", transB=1), node("Gemm", ["a", "w"], "y")]
    save(tmp_path / "model", nodes, {"w": weight})
    one, two = edges(tmp_path / "model")
    assert np.array_equal(one, weight != 0)
    assert np.array_equal(two.T, weight != 0)
    assert tk.extract(read_weights(tmp_path / "model")).names == ("w", "w#2")


def branching(condition):
    """An If whose branches multiply by different weights."""
    branches = [
        helper.make_graph(
            [node("MatMul", ["x", weight], f"{name} out")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name} out", TensorProto.FLOAT, (2, 6))],
        )
        for name, weight in (("one", "w"), ("two", "v"))
    ]
    return helper.make_node("If", [condition], ["y"], name="fork", then_branch=branches[0], else_branch=branches[1])


def looping():
    ends = [("i", TensorProto.INT64, ()), ("go", TensorProto.BOOL, ()), ("state", TensorProto.FLOAT, (2, 6))]
    infos = [helper.make_tensor_value_info(*end) for end in ends]
    outs = [helper.make_tensor_value_info("go2", TensorProto.BOOL, ()), helper.make_tensor_value_info("s2", 1, (2, 6))]
    body = helper.make_graph(
        [node("Identity", ["go"], "go2"), node("MatMul", ["state", "w"], "s2")], "body", infos, outs
    )
    return helper.make_node("Loop", ["", "sure", "x"], ["y"], name="again", body=body)


SQUARES = {"w": drawn(6, 6), "v": drawn(6, 6), "sure": np.array(True), "scale": np.float32(1), "zero": np.uint8(0)}


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [node("ReduceMax", ["x"], "m", keepdims=0), node("Cast", ["m"], "c", to=9), branching("c")],
            r"node fork .*If",
        ),
        ([looping()], r"node again .*Loop"),
        ([helper.make_node("Magic", ["x", "w"], ["y"], name="spell", domain="own.domain")], r"node spell .*Magic"),
        (
            [
                node("QuantizeLinear", ["x", "scale", "zero"], "q"),
                node("QuantizeLinear", ["w", "scale", "zero"], "p"),
                helper.make_node(
                    "QLinearMatMul", ["q", "scale", "zero", "p", "scale", "zero", "scale", "zero"], ["y"], name="small"
                ),
            ],
            r"node small .*QLinearMatMul",
        ),
        (
            [node("Reshape", ["x", "v"], "a"), node("MatMul", ["a", "w"], "y")],
            r"node a .*Reshape.* cannot be read: .*; give the module itself, or its .pt2 program",
        ),
        ([node("MatMul", ["x", "none"], "y")], r"node y .*MatMul.* reads none, which nothing writes"),
    ],
    ids=["if", "loop", "unknown", "quantised", "wrong", "missing"],
)
def test_what_cannot_be_read_names_the_node(nodes, said, tmp_path):
    held = [numpy_helper.from_array(value, name) for name, value in SQUARES.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", (2, 6)), ("y", None))
    ]
    model = helper.make_model(helper.make_graph(nodes, "graph", ends[:1], ends[1:], held))
    model.opset_import.extend([helper.make_opsetid("own.domain", 1)])
    onnx.save(model, tmp_path / "model")
    with pytest.raises(FileFormatError, match=said) as raised:
        read_weights(tmp_path / "model")
    assert len(str(raised.value).splitlines()) == 1


def test_a_weight_beside_zeros_has_the_edges_of_both(tmp_path):
    w = drawn(6, 4)
    nodes = [node("ConstantOfShape", ["shape"], "zeros"), node("Concat", ["w", "zeros"], "wide", axis=1)]
    save(tmp_path / "model", [*nodes, node("MatMul", ["x", "wide"], "y")], {"w": w, "shape": np.array([6, 2])})
    (read,) = edges(tmp_path / "model")
    assert np.array_equal(read, np.pad(w.T != 0, ((0, 2), (0, 0))))


@pytest.mark.parametrize(("reduction", "kind"), [("none", "part"), ("add", "mixed")])
def test_what_is_scattered_overwrites_elements_or_is_mixed(reduction, kind, tmp_path):
    held = {"w": drawn(6, 5), "v": drawn(5, 3), "at": np.array([[0, 1], [1, 1]]), "zeros": np.zeros(2, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "a"), node("ScatterND", ["a", "at", "zeros"], "b", reduction=reduction)]
    save(tmp_path / "model", [*nodes, node("MatMul", ["b", "v"], "y")], held)
    found = topokit_train.extract(tmp_path / "model")
    assert [joint["kind"] for joint in found.joints] == [kind]
    second = held["v"] != 0
    second[1] &= reduction != "none"
    assert int(found.edges["v"].edges) == int(second.sum())


@pytest.mark.parametrize(("axis", "kinds"), [({}, ["mixed"]), ({"axis": 1}, ["mixed"]), ({"axis": 0}, [])])
def test_the_largest_along_the_last_axis_by_default_are_mixed(axis, kinds, tmp_path):
    held = {"w": drawn(6, 5), "v": drawn(5, 3), "k": np.array([2 if axis.get("axis") == 0 else 5])}
    nodes = [node("MatMul", ["x", "w"], "a"), helper.make_node("TopK", ["a", "k"], ["b", "at"], **axis)]
    save(tmp_path / "model", [*nodes, node("MatMul", ["b", "v"], "y")], held)
    assert [joint["kind"] for joint in topokit_train.extract(tmp_path / "model").joints] == kinds


def dependences(path, shape):
    """(features of x, features of y): whether onnx.reference computes other outputs if it is given another feature."""
    evaluate = ReferenceEvaluator(str(path)).run
    found = 0
    for _ in range(20):
        x = RNG.standard_normal(shape).astype(np.float32)
        (y,) = evaluate(None, {"x": x})
        rows = []
        for i in range(shape[-1]):
            changed = x.copy()
            changed[..., i] = RNG.standard_normal(shape[:-1])
            (other,) = evaluate(None, {"x": changed})
            rows.append((other != y).reshape(-1, y.shape[-1]).any(0))
        found = found | np.array(rows)
    return found


def between(path, nodes, held, shape, width):
    """The edges of v, and those that onnx.reference says: x times a diagonal w is a; nodes make b; b times v is y."""
    v = drawn(width, 3)
    v[:, 0] = 1  # each row has an edge
    matrices = {"w": np.diag(np.arange(1, 7)).astype(np.float32), "v": v}
    ends = [node("MatMul", ["x", "w"], "a")], [node("MatMul", ["b", "v"], "y")]
    save_conv(path, [*ends[0], *nodes, *ends[1]], matrices | held, shape)
    return topokit_train.extract(path), dependences(path, shape)


GATE = np.array([True, False, True, True, False, True])
SQUARE = {"two": np.array([2, 3]), "one": np.array([1, 6])}
OVERWRITTEN = {
    "Where": ([node("Where", ["k", "a", "fill"], "b")], {"k": GATE, "fill": np.float32(7)}, 6, 4),
    "Where of others": ([node("Where", ["k", "fill", "a"], "b")], {"k": GATE, "fill": np.ones(6, np.float32)}, 6, 2),
    "Where of all": ([node("Where", ["k", "a", "fill"], "b")], {"k": np.array(True), "fill": np.float32(0)}, 6, 6),
    "Compress": ([node("Compress", ["a", "k"], "b", axis=1)], {"k": GATE}, 4, 4),
    "Compress of all": ([node("Compress", ["a", "k"], "b")], {"k": GATE}, 4, 4),
    "ScatterElements": (
        [node("ScatterElements", ["a", "at", "fill"], "b", axis=1)],
        {"at": np.array([[4, 0]]), "fill": np.zeros((1, 2), np.float32)},
        6,
        4,
    ),
    "Trilu": (
        [node("Reshape", ["a", "two"], "c"), node("Trilu", ["c"], "d"), node("Reshape", ["d", "one"], "b")],
        SQUARE,
        6,
        5,
    ),
}


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_elements_that_are_overwritten_or_removed_have_no_node(name, tmp_path):
    nodes, held, width, left = OVERWRITTEN[name]
    found, expected = between(tmp_path / "model", nodes, held, (1, 6), width)
    assert int(expected.any(1).sum()) == left
    assert [joint["kind"] for joint in found.joints] == ["part"] * (left < 6)
    last = found.chains[-1]
    assert np.array_equal(last[len(last) - 1].to_dense() != 0, expected[expected.any(1)])


def test_a_choice_by_data_depends_on_all(tmp_path):
    nodes = [node("Greater", ["x", "fill"], "k"), node("Where", ["k", "fill", "a"], "b")]
    found, expected = between(tmp_path / "model", nodes, {"fill": np.float32(0)}, (1, 6), 6)
    assert expected.any(1).all()
    assert [joint["kind"] for joint in found.joints] == ["parallel", "joined"]


@pytest.mark.parametrize(
    ("made", "held", "kinds"),
    [
        (node("ArgMax", ["a"], "i"), {}, []),
        (node("ArgMin", ["a"], "i", axis=0, keepdims=0), {}, []),
        (node("ArgMax", ["a"], "i", axis=-1), {}, ["mixed"]),
        (node("CumSum", ["a", "axis"], "i"), {"axis": np.array(0)}, []),
        (node("CumSum", ["a", "axis"], "i"), {"axis": np.array(-1)}, ["mixed"]),
    ],
    ids=["ArgMax by default", "ArgMin", "ArgMax of features", "CumSum", "CumSum of features"],
)
def test_a_choice_or_sum_along_positions_keeps_the_nodes(made, held, kinds, tmp_path):
    width = 1 if made.op_type == "ArgMax" and kinds else 6
    nodes = [made, node("Cast", ["i"], "b", to=TensorProto.FLOAT)]
    found, expected = between(tmp_path / "model", nodes, held, (4, 6), width)
    assert [joint["kind"] for joint in found.joints] == kinds
    if not kinds:
        assert np.array_equal(found.topology[1].to_dense() != 0, expected)


def test_a_choice_by_what_is_not_of_data(tmp_path):
    nodes = [node("Less", ["x", "fill"], "l"), node("Not", ["l"], "k"), node("Where", ["k", "fill", "a"], "b")]
    found, expected = between(tmp_path / "model", nodes, {"fill": np.float32(0)}, (1, 6), 6)
    assert np.array_equal(found.chains[-1][0].to_dense() != 0, expected)


def test_a_choice_of_features_by_data_is_refused(tmp_path):
    nodes = [node("Greater", ["x", "zero"], "g"), node("Reshape", ["g", "six"], "k"), node("Compress", ["x", "k"], "y")]
    save_conv(tmp_path / "model", nodes, {"zero": np.float32(0), "six": np.array([6])}, (1, 6))
    with pytest.raises(FileFormatError, match=r"y 2 \(Compress\).*: the shape of its output y depends on the data"):
        read_weights(tmp_path / "model")


def test_a_shape_that_depends_on_data_is_the_reason(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "a"), node("NonZero", ["a"], "y")]
    save_conv(tmp_path / "model", nodes, {"w": drawn(6, 6)}, (1, 6))
    with pytest.raises(FileFormatError, match=r"y 1 \(NonZero\).*: the shape of its output y depends on the data"):
        read_weights(tmp_path / "model")


@pytest.mark.parametrize("pads", [(-1, -2), (2, -3), (-1, 1), (2, 1), (-2, 0)])
@pytest.mark.parametrize("opset", [17, 18])
def test_pads_that_remove_elements_are_those_of_torch(pads, opset, tmp_path):
    v = drawn(6 + sum(pads), 3)
    v[:, 0] = 1  # each row has an edge
    axes = {"axes": np.array([-1])} if opset == 18 else {}
    held = {"p": np.array(pads if axes else [0, pads[0], 0, pads[1]]), "one": np.float32(1), **axes}
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("Pad", ["a", "p", "one", *axes], "b"),
        node("MatMul", ["b", "v"], "y"),
    ]
    save_conv(tmp_path / "model", nodes, {"w": np.eye(6, dtype=np.float32), "v": v, **held}, (1, 6), opset)
    expected = torch.nn.functional.pad(torch.eye(6), pads).numpy() @ v != 0
    last = topokit_train.extract(tmp_path / "model").chains[-1]
    assert np.array_equal(last[len(last) - 1].to_dense() != 0, expected[expected.any(1)])


def test_negative_pads_of_a_mode_that_repeats_are_refused(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "a"), node("Pad", ["a", "p"], "y", mode="reflect")]
    save_conv(tmp_path / "model", nodes, {"w": drawn(6, 6), "p": np.array([0, -1, 0, 2])}, (1, 6))
    with pytest.raises(FileFormatError, match=r"y 1 \(Pad\) cannot be read: it has negative pads in the mode reflect"):
        read_weights(tmp_path / "model")


@pytest.mark.parametrize("scales", [1, 4, 3])
def test_weights_of_integers_in_an_old_opset(scales, tmp_path):
    """One scale, or one for each output; scales of another number are an error that names the node."""
    weight = np.rint(3 * drawn(4, 6)).astype(np.int8)
    scale = np.ones(scales, np.float32) if scales > 1 else np.float32(0.5)
    zero = np.zeros_like(scale, np.int8)
    nodes = [node("DequantizeLinear", ["w", "scale", "zero"], "d", axis=0), node("Gemm", ["x", "d"], "y", transB=1)]
    save(tmp_path / "model", nodes, {"w": weight, "scale": np.asarray(scale), "zero": np.asarray(zero)})
    if scales == 3:
        with pytest.raises(InvalidGraphError, match=r"the node d .*DequantizeLinear.* cannot be read"):
            edges(tmp_path / "model")
    else:
        (found,) = edges(tmp_path / "model")
        assert np.array_equal(found, weight != 0)


def test_an_if_whose_condition_is_a_constant_is_its_branch(tmp_path):
    save(tmp_path / "model", [branching("sure")], {"w": SQUARES["w"], "v": SQUARES["v"], "sure": SQUARES["sure"]})
    (found,) = edges(tmp_path / "model")
    assert np.array_equal(found.T, SQUARES["w"] != 0)


@pytest.mark.parametrize(("shape", "said"), [(None, "the input x has no shape"), (("n", "m"), "cannot be read")])
def test_dynamic_shapes(shape, said, tmp_path):
    """A batch without a number is 1; other dimensions that a layer then contradicts are named."""
    weight = drawn(6, 7)
    for given in (shape, ("batch", 6)):
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", given), ("y", None))
        ]
        graph = helper.make_graph(
            [node("MatMul", ["x", "w"], "y")], "graph", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]
        )
        onnx.save(helper.make_model(graph), tmp_path / "model")
        if given is shape:
            with pytest.raises(FileFormatError, match=said):
                read_weights(tmp_path / "model")
    assert np.array_equal(edges(tmp_path / "model")[0].T, weight != 0)


def test_external_data_by_link(tmp_path):
    """A model cache has links to files in another folder: they are followed, but no name in the model leaves it."""
    weight, blobs, snapshot = drawn(64, 6), tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshot"
    blobs.mkdir(parents=True)
    snapshot.mkdir()
    options = {"save_as_external_data": True, "location": "data", "size_threshold": 0}
    save(blobs / "model", [node("Gemm", ["x", "w"], "y", transB=1)], {"w": weight}, **options)
    for name in ("model", "data"):
        (snapshot / name).symlink_to(blobs / name)
    assert np.array_equal(edges(snapshot / "model")[0], weight != 0)
    (blobs / "data").rename(tmp_path / "data")
    (blobs / "data").symlink_to(tmp_path / "data")
    with pytest.raises(FileFormatError, match=r"the numbers of w are in data, outside the model's folder: copy it"):
        read_weights(snapshot / "model")


def test_sizes_that_a_model_claims_are_not_allocated(tmp_path, free_memory):
    free_memory(1 << 24)
    sizes = {"many": np.array([2**40, 6]), "w": drawn(6, 6)}
    for one in (node("Expand", ["x", "many"], "a"), node("Tile", ["x", "many"], "a")):
        save_conv(tmp_path / "model", [one, node("MatMul", ["a", "w"], "y")], sizes, (1, 6))
        with pytest.raises(TooLargeError, match=r"the node a 0 needs [\d,.]+ GiB"):
            read_weights(tmp_path / "model")


def test_a_tensor_that_is_too_short(tmp_path):
    graph = helper.make_graph([], "g", [], [], [helper.make_tensor("w", TensorProto.FLOAT, (2, 2), [1, 2, 3, 4])])
    graph.initializer[0].dims[0] = 3
    onnx.save(helper.make_model(graph), tmp_path / "short")
    with pytest.raises(FileFormatError, match="damaged or not an ONNX model"):
        tk.extract(read_weights(tmp_path / "short"), layers=["w"])
