"""Kernel and Plan: what every way of multiplying by a sparse pattern has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.measures.structure import Structure


class Plan(nn.Module, ABC):
    """One pattern as a kernel wants it: index tensors, and the way between the kernel's order and the canonical one.

    The canonical order is the same for all kernels: one number per edge, sorted by source, then target.

    It is a module whose tensors are buffers left out of the state_dict, so that it moves, is copied and is
    pickled with the layer that holds it. It may be moved after it is made, so it depends on neither device nor type.
    """

    @abstractmethod
    def to_canonical(self, values: Tensor) -> Tensor:
        """The values in canonical order, shape (edges,); `values` has the kernel's order and shape. O(its size)."""

    @abstractmethod
    def from_canonical(self, canonical: Tensor) -> Tensor:
        """The values in the kernel's order and shape; `canonical` has shape (edges,). O(the result's size)."""

    @abstractmethod
    def layer(self) -> Layer:
        """The edges, copied. O(its size)."""


class EdgePlan(Plan):
    """A plan whose values have shape (edges,), in an order of the kernel's own.

    A subclass calls `number` once it knows the order. 4 bytes an edge beside the values (8 from 2^31 edges).
    """

    edges: int
    position: Tensor  # (edges,): where each canonical edge stands in the kernel's order

    def number(self, order: NDArray[np.intp]) -> None:
        """Take the kernel's order: shape (edges,), the canonical number of each edge in it."""
        self.edges = order.size
        position = np.empty(order.size, np.int32 if order.size < 2**31 else np.int64)
        position[order] = np.arange(order.size)
        hold(self, position=position)

    def to_canonical(self, values: Tensor) -> Tensor:
        return values.index_select(0, self.position)

    def from_canonical(self, canonical: Tensor) -> Tensor:
        values = torch.empty_like(canonical)
        values[self.position] = canonical
        return values


def hold(module: nn.Module, **arrays: NDArray[Any]) -> None:
    """Give a module arrays as buffers that its state_dict leaves out."""
    for name, array in arrays.items():
        module.register_buffer(name, torch.from_numpy(array), persistent=False)


def in_autocast_type(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type that autocast asks for; as they are where it is off, or the values are float64."""
    if torch.is_autocast_enabled(x.device.type) and values.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        return x.to(dtype), values.to(dtype)
    return x, values


P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class Kernel(Generic[P]):
    """A way of multiplying by a fixed sparse pattern: two pure functions, and where they run.

    Args:
        name: its name in KERNELS.
        prepare: (layer) -> plan, on the CPU; done once for a pattern.
        multiply: (x, values, plan) -> y = W x, where W has the values at the pattern's edges. Features first:
            x has shape (in, batch), y (out, batch). Differentiable in x and in values.
        devices: the device types it runs on.
        dtypes: the types of values it knows.
        cost: (layer, its structure, device type) -> what a training step at batch 128 costs, in units of what
            `masked` takes for an entry of the dense weight; infinite if it cannot multiply by this layer.
    """

    name: str
    prepare: Callable[[Layer], P]
    multiply: Callable[[Tensor, Tensor, P], Tensor]
    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    cost: Callable[[Layer, Structure, str], float]

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether values of this type can be multiplied on this device."""
        return device.type in self.devices and dtype in self.dtypes

    def require(self, device: torch.device, dtype: torch.dtype) -> None:
        """Refuse what the kernel does not support.

        Raises:
            InvalidSpecError: names what it supports.
        """
        if not self.supports(device, dtype):
            dtypes = ", ".join(map(_short, self.dtypes))
            raise InvalidSpecError(
                f"kernel {self.name} does not run on {device.type} with {_short(dtype)}: "
                f"it takes {dtypes} on {', '.join(self.devices)}; choose another device, type or kernel"
            )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
