"""masked: a dense weight, zero where there is no edge. The reference that every other kernel is tested against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from topokit.csr import from_edges
from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.kernels.base import Kernel, Plan


class MaskedPlan(Plan):
    """The mask: bool, shape (out, in). Values have the same shape, zero off the edges. 1 byte an entry."""

    mask: Tensor

    def __init__(self, layer: Layer):
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(np.ascontiguousarray(layer.to_dense().T)), persistent=False)

    def to_canonical(self, values: Tensor) -> Tensor:
        return values.T[self.mask.T]

    def from_canonical(self, canonical: Tensor) -> Tensor:
        values = canonical.new_zeros(self.mask.shape)
        values.T[self.mask.T] = canonical
        return values

    def layer(self) -> Layer:
        transposed = self.mask.T.cpu().numpy()
        sources, targets = np.nonzero(transposed)
        return Layer(from_edges(sources, targets, (transposed.shape[0], transposed.shape[1])))


def multiply(x: Tensor, values: Tensor, plan: MaskedPlan) -> Tensor:
    """The dense product W x. O(in * out * batch).

    The gradient of values is exactly zero off the edges, so every optimizer leaves these entries at zero.
    As 0 * nan is nan, a nan in x reaches every output.

    Args:
        x: shape (in, batch).
        values: shape (out, in).
        plan: the mask.

    Returns:
        y, shape (out, batch).
    """
    # where, not a product: a gradient of inf or nan must not leak into the entries off the edges
    return torch.where(plan.mask, values, 0) @ x


def cost(layer: Layer, _found: Structure, _device: str) -> float:
    """See `Kernel`: what all costs are measured by. O(1)."""
    return layer.shape[0] * layer.shape[1]


KERNEL = Kernel(
    "masked",
    MaskedPlan,
    multiply,
    devices=("cpu", "cuda", "mps", "xpu"),
    dtypes=(torch.float32, torch.float64, torch.bfloat16, torch.float16),
    cost=cost,
)
