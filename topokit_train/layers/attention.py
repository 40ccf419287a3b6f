"""SparseAttention: nn.MultiheadAttention whose four projections are modules, so that each can have a topology."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad, scaled_dot_product_attention

from topokit.errors import InvalidSpecError
from topokit_train.layers.packing import pack, unpacked
from topokit_train.operands import require_dtype


class _NoFastPath:
    """A substitute for a packed weight, for which torch's transformers call the attention as a module."""

    @classmethod
    def __torch_function__(cls, *_: Any, **__: Any) -> Any:
        return NotImplemented


class SparseAttention(nn.Module):
    """Multi-head attention that computes what nn.MultiheadAttention does, with one module for each projection.

    `q`, `k`, `v` and `out_proj` are nn.Linear or SparseLinear; a state_dict has `q.weight` or `q.values` and so on. It
    can be a part of torch's transformers; they then do not use their fast path in evaluation, which reads packed
    weights and calls no modules. Nested tensors are refused.

    Args:
        q, k, v: the projections of queries, keys and values, each to embed_dim features.
        out_proj: the projection of the heads' outputs, embed_dim to embed_dim.
        num_heads: number of heads; it divides embed_dim.
        dropout: probability that an attention weight is dropped in training.
        batch_first: whether inputs have shape (batch, length, features) and not (length, batch, features).
        bias_k, bias_v: one more key and value for every sequence, shape (1, 1, embed_dim); both or neither.
        add_zero_attn: whether a key and a value of zeros are added.

    Raises:
        InvalidSpecError: the sizes do not fit together.
    """

    # torch.nn.TransformerEncoderLayer and TransformerEncoder read these three to decide on their fast path
    in_proj_weight = _NoFastPath()
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(
        self,
        q: nn.Module,
        k: nn.Module,
        v: nn.Module,
        out_proj: nn.Module,
        num_heads: int,
        *,
        dropout: float = 0.0,
        batch_first: bool = False,
        bias_k: nn.Parameter | None = None,
        bias_v: nn.Parameter | None = None,
        add_zero_attn: bool = False,
    ):
        super().__init__()
        self.q, self.k, self.v, self.out_proj = q, k, v, out_proj
        sizes = {_sizes(q)[1], _sizes(k)[1], _sizes(v)[1], *_sizes(out_proj)}
        self.embed_dim, self.kdim, self.vdim = _sizes(q)[1], _sizes(k)[0], _sizes(v)[0]
        if len(sizes) > 1 or _sizes(q)[0] != self.embed_dim:
            raise InvalidSpecError(
                "q and out_proj must be embed_dim to embed_dim, k and v to embed_dim features; they are "
                + ", ".join(f"{name} {' to '.join(map(str, _sizes(part)))}" for name, part in self.named_children())
            )
        if num_heads < 1 or self.embed_dim % num_heads:
            raise InvalidSpecError(f"num_heads must divide embed_dim, {self.embed_dim}; it is {num_heads}")
        if (bias_k is None) != (bias_v is None):
            raise InvalidSpecError("bias_k and bias_v are given together or not at all")
        self.num_heads, self.head_dim = num_heads, self.embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.bias_k, self.bias_v = bias_k, bias_v

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> SparseAttention:
        """Return the same attention with four nn.Linear; of one pruned by torch.nn.utils.prune, the masked one.

        Numbers are copied; device, dtype, requires_grad and training mode are kept, hooks are not.
        """
        return cls(**unpacked(attention)).train(attention.training)

    def dense(self) -> nn.MultiheadAttention:
        """Return the same attention as a module of torch, with 0 off the edges. It keeps what `of` keeps.

        Raises:
            InvalidSpecError: a projection is neither nn.Linear nor SparseLinear; or q, k and v differ in requires_grad,
                and nn.MultiheadAttention has one parameter for all three.
            TooLargeError: not enough free memory.
        """
        made = nn.MultiheadAttention(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            bias=any(part.bias is not None for part in (self.q, self.k, self.v, self.out_proj)),
            add_bias_kv=self.bias_k is not None,
            add_zero_attn=self.add_zero_attn,
            kdim=self.kdim,
            vdim=self.vdim,
            batch_first=self.batch_first,
            device="meta",  # which draws nothing
        )
        pack(made, dict(self.named_children()), self.bias_k, self.bias_v)
        return made.train(self.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, as nn.MultiheadAttention does with the same arguments.

        Args:
            query: shape (length, batch, features), (batch, length, features) if batch_first, or (length, features).
            key: as the query, of the source length and kdim features.
            value: as the key, of vdim features.
            key_padding_mask: shape (batch, source length) or (source length,): True or -inf for a key that is ignored.
            need_weights: whether to return the weights too, which takes memory for all of them.
            attn_mask: shape (length, source length) or (batch * num_heads, length, source length): True if a query
                ignores a key, or numbers that are added.
            average_attn_weights: whether the weights are averaged over the heads.
            is_causal: a hint that attn_mask, which must be given, is the causal mask.

        Returns:
            The output, of the shape of the query; and the weights, shape (batch, [num_heads,] length, source length),
            or None.

        Raises:
            InvalidSpecError: shapes or types that do not fit together.
        """
        _require(query, key, value)
        for x, projection in ((query, self.q), (key, self.k), (value, self.v)):
            require_dtype(x, next(projection.parameters()).dtype)
        batched = query.ndim == 3
        if not batched:
            query, key, value = (tensor[None] for tensor in (query, key, value))
            key_padding_mask = key_padding_mask if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        if len(query) != len(key):
            raise InvalidSpecError(f"query and key must have the same batch; it is {len(query)} and {len(key)}")
        causal = is_causal and key_padding_mask is None and not need_weights  # else it is in the masks
        if is_causal and attn_mask is None:
            raise InvalidSpecError("is_causal is a hint about attn_mask: give attn_mask too")
        mask = None if causal else self._added(query, key, attn_mask, key_padding_mask)
        q, k, v = self._projected(query, key, value)
        y, weights = self._attended(q, k, v, mask, causal, need_weights)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return y[0], weights if weights is None else weights[0]
        return y if self.batch_first else y.transpose(0, 1), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> Iterator[Tensor]:
        """Queries, keys and values of the heads, shape (batch, num_heads, length, head_dim)."""
        q, k, v = self.q(query), self.k(key), self.v(value)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (torch.cat([x, bias.expand(len(x), -1, -1)], 1) for x, bias in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = (pad(x, (0, 0, 0, 1)) for x in (k, v))
        for x in (q, k, v):
            yield x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _attended(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The heads' outputs, of the shape of q, and the weights if they are needed."""
        dropped = self.dropout if self.training else 0.0
        if not need_weights:
            return scaled_dot_product_attention(q, k, v, mask, dropped, causal), None
        scores = (q * sqrt(1 / self.head_dim)) @ k.transpose(2, 3)
        weights = dropout((scores if mask is None else scores + mask).softmax(-1), dropped)
        return weights @ v, weights

    def _added(self, query: Tensor, key: Tensor, attn_mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """Both masks as numbers to add to the scores, for (batch, num_heads, length, source length); or None."""
        batch, length, source = len(query), query.shape[1], key.shape[1]
        masks = []
        if attn_mask is not None:
            shapes = ((length, source), (batch * self.num_heads, length, source))
            mask = _numbers("attn_mask", attn_mask, query.dtype, shapes)
            masks.append(mask if mask.ndim == 2 else mask.view(batch, self.num_heads, length, source))
        if padding is not None:
            masks.append(_numbers("key_padding_mask", padding, query.dtype, ((batch, source),))[:, None, None])
        if not masks:
            return None
        added = (self.bias_k is not None) + self.add_zero_attn  # keys that every query may look at
        return pad(masks[0] if len(masks) == 1 else masks[0] + masks[1], (0, added))

    def extra_repr(self) -> str:
        """The settings, as the module prints them."""
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def _sizes(projection: nn.Module) -> tuple[int, int]:
    """Inputs and outputs."""
    return int(projection.in_features), int(projection.out_features)  # type: ignore[arg-type]


def _require(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Refuse nested tensors, and shapes that do not fit together."""
    if query.is_nested or key.is_nested or value.is_nested:
        raise InvalidSpecError(
            "SparseAttention does not support nested tensors: pad them, torch.nested.to_padded_tensor(x, 0), and give "
            "a key_padding_mask; set use_nested_tensor = False of nn.TransformerEncoder"
        )
    shapes = [tuple(tensor.shape) for tensor in (query, key, value)]
    if query.ndim not in (2, 3) or {key.ndim, value.ndim} != {query.ndim} or key.shape[:-1] != value.shape[:-1]:
        raise InvalidSpecError(
            "query, key and value must all be batched, with 3 dimensions, or all not, with 2, and key and value of the "
            f"same length; their shapes are {', '.join(map(str, shapes))}"
        )


def _numbers(name: str, mask: Tensor, dtype: torch.dtype, shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """A mask as numbers to add: True becomes -inf."""
    if tuple(mask.shape) not in shapes:
        raise InvalidSpecError(f"{name} has shape {tuple(mask.shape)}: it must be {' or '.join(map(str, shapes))}")
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)
    if not mask.is_floating_point():
        raise InvalidSpecError(f"{name} must be bool or floating-point, not {mask.dtype}")
    return mask
