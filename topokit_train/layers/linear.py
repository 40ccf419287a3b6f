"""SparseLinear, a linear layer whose connections are the edges of a topology layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit_train.chain import Link, chain_rows
from topokit_train.kernels.base import BATCH
from topokit_train.layers.choice import Product, choose
from topokit_train.layers.sparse import SparseModule


class SparseLinear(SparseModule):
    """A linear layer whose only connections are the edges of one topology layer: y = x W^T + b.

    It is used as nn.Linear is, with any optimizer, deepcopy and DistributedDataParallel (with
    broadcast_buffers=False, the constant pattern is not sent at every step). SparseModule describes its state: there
    is one weight for each edge. Gradients of any order are those of autograd. docs/torch-features.md lists what works
    with torch.func, compile, export and other features. `sparsify` puts it into torch's transformers.

    Args:
        layer: the edges, from in_features sources to out_features targets.
        bias: whether to add a bias to each output.
        kernel: a name in KERNELS, "auto" or "tuned", see `topokit_train.layers.choice.choose`; the attribute
            `choice` says which one was chosen, and why.
        device: of the layer; torch's default if omitted.
        dtype: of the layer; torch's default if omitted.
        generator: draws the initial values; a CPU generator, torch's global one if omitted.
        batch: number of inputs of a step, for the choice of a kernel.

    Raises:
        InvalidSpecError: there is no such kernel, or it does not run on this device or type.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        bias: bool = True,
        kernel: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
        batch: int = BATCH,
    ):
        like = torch.empty(0, device=device, dtype=dtype)  # resolves torch's defaults
        choice = choose(layer, like.device, like.dtype, kernel, Product(batch))
        super().__init__(layer, layer, choice, like, layer.shape[::-1], bias=bias)
        self.in_features, self.out_features = layer.shape
        self.reset_parameters(generator)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply and add the bias.

        Args:
            x: shape (..., in_features).

        Returns:
            Shape (..., out_features), of most kernels in memory features first, which suits the next SparseLinear:
            use reshape if view refuses.

        Raises:
            InvalidSpecError: x has another number of features, or the layer was moved to a device or type that
                its kernel does not support.
        """
        if x.shape[-1:] != (self.in_features,):
            raise InvalidSpecError(
                f"x has shape {tuple(x.shape)}; its last size must be in_features, {self.in_features}"
            )
        if x.ndim == 2:
            return chain_rows(x, [self.link()])
        y = chain_rows(x.reshape(-1, self.in_features), [self.link()])
        return y.reshape(*x.shape[:-1], self.out_features)

    def _dense_on_meta(self) -> nn.Linear:
        return nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")

    def _with_edges(self, layer: Layer, **settings: Any) -> SparseModule:
        return SparseLinear(layer, **settings)

    def link(self, relu: bool = False) -> Link:
        """Return the layer as a part of a chain, see `topokit_train.chain`.

        Args:
            relu: whether ReLU follows.

        Raises:
            InvalidSpecError: the layer was moved to a device or type that its kernel does not support.
        """
        self._kernel.require(self.values.device, self.values.dtype)
        return Link(self._plan, self.values, self.bias, relu)

    def extra_repr(self) -> str:
        """The sizes, as the module prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, edges={self.edges}"
