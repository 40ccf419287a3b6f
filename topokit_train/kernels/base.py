"""Kernel and Plan: a way of multiplying by sparse patterns, and one pattern that is prepared for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.chain import Bilinear, Link, chain


class Plan(nn.Module, Bilinear):
    """One pattern, prepared for a kernel: its products, and the way between the kernel's order and the canonical one.

    Values have shape (edges,), in an order of the kernel's own. The canonical order is the same for all kernels: sorted
    by source, then target. A subclass calls `number` with its order; 4 bytes an edge (8 from 2^31 edges).

    Its tensors are buffers that are not in the state_dict, so that it is moved, copied and pickled with its layer. It
    depends on neither device nor type.
    """

    edges: int
    position: Tensor  # (edges,): the place of each canonical edge in the kernel's order

    def number(self, order: NDArray[np.intp]) -> None:
        """Set the kernel's order: shape (edges,), the canonical number of each edge in it."""
        self.edges = order.size
        position = np.empty(order.size, np.int32 if order.size < 2**31 else np.int64)
        position[order] = np.arange(order.size)
        keep_buffers(self, position=position)

    def to_canonical(self, values: Tensor) -> Tensor:
        """Return values of the kernel's order in canonical order. O(edges)."""
        return values.index_select(0, self.position)

    def from_canonical(self, canonical: Tensor) -> Tensor:
        """Return values of canonical order in the kernel's order. O(edges)."""
        values = torch.empty_like(canonical)
        values[self.position] = canonical
        return values


def keep_buffers(module: nn.Module, **arrays: NDArray[Any]) -> None:
    """Register arrays as buffers of a module that are not in its state_dict."""
    for name, array in arrays.items():
        module.register_buffer(name, torch.from_numpy(array), persistent=False)


BATCH = 128
"""Default number of inputs of a step for which a kernel is chosen."""


@dataclass(frozen=True)
class Kernel:
    """A way of multiplying by a fixed sparse pattern.

    Args:
        name: its name in KERNELS.
        prepare: (layer) -> plan, on the CPU; called once for a pattern.
        devices: the device types that it supports.
        dtypes: the types of values that it supports.
        cost: (layer, its structure, device type, batch) -> the estimated microseconds of a training step, of which only
            the order among kernels matters; infinite if it cannot multiply by this layer. cpu: fitted to 23 layers of
            10 to 4096 nodes at batch 16 to 512, float32, in the time of one thread; cuda: a careful guess, not
            measured.
        in_bfloat16: the cost on a CPU in bfloat16 over that in float32, of a processor without instructions for it: a
            median over the layers of benchmarks/costs.py, which measures it.
    """

    name: str
    prepare: Callable[[Layer], Plan]
    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    cost: Callable[[Layer, Structure, str, int], float]
    in_bfloat16: float = 1

    def multiply(self, x: Tensor, values: Tensor, plan: Plan, bias: Tensor | None = None, relu: bool = False) -> Tensor:
        """Return W x, where W has the values at the pattern's edges; with a bias and ReLU if they are given.

        Differentiable in x, values and bias any number of times; only gradients that are needed are computed. Under
        autocast it multiplies in the type of the plan's `operands`.

        Args:
            x: shape (in, batch), in any layout.
            values: shape (edges,), in the kernel's order.
            plan: the pattern.
            bias: shape (out,), added to each column.
            relu: whether negative outputs become 0.

        Returns:
            Shape (out, batch).
        """
        return chain(x, [Link(plan, values, bias, relu)])

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether values of this type can be multiplied on this device."""
        return device.type in self.devices and dtype in self.dtypes

    def relative_cost(self, device: torch.device, dtype: torch.dtype) -> float:
        """Return the cost with values of this type over `cost`, which is that in float32."""
        return self.in_bfloat16 if device.type == "cpu" and dtype == torch.bfloat16 else 1

    def require(self, device: torch.device, dtype: torch.dtype) -> None:
        """Refuse what the kernel does not support.

        Raises:
            InvalidSpecError: lists the supported types and devices.
        """
        if not self.supports(device, dtype):
            dtypes = ", ".join(map(_short, self.dtypes))
            raise InvalidSpecError(
                f"kernel {self.name} does not run on {device.type} with {_short(dtype)}: "
                f"it takes {dtypes} on {', '.join(self.devices)}; choose another device, type or kernel"
            )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
