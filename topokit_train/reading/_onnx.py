"""ONNX's operators: what each does with nodes; and the graphs of ONNX files. onnx.reference runs those that move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
import onnx.inliner
import onnx.numpy_helper
import onnx.reference
import onnx.shape_inference
from numpy.typing import NDArray
from onnx import helper

from topokit.convolutions import Shape
from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidGraphError, TopokitError, reason_of
from topokit.extraction import operators as does
from topokit.extraction.interpreter import trace
from topokit.extraction.operators import Cell
from topokit.extraction.programs import Call, Node, Program, Ref
from topokit.extraction.tracing import Constant
from topokit.extraction.weights import Part, Weights

MOVES = """
    Reshape Transpose Flatten Squeeze Unsqueeze Slice Split Concat Expand Tile Pad DepthToSpace SpaceToDepth
    ReverseSequence Trilu Compress
"""
KEEPS = """
    Dropout BatchNormalization LayerNormalization GroupNormalization InstanceNormalization
    LpNormalization RMSNormalization Softmax LogSoftmax Hardmax LRN MeanVarianceNormalization QuantizeLinear
    DequantizeLinear Relu LeakyRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Gelu Mish Swish
    ThresholdedRelu PRelu Clip Abs Neg Sqrt Exp Log Reciprocal Floor Ceil Round Sign Erf Sin Cos Tan Asin Acos Atan Sinh
    Cosh Asinh Acosh Atanh Not IsNaN IsInf Shrink BitShift BitwiseNot
"""
JOINS = {"Add": "added", "Sub": "added", "Sum": "added", "Mul": "multiplied", "Div": "multiplied"}
JOINED = "Pow Max Min Mean Mod Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor"
POOLS = "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool Resize Upsample MaxUnpool"
REDUCES = """
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare
"""
QUANTISES = ("QuantizeLinear", "DequantizeLinear")
CONTROL = "If Loop Scan SequenceMap"

MOST_READ = 4096
"""Elements of a constant up to which its values are read to infer shapes."""

Known = tuple[Shape, np.dtype[Any] | None, NDArray[Any] | None]
"""Shape and type of a tensor, and its values if they are few; the type is None if it is not known."""

LENGTH = 16
"""Size of a dimension without a number; the first one is the batch, and has the size 1."""


@does.multiplies
def _matmul(call: Call) -> Sequence[Any]:
    """Gemm, MatMul and MatMulInteger."""
    one, two = call["A"], call["B"]
    one = does.turned(one) if call["transA"] else one
    turned = bool(call["transB"])
    made = does.product(call, one, does.turned(two) if turned else two, "(out, in)" if turned else "(in, out)")
    return does.with_bias(call, made, call["C"])


def _by_integers(call: Call) -> Sequence[Any]:
    """MatMulInteger: the numbers of B less its zero point."""
    weight, zero = call["B"], call["b_zero_point"]
    if isinstance(weight, Constant) and weight.part and isinstance(zero, Constant):
        numbers = Part(shape=weight.shape, weight=lambda: weight.read().astype(np.float64) - zero.read())
        call.values["B"] = Constant.of(weight.parameter, numbers)
    return _matmul(call)


def _gather(call: Call) -> Sequence[Any]:
    """Elements chosen by constants are moved; rows of a table chosen by data are an embedding."""
    data, axis = call["data"], call["axis"] or 0
    if isinstance(data, Constant):
        return _EMBED(call) if axis == 0 else call.mixed()
    return does.move(call) if isinstance(call["indices"], Constant) else _ALONG(call)


_ALONG = does.along("axis")


def _shape_of(call: Call) -> Sequence[Any]:
    sizes = np.array(call["data"].shape, np.int64)[call["start"] or 0 : call["end"]]
    return [Constant(shape=sizes.shape, read=lambda: sizes)]


def _recurrent(call: Call) -> Sequence[Any]:
    """LSTM, GRU and RNN: one layer, in one direction or both; outputs (steps, directions, batch, out)."""
    directions = call["W"].shape[0]
    states = []
    for d in range(directions):
        cell = Cell(*(call[name].moved(lambda array, d=d: array[d]) for name in ("W", "R")))
        states.append(does.recur(call, call["X"], cell, part=f" {d}"))
    stacked = np.stack(states)[:, None, :]
    return [np.broadcast_to(stacked, shape) for shape in call.shapes]


def _scatter(call: Call) -> Sequence[Any]:
    """ScatterND and ScatterElements, as of writes into slices: updates overwrite elements, or are added."""
    return does.overwrite("updates")(call) if call["reduction"] in (None, "none") else call.mixed()


_EMBED = does.embed("data")

OPERATORS = {
    **does.words(MOVES, does.move),
    **does.words(KEEPS, does.keep),
    **does.words(JOINED, does.joined("joined")),
    **does.words("Identity Cast CastLike", does.cast),
    **does.words(POOLS, does.pool),
    **does.words(REDUCES, does.reduce_("axes", "keepdims", kept=True)),
    **does.words("ArgMax ArgMin", does.reduce_("axis", "keepdims", kept=True, default=0)),
    **does.words("CumSum GatherElements", _ALONG),
    "TopK": does.along("axis", default=-1),
    **does.words("Gemm MatMul", _matmul),
    **does.words("LSTM GRU RNN", _recurrent),
    **does.words("ScatterND ScatterElements", _scatter),
    **does.words(CONTROL, does.refuse),
    **does.words("Shape", _shape_of),
    **does.words("ConvInteger QLinearConv QLinearMatMul QGemm DynamicQuantizeLSTM MatMulNBits", does.refuse),
    **{name: does.joined(kind) for name, kind in JOINS.items()},
    "Where": does.choose("Y"),
    "MatMulInteger": _by_integers,
    "Gather": _gather,
    "Conv": does.convolve("X", "W"),
    "ConvTranspose": does.convolve("X", "W", transposed=True),
    "Attention": does.attend("Q", "K", "V"),
}


MOVING = {*MOVES.split(), "Gather", "GatherElements", "GatherND"}
"""Operators that only move the elements of constants."""

KEEPING = {*KEEPS.split(), *JOINS, *JOINED.split(), "Where"}
"""Operators that compute each element of constants at its place."""


class Graph(Program):
    """A graph of ONNX's operators; an If whose condition is a constant is replaced by its branch."""

    operators = OPERATORS

    def __init__(self, model: onnx.ModelProto, path: Path):
        graph = model.graph
        self.opsets = {one.domain: one.version for one in model.opset_import}
        self.model, self.path = model, path
        self.protos: dict[str, onnx.NodeProto] = {}
        self.parts: dict[str, Part] = {}
        self.constants = {}
        self._add_initialisers(graph)
        self.inputs = {one.name: _sizes(one) for one in graph.input if one.name not in self.constants}
        self.outputs = [one.name for one in graph.output]
        self.nodes = [self._node(proto, i) for i, proto in enumerate(self._inlined(graph.node))]

    def _add_initialisers(self, graph: onnx.GraphProto) -> None:
        """Add the initialisers of a graph to the constants."""
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                _located(tensor, self.path)
            self._add(tensor.name, tuple(tensor.dims), lambda tensor=tensor: _array(tensor, self.path))
        for sparse in graph.sparse_initializer:
            self._add(sparse.values.name, tuple(sparse.dims), lambda sparse=sparse: _dense(sparse, self.path))

    def _add(self, name: str, shape: Shape, read: Any) -> None:
        if len(shape) > 1:
            self.parts[name] = Part(shape=shape, weight=read)
            self.constants[name] = Constant.of(name, self.parts[name])
        else:
            self.constants[name] = Constant(shape=shape, read=read)

    def _inlined(self, nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        """Yield the nodes but constant tensors; for an If whose condition is a constant, the nodes of its branch."""
        for node in nodes:
            if node.op_type == "Constant":
                value = next(iter(node.attribute))
                name, tensor = node.output[0], value.t
                if value.name == "value":
                    self._add(name, tuple(tensor.dims), lambda tensor=tensor: _array(tensor, self.path))
                    continue
            if node.op_type == "If" and node.input[0] in self.constants:
                certain = bool(self.constants[node.input[0]].read())
                branch = next(
                    one.g for one in node.attribute if one.name == ("then_branch" if certain else "else_branch")
                )
                self._add_initialisers(branch)
                yield from self._inlined(branch.node)
                for inner, outer in zip(branch.output, node.output, strict=True):
                    yield helper.make_node("Identity", [inner.name], [outer])
                continue
            yield node

    def _node(self, proto: onnx.NodeProto, number: int) -> Node:
        outputs = tuple(name or f"{number} output {i}" for i, name in enumerate(proto.output))
        name = proto.name or outputs[0]
        self.protos[f"{name} {number}"] = proto
        inputs = dict(_named_inputs(proto, self.opsets))
        for attribute in proto.attribute:
            if attribute.type not in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR):
                inputs[attribute.name] = _plain(helper.get_attribute_value(attribute))
        return Node(f"{name} {number}", proto.op_type, inputs, outputs)

    def moves(self, node: Node) -> bool:
        return node.op in MOVING

    def keeps(self, node: Node, ref: str) -> bool:
        return bool(node.inputs.get("C") == ref) if node.op == "Gemm" else node.op in KEEPING

    def shapes(self, call: Call) -> list[Shape]:
        given: dict[str, Known] = {}
        for ref, value in call.tensors():
            array = value if isinstance(value, np.ndarray) else None
            numbers = None if array is not None or prod(value.shape) > MOST_READ else value.read()
            kind = None if numbers is None else numbers.dtype if numbers.dtype.kind in "iub" else np.dtype(np.float32)
            given[str(ref)] = value.shape, kind, numbers
        shapes = self._inferred(call.node.name, given)
        unknown = next((name for name, shape in zip(call.node.outputs, shapes, strict=True) if None in shape), None)
        if unknown is not None:
            raise InvalidGraphError(
                f"the node {call.node.name} ({call.node.op}) cannot be read: the shape of its output {unknown} depends "
                "on the data; export the model without it"
            )
        return [tuple(size for size in shape if size is not None) for shape in shapes]

    def _inferred(self, name: str, given: Mapping[str, Known]) -> list[tuple[int | None, ...]]:
        """Return the shapes of the outputs of a node; None for a size that depends on the data."""
        proto, kinds, data = self.protos[name], {}, {}
        opsets = [helper.make_opsetid(*one) for one in self.opsets.items()]
        with _refused(proto, name):
            schema = self._schema(proto)
            for ref, (shape, kind, numbers) in given.items():
                kind = _accepted(schema, list(proto.input).index(ref)) if kind is None else kind
                kinds[ref] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(kind), shape)
                if numbers is not None:
                    data[ref] = onnx.numpy_helper.from_array(np.asarray(numbers, kind))
            inferred = onnx.shape_inference.infer_node_outputs(schema, proto, kinds, data, opset_imports=opsets)
        sizes = [inferred[out].tensor_type.shape.dim if out in inferred else () for out in proto.output]
        return [tuple(one.dim_value if one.HasField("dim_value") else None for one in shape) for shape in sizes]

    def run(self, node: Node, arrays: Mapping[str, NDArray[Any]], *, of_nodes: bool = False) -> list[NDArray[Any]]:
        proto = self.protos[node.name]
        if proto.domain not in ("", "ai.onnx"):
            raise InvalidGraphError(
                f"{proto.op_type} of {proto.domain} is not one of ONNX's own operators: export the model without it"
            )
        values = self._of_common_types(proto, {name: arrays[name] for name in proto.input if name})
        given = {
            name: (array.shape, array.dtype, array if array.size <= MOST_READ else None)
            for name, array in values.items()
        }
        made = (prod(size or 0 for size in shape) for shape in self._inferred(node.name, given))
        require_memory(8 * (sum(array.size for array in values.values()) + sum(made)), f"the node {node.name}")
        opsets = dict(self.opsets)
        if proto.op_type in QUANTISES:  # onnx.reference has them from 19 on, for which earlier ones mean the same
            opsets |= {domain: max(version, 19) for domain, version in opsets.items() if domain == proto.domain}
        with _refused(proto, node.name), np.errstate(all="ignore"):  # 0/0 of a pruned row, for example
            if proto.op_type == "Pad":
                return [_padded(node, values, of_nodes=of_nodes)]
            outputs = _evaluator(proto.SerializeToString(), tuple(opsets.items())).run(None, values)
        return [np.asarray(one) for one in outputs]

    def _schema(self, proto: onnx.NodeProto) -> onnx.defs.OpSchema:
        return onnx.defs.get_schema(proto.op_type, self.opsets[proto.domain], proto.domain)

    def _of_common_types(self, proto: onnx.NodeProto, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the inputs of a node; those that must have the same type are converted to a common one.

        They can differ if an operator is run on the mask of a weight: Concat of a weight and zeros, for example.
        """
        formal = self._schema(proto).inputs
        together: dict[str, list[str]] = {}
        for i, name in enumerate(proto.input):
            if name:
                together.setdefault(formal[min(i, len(formal) - 1)].type_str, []).append(name)
        kinds = {kind: np.result_type(*(values[name] for name in names)) for kind, names in together.items()}
        return {
            name: values[name].astype(kinds[kind], copy=False) for kind, names in together.items() for name in names
        }


def _accepted(schema: onnx.defs.OpSchema, number: int) -> np.dtype[Any]:
    """Return a type that an operator accepts for an input: float32, if it does."""
    types = schema.inputs[min(number, len(schema.inputs) - 1)].types
    known = {"tensor(float)": np.float32, "tensor(bool)": np.bool_, "tensor(int64)": np.int64}
    return np.dtype(next((kind for name, kind in known.items() if name in types), np.float32))


def _padded(node: Node, arrays: Mapping[str, NDArray[Any]], *, of_nodes: bool) -> NDArray[Any]:
    """Return the output of Pad. Negative pads remove elements, which onnx.reference refuses; see `Program.run`."""

    def given(key: str, default: Any = None) -> Any:
        value = node.inputs.get(key, default)
        return arrays[value] if isinstance(value, Ref) else value

    data, mode = given("data"), given("mode", "constant")
    pads = np.zeros((data.ndim, 2), np.int64)
    pads[np.asarray(given("axes", range(data.ndim)))] = np.reshape(given("pads"), (2, -1)).T
    if mode != "constant":
        if (pads < 0).any():  # what it repeats beside a removed element is not specified
            raise ValueError(f"it has negative pads in the mode {mode}")
        return np.pad(data, pads, mode=mode)
    value = 0 if of_nodes else given("constant_value", given("value", 0))
    wide = np.pad(data, np.maximum(pads, 0), constant_values=value)
    removed = np.maximum(-pads, 0)
    return wide[tuple(slice(a, max(size - b, a)) for size, (a, b) in zip(wide.shape, removed, strict=True))]


@contextmanager
def _refused(proto: onnx.NodeProto, name: str) -> Iterator[None]:
    """Inside, errors of onnx's operators become an InvalidGraphError; they have no common class."""
    try:
        yield
    except Exception as error:
        raise InvalidGraphError(
            f"the node {name} ({proto.op_type}) cannot be read: {reason_of(error)}; give the module "
            "itself, or its .pt2 program"
        ) from error


@lru_cache(maxsize=4096)
def _evaluator(proto: bytes, opsets: tuple[tuple[str, int], ...]) -> Any:
    node = onnx.NodeProto.FromString(proto)
    ends: Any = [
        [helper.make_value_info(name, onnx.TypeProto()) for name in names if name]
        for names in (dict.fromkeys(node.input), node.output)
    ]
    graph = helper.make_graph([node], "node", *ends)
    return onnx.reference.ReferenceEvaluator(
        helper.make_model(graph, opset_imports=[helper.make_opsetid(*one) for one in opsets])
    )


def _named_inputs(proto: onnx.NodeProto, opsets: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    """Yield the operator's name of each input, and the input; the last name of some operators has several inputs."""
    try:
        schema = onnx.defs.get_schema(proto.op_type, opsets.get(proto.domain, 1), proto.domain)
        formal = schema.inputs
    except onnx.defs.SchemaError:
        formal = []
    several = onnx.defs.OpSchema.FormalParameterOption.Variadic
    for i, name in enumerate(proto.input):
        one = formal[i] if i < len(formal) else None
        if formal and (one or formal[-1]).option == several:
            yield formal[-1].name, [Ref(name) for name in proto.input[len(formal) - 1 :]]
            return
        if name:
            yield one.name if one else f"input {i}", Ref(name)


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _sizes(value: onnx.ValueInfoProto) -> Shape:
    """Return the shape of an input: a batch of 1, and LENGTH for other dimensions without a number."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise InvalidGraphError(f"the input {value.name} has no shape: export the model with fixed shapes")
    sizes = [one.dim_value for one in value.type.tensor_type.shape.dim]
    return tuple(size or (1 if i == 0 and len(sizes) > 1 else LENGTH) for i, size in enumerate(sizes))


def _dense(sparse: onnx.SparseTensorProto, path: Path) -> NDArray[Any]:
    """Return a sparse initialiser as an array."""
    values, indices = _array(sparse.values, path), _array(sparse.indices, path)
    require_memory(8 * prod(sparse.dims), "a sparse initialiser")
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def _array(tensor: onnx.TensorProto, path: Path) -> NDArray[Any]:
    """Return the numbers of a tensor, which may be in an external file; types that NumPy lacks become float32."""
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor = _external(tensor, path)
        values = onnx.numpy_helper.to_array(tensor)
    except TopokitError:
        raise
    except Exception as error:  # of a tensor whose numbers are not those of its shape and type
        raise _damaged(path, error) from error
    return values if values.dtype.kind in "biuf" else values.astype(np.float32)


def _damaged(path: Path, error: Exception) -> FileFormatError:
    return FileFormatError(f"{path} is damaged or not an ONNX model: {reason_of(error)}")


def _located(tensor: onnx.TensorProto, path: Path) -> tuple[Path, int, int]:
    """Return file, start and size of the numbers of a tensor; the file must be in the folder of the model, or below it.

    Raises:
        FileFormatError: the file is elsewhere, missing or too short.
    """
    about = {one.key: one.value for one in tensor.external_data}
    file = path.parent / about.get("location", "")
    folders = {path.parent.resolve(), path.resolve().parent}  # of a link in a model cache: where the files are
    if not any(file.resolve().is_relative_to(folder) for folder in folders):
        raise FileFormatError(
            f"{path}: the numbers of {tensor.name} are in {about.get('location')}, outside the model's folder: "
            "copy it there"
        )
    if not file.is_file():
        raise FileFormatError(f"{path}: the numbers of {tensor.name} are in {file.name}, which is missing: get it too")
    start, whole = int(about.get("offset", 0)), file.stat().st_size
    size = int(about.get("length", whole - start))
    if min(start, size) < 0 or start + size > whole:
        raise FileFormatError(f"{path}: the numbers of {tensor.name} end behind {file.name}: get both files again")
    return file, start, size


def _external(tensor: onnx.TensorProto, path: Path) -> onnx.TensorProto:
    """Return a tensor with the numbers of its external file."""
    file, start, size = _located(tensor, path)
    require_memory(2 * size, f"reading {file}")
    made = onnx.TensorProto()
    made.CopyFrom(tensor)
    made.ClearField("external_data")
    made.data_location = onnx.TensorProto.DEFAULT
    with file.open("rb") as data:
        data.seek(start)
        made.raw_data = data.read(size)
    return made


def read_onnx(path: Path) -> Weights:
    """Read the weights and layers of an ONNX model, also those in external files that it names.

    Raises:
        FileFormatError: damaged, or not an ONNX model.
        InvalidGraphError: names the node that cannot be read.
        TooLargeError: not enough free memory.
    """
    require_memory(3 * path.stat().st_size, f"reading {path}")
    try:
        model = onnx.load_model(str(path), load_external_data=False)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        graph = Graph(model, path)
        tracing = trace(graph)
    except TopokitError:
        raise
    except Exception as error:  # protobuf, onnx and a malformed graph have no common error class
        raise _damaged(path, error) from error
    return Weights(parts=graph.parts, default=tuple(tracing.parts), order="the graph", graph=tracing)
