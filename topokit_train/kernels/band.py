"""band: circulant bands of blocks, found by topokit.measures.structure, multiplied as batched dense products.

On a cycle of classes each class of targets reads a run of neighbouring classes of sources, so a tile of several
neighbouring targets reads one slightly longer run. With the nodes put in the cycles' order all these runs are
overlapping views of one array, and a tile is a dense product that holds few zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from topokit.csr import from_edges
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.measures.structure import structure
from topokit_train.kernels._bands import Cycles, band_blocks, band_product, block_values, transposed_blocks
from topokit_train.kernels.base import Kernel, Plan


class BandPlan(Plan):
    """Where the nodes and edges of a layer lie on its cycles. Values have shape (edges,), in the order of their slots.

    There is a slot for each class of targets (cycle after cycle), twin in that class, class of sources it reads, and
    twin in that one. Where classes have different sizes, some slots are empty. 4 bytes an edge beside the values
    (8 where a number passes 2^31), 8 where there are empty slots.

    Raises:
        InvalidSpecError: the layer has no circulant bands.
    """

    position: Tensor  # (edges,): where each canonical edge stands in the kernel's order
    slots: Tensor  # (edges,): each edge's slot, ascending; (0,) where no slot is empty

    def __init__(self, layer: Layer):
        super().__init__()
        found = structure(layer)
        if found.band is None:
            raise InvalidSpecError(
                f"kernel band needs a layer made of circulant bands or blocks; this one's structure is {found}: "
                "choose csr, masked or auto"
            )
        self.band, self.shape, self.edges = found.band, layer.shape, layer.edges
        lag = found.band.radix - 1  # classes of sources that the first class of targets reads from the cycle's end
        self.sources = Cycles(found.sources, layer.shape[0], found.band, lag)
        self.targets = Cycles(found.targets, layer.shape[1], found.band, 0)
        self.tile = _tile(found.band.length, found.band.radix, self.targets.twins, self.sources.twins)
        self.tile_back = _tile(found.band.length, found.band.radix, self.sources.twins, self.targets.twins)
        slots = self._slots_of(layer)
        order = np.argsort(slots)
        position = np.empty_like(order)
        position[order] = np.arange(order.size)
        empty = layer.edges < self.capacity
        index = np.int32 if layer.edges < 2**31 else np.int64
        self.register_buffer("position", torch.from_numpy(position.astype(index)), persistent=False)
        self.register_buffer("slots", torch.from_numpy(slots[order] if empty else slots[:0]), persistent=False)

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.band.stride * self.band.length * self.band.radix * self.sources.twins * self.targets.twins

    def _slots_of(self, layer: Layer) -> np.ndarray[Any, np.dtype[np.intp]]:
        a, b, radix, length = self.sources.twins, self.targets.twins, self.band.radix, self.band.length
        node, twin = np.divmod(self.sources.place.numpy()[layer.sources], a)
        end, end_twin = np.divmod(self.targets.place.numpy()[layer.indices], b)
        read = (node - end + radix - 1) % length
        slots: np.ndarray[Any, np.dtype[np.intp]] = ((end * b + end_twin) * radix + read) * a + twin
        return slots

    def to_canonical(self, values: Tensor) -> Tensor:
        return values.index_select(0, self.position)

    def from_canonical(self, canonical: Tensor) -> Tensor:
        values = torch.empty_like(canonical)
        values[self.position] = canonical
        return values

    def layer(self) -> Layer:
        slots = (self.slots if self.slots.numel() else torch.arange(self.edges)).cpu().numpy().astype(np.intp)
        rest, twin = np.divmod(slots, self.sources.twins)
        rest, read = np.divmod(rest, self.band.radix)
        end, end_twin = np.divmod(rest, self.targets.twins)
        cycle, i = np.divmod(end, self.band.length)
        node = cycle * self.band.length + (i + read - self.band.radix + 1) % self.band.length
        sources = self.sources.node_at(node * self.sources.twins + twin)
        targets = self.targets.node_at(end * self.targets.twins + end_twin)
        return Layer(from_edges(sources, targets, self.shape))

    def weights(self, values: Tensor) -> Tensor:
        """The value of each slot, 0 where it is empty, shape (cycles, length, target twins, radix, source twins)."""
        if self.slots.numel():
            values = values.new_zeros(self.capacity).index_copy_(0, self.slots, values)
        return values.view(self.band.stride, self.band.length, self.targets.twins, self.band.radix, self.sources.twins)


def _tile(length: int, radix: int, rows: int, columns: int) -> int:
    """How many neighbouring classes to compute in one product: a divisor of the cycle's length. O(length).

    A tile of t holds (t + radix - 1) / radix times the numbers needed; one too small does not use the machine.
    """
    return next(t for t in range(1, length + 1) if length % t == 0 and (t == length or t * rows >= 8))


def multiply(x: Tensor, values: Tensor, plan: BandPlan) -> Tensor:
    """W x by batched dense products, O(edges * batch) time forward and backward.

    A nan or inf in x reaches all outputs that it is connected to, and may reach others of the same tiles. The
    gradient for x is only computed where it is asked for. Under autocast it multiplies in autocast's type.

    Args:
        x: shape (in, batch); copied if not contiguous.
        values: shape (edges,), in the order of their slots.
        plan: the pattern.

    Returns:
        y, shape (out, batch).
    """
    if torch.is_autocast_enabled(x.device.type) and values.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        x, values = x.to(dtype), values.to(dtype)
    return _product(x.contiguous(), values, plan)


class _Product(torch.autograd.Function):
    """W x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, plan: BandPlan) -> Tensor:
        runs = plan.sources.extended(x)
        blocks = band_blocks(plan.weights(values), plan.tile)
        ctx.plan = plan
        ctx.save_for_backward(x, values, runs if ctx.needs_input_grad[1] else None)
        return plan.targets.collected(band_product(blocks, runs, plan.tile * plan.sources.twins))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        return *_gradients(grad.contiguous(), *ctx.saved_tensors, ctx.plan, *ctx.needs_input_grad[:2]), None


class _Gradients(torch.autograd.Function):
    """The gradients for x and for values that belong to `grad`, together, as both read it in the same layout."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, values: Tensor, runs: Tensor | None, plan: BandPlan, for_x: bool, for_values: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.plan = plan
        ctx.save_for_backward(grad, x, values)
        grads = plan.targets.extended(grad)
        grad_x = grad_values = None
        if for_x:
            blocks = transposed_blocks(plan.weights(values), plan.tile_back).transpose(2, 3)
            grad_x = plan.sources.collected(band_product(blocks, grads, plan.tile_back * plan.targets.twins))
        if for_values:
            runs = plan.sources.extended(x) if runs is None else runs
            every = block_values(grads, runs, plan.tile, plan.targets.twins, plan.sources.twins, plan.band)
            grad_values = every.index_select(0, plan.slots) if plan.slots.numel() else every
        return grad_x, grad_values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, x, values = ctx.saved_tensors
        for_x, for_values = grads
        parts = [_product(u, w, ctx.plan) for u, w in ((for_x, values), (x, for_values)) if u is not None and w is not None]
        grad_x = None if for_values is None else _gradients(grad, x, for_values, None, ctx.plan, True, False)[0]
        grad_values = None if for_x is None else _gradients(grad, for_x, values, None, ctx.plan, False, True)[1]
        return sum(parts), grad_x, grad_values, None, None, None, None


# torch leaves apply untyped
_product: Callable[[Tensor, Tensor, BandPlan], Tensor] = _Product.apply
_gradients: Callable[..., tuple[Tensor | None, Tensor | None]] = _Gradients.apply

KERNEL = Kernel(
    "band", BandPlan, multiply, devices=("cpu", "cuda"), dtypes=(torch.float32, torch.float64, torch.bfloat16)
)
