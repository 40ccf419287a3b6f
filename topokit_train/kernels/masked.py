"""masked: a dense weight, zero where there is no edge. The reference that every other kernel is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from topokit.edges import from_edges
from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.chain import Gradients
from topokit_train.kernels.base import Kernel, Plan


class MaskedPlan(Plan):
    """The mask: bool, shape (out, in). Values have the same shape, zero off the edges. 1 byte an entry.

    A product takes O(in * out * batch). The gradient of the values is exactly zero off the edges, so every optimizer
    leaves these entries at zero. As 0 * nan is nan, a nan in x reaches every output.
    """

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

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        # where, not a product: values off the edges must not be read, whatever they are
        weight = torch.where(self.mask, values, 0)
        return weight @ x, (weight,)

    def gradients(
        self, grad: Tensor, x: Tensor, values: Tensor, laid_out: Sequence[Tensor], for_x: bool, for_values: bool
    ) -> Gradients:
        (weight,) = laid_out or (torch.where(self.mask, values, 0),)
        grad_values = torch.where(self.mask, grad @ x.T, 0) if for_values else None
        return weight.T @ grad if for_x else None, grad_values

    def layer(self) -> Layer:
        transposed = self.mask.T.cpu().numpy()
        sources, targets = np.nonzero(transposed)
        return Layer(from_edges(sources, targets, (transposed.shape[0], transposed.shape[1])))


# microseconds for a step, per entry of the weight, and per entry and image; see `Kernel`
_COST = {"cpu": (228, 1.8e-3, 7.4e-5), "cuda": (0, 0, 1.5e-7)}


def cost(layer: Layer, _found: Structure, device: str, batch: int) -> float:
    """See `Kernel`. O(1)."""
    fixed, per_entry, per_product = _COST.get(device, _COST["cuda"])
    entries = layer.shape[0] * layer.shape[1]
    return fixed + (per_entry + per_product * batch) * entries


KERNEL = Kernel(
    "masked",
    MaskedPlan,
    devices=("cpu", "cuda", "mps", "xpu"),
    dtypes=(torch.float32, torch.float64, torch.bfloat16, torch.float16),
    cost=cost,
)
