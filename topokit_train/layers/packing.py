"""Conversions between the packed parameters of nn.MultiheadAttention and four linear layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from topokit.errors import InvalidSpecError
from topokit_train.layers.sparse import SparseModule

PROJECTIONS = ("q", "k", "v")


def current(module: nn.Module, name: str) -> Any:
    """Return a parameter, or None, as the next forward uses it: torch.nn.utils.prune masks it only then."""
    if hasattr(module, name + "_mask"):
        return getattr(module, name + "_orig") * getattr(module, name + "_mask")
    return getattr(module, name)


def unpacked(attention: nn.MultiheadAttention) -> dict[str, Any]:
    """Return the arguments of SparseAttention, with four nn.Linear: all numbers are copied."""
    if attention._qkv_same_embed_dim:
        weights = current(attention, "in_proj_weight").chunk(3)
    else:
        weights = [current(attention, f"{name}_proj_weight") for name in PROJECTIONS]
    bias = current(attention, "in_proj_bias")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    parts = {name: _linear(*pair) for name, *pair in zip(PROJECTIONS, weights, biases, strict=True)}
    out = attention.out_proj
    settings = {name: getattr(attention, name) for name in ("num_heads", "dropout", "batch_first", "add_zero_attn")}
    biases_kv = {name: _parameter(getattr(attention, name)) for name in ("bias_k", "bias_v")}
    return {**parts, "out_proj": _linear(current(out, "weight"), current(out, "bias")), **settings, **biases_kv}


def pack(
    attention: nn.MultiheadAttention, parts: Mapping[str, nn.Module], bias_k: Tensor | None, bias_v: Tensor | None
) -> None:
    """Copy the numbers of projections, 0 off the edges, and of biases into an attention.

    Args:
        attention: is changed.
        parts: q, k, v and out_proj, each nn.Linear or SparseLinear.
        bias_k: for its bias_k.
        bias_v: for its bias_v.

    Raises:
        InvalidSpecError, TooLargeError: see `SparseAttention.dense`.
    """
    weights, biases = zip(*(_dense(name, parts[name]) for name in (*PROJECTIONS, "out_proj")), strict=True)
    if attention._qkv_same_embed_dim:
        attention.in_proj_weight = _packed("weight", weights[:3])
    else:
        for name, weight in zip(PROJECTIONS, weights[:3], strict=True):
            setattr(attention, f"{name}_proj_weight", _parameter(weight))
    attention.out_proj.weight = _parameter(weights[3])
    if attention.in_proj_bias is not None:
        pairs = zip(weights, biases, strict=True)
        *packed, out = (weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in pairs)
        attention.in_proj_bias = _packed("bias", packed)
        attention.out_proj.bias = _parameter(out)
    attention.bias_k, attention.bias_v = _parameter(bias_k), _parameter(bias_v)


def _dense(name: str, part: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a projection, each with the module's requires_grad."""
    part = part.dense() if isinstance(part, SparseModule) else part
    if isinstance(part, nn.Linear):
        return current(part, "weight"), current(part, "bias")
    raise InvalidSpecError(f"{name} is a {type(part).__name__}: nn.MultiheadAttention needs nn.Linear or SparseLinear")


def _packed(what: str, parts: Sequence[Tensor]) -> nn.Parameter:
    """One parameter for q, k and v."""
    needed = {part.requires_grad for part in parts}
    if len(needed) > 1:
        raise InvalidSpecError(
            f"the {what}s of q, k and v differ in requires_grad, but nn.MultiheadAttention has one parameter for "
            "all three: set them alike first"
        )
    return nn.Parameter(torch.cat([part.detach() for part in parts]), needed.pop())


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with a copy of these numbers."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")  # which draws nothing
    made.weight, made.bias = _parameter(weight), _parameter(bias)
    return made


def _parameter(tensor: Tensor | None) -> Any:
    """A parameter with a copy of a tensor's numbers and its requires_grad; or None."""
    return None if tensor is None else nn.Parameter(tensor.detach().clone(), tensor.requires_grad)
