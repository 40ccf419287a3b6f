"""masked: a dense weight, 0 off the edges. The reference that every other kernel is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.kernels.base import Kernel, Plan, keep_buffers


class MaskedPlan(Plan):
    """The place of each edge in a dense weight. Values have shape (edges,), sorted by target, then source.

    A product takes O(in * out * batch), and memory for the dense weight while it is computed. As 0 * nan is nan, a nan
    in x reaches every output. 12 bytes an edge beside the values (16 from 2^31 edges).
    """

    plain = True
    place: Tensor  # (edges,): the number of each edge's entry in the weight, row by row

    def __init__(self, layer: Layer):
        super().__init__()
        self.shape = (layer.shape[1], layer.shape[0])
        place = layer.indices.astype(np.int64) * layer.shape[0] + layer.sources.astype(np.int64)
        order = np.argsort(place)
        self.number(order)
        keep_buffers(self, place=place[order])

    def weight(self, values: Tensor) -> Tensor:
        """Return the dense weight, shape (out, in), differentiable in the values; a view of them if all edges exist."""
        if self.edges == self.shape[0] * self.shape[1]:
            return values.reshape(self.shape)
        entries = values.new_zeros(self.shape[0] * self.shape[1])
        return entries.scatter_(0, self.place, values).view(self.shape)  # twice as fast as index_copy_

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        weight = self.weight(values)
        return weight @ x, (weight,)

    def gradient_of_x(self, grad: Tensor, values: Tensor, saved: Sequence[Tensor]) -> Tensor:
        (weight,) = saved or (self.weight(values),)
        return weight.T @ grad

    def gradient_of_values(self, grad: Tensor, x: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        return (grad @ x.T).flatten().index_select(0, self.place)


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
    in_bfloat16=14,
)
