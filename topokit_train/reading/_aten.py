"""torch's operators: what each does with nodes, and graphs of them, of a module in memory or of a .pt2 file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from topokit.convolutions import Shape
from topokit.csr import require_memory
from topokit.errors import InvalidGraphError
from topokit.extraction import operators as does
from topokit.extraction.names import stem_of
from topokit.extraction.operators import Cell
from topokit.extraction.programs import Call, Node, Program, Ref, as_list
from topokit.extraction.tracing import Constant
from topokit.extraction.weights import Part, Weights
from topokit_train.reading._writes import base_name, resolved, written
from topokit_train.reading.tensors import as_array

MOVES = """
    view reshape _unsafe_view view_as permute transpose t numpy_T flatten unflatten squeeze unsqueeze expand expand_as
    repeat tile cat concat stack hstack vstack slice select narrow split split_with_sizes chunk unbind tensor_split
    flip roll rot90 index_select constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle movedim
    moveaxis swapaxes swapdims diagonal unfold repeat_interleave index mT adjoint ravel slice_copy select_copy
    view_copy permute_copy transpose_copy squeeze_copy unsqueeze_copy expand_copy split_copy unbind_copy t_copy
    tril triu
"""
KEEPS = """
    dropout native_dropout alpha_dropout feature_dropout batch_norm native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training cudnn_batch_norm
    layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm _fused_rms_norm softmax _softmax
    log_softmax _log_softmax celu mish selu relu6 hardtanh hardswish hardsigmoid prelu _prelu_kernel rrelu
    softplus hardshrink softshrink threshold gelu silu elu leaky_relu log_sigmoid
    positive rsqrt square
"""
CASTS = "contiguous clone detach to _to_copy alias lift_fresh_copy type_as"
POOLS = """
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices max_pool1d_with_indices avg_pool1d
    avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
    _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
    _upsample_nearest_exact1d _upsample_nearest_exact2d fractional_max_pool2d
"""
REDUCES = "mean sum amax amin max min prod var std logsumexp norm linalg_vector_norm all any argmax argmin median"
ALONG = "cumsum cumprod gather"
ATTENTIONS = """
    scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention
    _scaled_dot_product_efficient_attention _scaled_dot_product_fused_attention_overrideable
"""
JOINS = {"add": "added", "sub": "added", "rsub": "added", "mul": "multiplied", "div": "multiplied"}
OVERWRITES = {
    "src": "copy slice_scatter select_scatter diagonal_scatter scatter",
    "source": "index_copy masked_scatter put",
    "values": "index_put",
    "value": "fill index_fill",
    "fill_value": "fill_diagonal",
}
"""Name of the input that is written over elements of another -> operators."""
ALIKE = "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty"
"""Operators that create a constant in the shape, or of the type, of features."""
CREATES = """
    arange zeros ones full empty eye scalar_tensor linspace tril_indices triu_indices one_hot numel sym_size item
    _local_scalar_dense nonzero _weight_norm _weight_norm_interface mv dot vdot outer diff searchsorted bucketize
"""
"""Other operators that may be run on constants."""
_MOVING = {*MOVES.split(), "zero", "gather"}
"""Operators that only move the elements of constants."""
_KEEPING = {*KEEPS.split(), *JOINS, "where", "masked_fill", "_weight_norm", "_weight_norm_interface"}
"""Operators that compute each element of constants at its place, besides those with torch's tag `pointwise`."""
_FILLS = ("value", "fill_value", "self", "other")
"""Names of inputs that can be a number which overwrites elements, or pads."""
_VIEWS = ("aten.view.default", "aten._unsafe_view.default", "aten.view_copy.default")


@does.multiplies
def _addmm(call: Call) -> Sequence[Any]:
    names = ("mat1", "mat2") if "mat1" in call.values else ("batch1", "batch2")
    made = does.product(call, *(call[name] for name in names))
    return does.with_bias(call, made, call["self"])


_CONVOLVES = {transposed: does.convolve("input", "weight", transposed=transposed) for transposed in (False, True)}


@does.multiplies
def _convolution(call: Call) -> Sequence[Any]:
    return _CONVOLVES[call["transposed"]](call)


def _recurrent(call: Call) -> Sequence[Any]:
    """nn.LSTM, nn.GRU, nn.RNN: layers of cells, in one direction or both."""
    weights, has_biases = call["params"], call["has_biases"]
    directions = 2 if call["bidirectional"] else 1
    each = 4 if has_biases else 2
    layers = call["num_layers"]
    if len(weights) != layers * directions * each:
        raise InvalidGraphError(f"{call.node.name} projects its states (proj_size), which topokit does not read")
    ids = call["input"]
    ends = []
    for i in range(layers):
        cells = [weights[(i * directions + d) * each :][:2] for d in range(directions)]
        states = [does.recur(call, ids, Cell(*cell), part=f" {i}.{d}") for d, cell in enumerate(cells)]
        ends += states
        ids = np.broadcast_to(np.concatenate(states), call.shapes[0])
    last = [np.broadcast_to(np.stack(ends)[:, None, :], shape) for shape in call.shapes[1:]]
    return [ids, *last]


def _cell(call: Call) -> Sequence[Any]:
    """nn.LSTMCell, nn.GRUCell, nn.RNNCell: one step."""
    hidden = call["hx"]
    before = [one for one in (hidden if isinstance(hidden, list) else [hidden]) if isinstance(one, np.ndarray)]
    state = does.recur(call, call["input"], Cell(call["w_ih"], call["w_hh"]), before[0] if before else None)
    return [np.broadcast_to(state, shape) for shape in call.shapes]


def _alike(call: Call) -> Sequence[Any]:
    """A constant in the shape or of the type of features."""
    program = call.program
    assert isinstance(program, Aten)
    inputs = {**call.node.inputs, "dtype": program.types[call.node.outputs[0]]}
    arrays = {ref: np.broadcast_to(np.float32(0), value.shape) for ref, value in call.tensors()}
    (made,) = program.run(replace(call.node, inputs=inputs), arrays)
    return [Constant(shape=made.shape, read=lambda: made)]


OPERATORS: dict[str, Callable[[Call], Sequence[Any]]] = {
    **does.words(MOVES, does.move),
    **does.words(KEEPS, does.keep),
    **does.words(CASTS, does.cast),
    **does.words(POOLS, does.pool),
    **{name: does.overwrite(key) for key, names in OVERWRITES.items() for name in names.split()},
    "zero": does.move,
    "masked_fill": does.fill_masked,
    "where": does.choose("other"),
    **does.words(ALIKE, _alike),
    **does.words(REDUCES, does.reduce_("dim", "keepdim")),
    **does.words(ALONG, does.along("dim")),
    **does.words("sort topk", does.along("dim", default=-1)),  # torch.export omits arguments that are the default
    **does.words(ATTENTIONS, does.attend("query", "key", "value")),
    **{name: does.joined(kind) for name, kind in JOINS.items()},
    **does.words("matmul mm bmm", does.multiply("self", "mat2")),
    **does.words("addmm baddbmm", _addmm),
    **does.words("conv1d conv2d conv3d", does.convolve("input", "weight")),
    **does.words(
        "conv_transpose1d conv_transpose2d conv_transpose3d", does.convolve("input", "weight", transposed=True)
    ),
    "convolution": _convolution,
    "linear": does.linear("input", "weight"),
    "matmul": does.multiply("self", "other"),
    "embedding": does.embed("weight"),
    **does.words("lstm gru rnn_tanh rnn_relu", _recurrent),
    **does.words("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", _cell),
}


@dataclass
class Aten(Program):
    """A graph of torch's operators; `Node.op` is such as "aten.linear.default"."""

    nodes: Sequence[Node]
    inputs: Mapping[str, Shape]
    outputs: Sequence[str]
    constants: dict[str, Constant]
    known_shapes: Mapping[str, Shape]
    types: Mapping[str, Any]

    def __post_init__(self) -> None:
        # assertions of torch.export, which compute nothing
        self.nodes = [node for node in self.nodes if not base_name(node.op).startswith("_assert")]
        self.operators = {node.op: _operator(node) for node in self.nodes}

    def shapes(self, call: Call) -> list[Shape]:
        return [self.known_shapes.get(name, ()) for name in call.node.outputs]

    def moves(self, node: Node) -> bool:
        return base_name(node.op) in _MOVING

    def keeps(self, node: Node, ref: str) -> bool:
        name = base_name(node.op)
        if name in ("addmm", "baddbmm") or any(name in names.split() for names in OVERWRITES.values()):
            return bool(node.inputs["self"] == ref) and name != "copy"
        return name in _KEEPING or torch.Tag.pointwise in resolved(node.op).tags

    def run(self, node: Node, arrays: Mapping[str, NDArray[Any]], *, of_nodes: bool = False) -> list[NDArray[Any]]:
        # a view needs memory in the order of its elements, which the numbers of nodes need not have
        operator = torch.reshape if node.op in _VIEWS else resolved(node.op)
        values = {key: _tensors(value, arrays) for key, value in node.inputs.items()}
        if of_nodes:
            values |= {key: 0 for key in _FILLS if isinstance(values.get(key), int | float)}
        values |= {key: values[key].clone() for key in written(node.op) if isinstance(values.get(key), torch.Tensor)}
        self._require_harmless(node, values)
        with torch.no_grad():
            try:
                made = operator(*values.values()) if node.op in _VIEWS else operator(**values)
            except NotImplementedError:  # reflection padding, which torch does not have for bool
                made = operator(**{key: _without_bools(value) for key, value in values.items()}).bool()
        several = made if isinstance(made, list | tuple) else [made]
        return [one.numpy() if one.dtype != torch.bfloat16 else one.float().numpy() for one in several]

    def _require_harmless(self, node: Node, values: Mapping[str, Any]) -> None:
        """Refuse an operator that could do more than compute, as a file may name any, and too large results.

        Raises:
            InvalidGraphError: names the node.
            TooLargeError: not enough free memory.
        """
        name = base_name(node.op)
        known = name in OPERATORS or name in CREATES.split()
        if not node.op.startswith("aten.") or not (known or torch.Tag.pointwise in resolved(node.op).tags):
            raise InvalidGraphError(
                f"the node {node.name} computes a constant by {node.op}, which topokit does not run: export the model "
                "without it"
            )
        sizes = [math.prod(self.known_shapes.get(output, ())) for output in node.outputs]
        keys = ("size", "repeats", "dims", "n", *(["end"] if name == "arange" else []))
        numbers = [one for key in keys for one in as_list(values.get(key))]
        most = math.prod(one for one in numbers if isinstance(one, int) and one > 0) if numbers else 0
        require_memory(16 * max(*sizes, most, 0), f"the node {node.name}")


def _tensors(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, list | tuple):
        return [_tensors(one, arrays) for one in value]
    if not isinstance(value, Ref):
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arrays that are not writable: nothing writes to them
        return torch.from_numpy(np.asarray(arrays[value]))


def _without_bools(value: Any) -> Any:
    """Return a tensor of bools as bytes, and any other value unchanged."""
    return value.byte() if isinstance(value, torch.Tensor) and value.dtype == torch.bool else value


def _operator(node: Node) -> Callable[[Call], Sequence[Any]]:
    """Return what an operator does with nodes."""
    if not node.op.startswith("aten."):
        return does.refuse
    name = base_name(node.op)
    if name in OPERATORS:
        return OPERATORS[name]
    tags = resolved(node.op).tags
    return does.joined("joined") if torch.Tag.pointwise in tags else does.mix


def constant_of(name: str, tensors: Mapping[str, Any], found: Weights) -> Constant:
    """Return a tensor of a state dict as a constant: the weight whose numbers it is, or else the tensor alone.

    Args:
        name: of the tensor.
        tensors: the state dict.
        found: its weights.
    """
    tensor = tensors[name]
    owner = stem_of(name, tensors)
    part = found.parts.get(owner)
    if part is None or tuple(tensor.shape) != part.shape:
        owner, part = name, Part(shape=tuple(tensor.shape), weight=partial(as_array, tensor, name, "the module"))
    names = (owner,) if tensor.dtype.is_floating_point else ()  # not of indices, which torch names lifted_tensor_0
    return replace(Constant.of(owner, part), read=partial(as_array, tensor, name, "the module"), parameters=names)
