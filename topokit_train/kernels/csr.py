"""csr: one number per edge, multiplied as a matrix in compressed sparse rows (CSR)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from topokit.csr import Storage
from topokit.layered import Layer
from topokit_train.kernels.base import Kernel, Plan

with warnings.catch_warnings():
    # torch says once a process that CSR is in beta, which no user can act on: let it say so here, unheard
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
    torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)


class CsrPlan(Plan):
    """W in compressed rows, and its transpose. Values have shape (edges,), sorted by target, then source.

    The compressed rows of the transpose are the topology's own arrays, so its values are the canonical ones.
    12 bytes an edge (24 where a number passes 2^31) beside the values.
    """

    starts: Tensor  # (out + 1,): the edges into target v are number starts[v] to starts[v + 1] - 1
    sources: Tensor  # (edges,)
    transposed_starts: Tensor  # (in + 1,)
    targets: Tensor  # (edges,)
    position: Tensor  # (edges,): where each canonical edge stands in the kernel's order

    def __init__(self, layer: Layer):
        super().__init__()
        self.shape = (layer.shape[1], layer.shape[0])
        self.edges = layer.edges
        transposed = layer.to_scipy()
        transposed.data = np.arange(layer.edges, dtype=transposed.indices.dtype)
        weight = transposed.tocsc()
        position = np.empty_like(weight.data)
        position[weight.data] = transposed.data
        for name, array in (
            ("starts", weight.indptr),
            ("sources", weight.indices),
            ("transposed_starts", transposed.indptr),
            ("targets", transposed.indices),
            ("position", position),
        ):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def to_canonical(self, values: Tensor) -> Tensor:
        return values.index_select(0, self.position)

    def from_canonical(self, canonical: Tensor) -> Tensor:
        values = torch.empty_like(canonical)
        values[self.position] = canonical
        return values

    def layer(self) -> Layer:
        starts, targets = (tensor.cpu().numpy().astype(np.uint64) for tensor in (self.transposed_starts, self.targets))
        return Layer(Storage(starts, targets, self.shape[::-1]))

    def weight(self, values: Tensor) -> Tensor:
        """W as a sparse tensor over the same memory, shape (out, in). O(1)."""
        return _matrix(self.starts, self.sources, values, self.shape)

    def transpose(self, values: Tensor) -> Tensor:
        """W's transpose as a sparse tensor, shape (in, out). O(edges)."""
        return _matrix(self.transposed_starts, self.targets, self.to_canonical(values), self.shape[::-1])


def _matrix(starts: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(starts, indices, values, shape, check_invariants=False)


def multiply(x: Tensor, values: Tensor, plan: CsrPlan) -> Tensor:
    """The sparse product W x. O(edges * batch) time, forward and backward; nothing of size in * out is made.

    A nan in x reaches the outputs that it is connected to, and no others. Under autocast the values' type is
    kept, as torch has no sparse product in half precision.

    Args:
        x: shape (in, batch); copied if not contiguous.
        values: shape (edges,), sorted by target, then source.
        plan: the pattern.

    Returns:
        y, shape (out, batch).
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(values.dtype)
    return _product(x.contiguous(), values, plan, False)


class _Product(torch.autograd.Function):
    """W x, or the product of W's transpose and x. Written out because torch's own gradient of W is dense."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, plan: CsrPlan, transposed: bool) -> Tensor:
        ctx.plan, ctx.transposed = plan, transposed
        ctx.save_for_backward(x, values)
        with torch.autocast(x.device.type, enabled=False):
            return (plan.transpose(values) if transposed else plan.weight(values)) @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, values = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:  # the stored transpose is several times faster than W.t() @ grad
            grad_x = _product(grad, values, ctx.plan, not ctx.transposed)
        if ctx.needs_input_grad[1]:
            grad_values = _sampled(x, grad, ctx.plan) if ctx.transposed else _sampled(grad, x, ctx.plan)
        return grad_x, grad_values, None, None


class _Sampled(torch.autograd.Function):
    """The entries of y x^T at the edges, which is the gradient of the values; y has shape (out, batch)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, plan: CsrPlan) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(y, x)
        pattern = plan.weight(y.new_zeros(plan.edges))  # zeros, not the values: even with beta=0 a nan would spread
        product: Tensor = torch.sparse.sampled_addmm(pattern, y, x.T, beta=0)
        return product.values()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, x = ctx.saved_tensors
        grad_y = _product(x, grad, ctx.plan, False) if ctx.needs_input_grad[0] else None
        grad_x = _product(y, grad, ctx.plan, True) if ctx.needs_input_grad[1] else None
        return grad_y, grad_x, None


# torch leaves apply untyped
_product: Callable[[Tensor, Tensor, CsrPlan, bool], Tensor] = _Product.apply
_sampled: Callable[[Tensor, Tensor, CsrPlan], Tensor] = _Sampled.apply

# (per edge, for a step of any size). cpu: measured on 2 cores, 64x64 to 3000x3000. cuda: a careful guess, not measured
_COST = {"cpu": (4, 16_500), "cuda": (50, 1_000_000)}


def cost(layer: Layer, device: str) -> float:
    """See `Kernel`. O(1)."""
    per_edge, fixed = _COST[device]
    return per_edge * layer.edges + fixed


KERNEL = Kernel("csr", CsrPlan, multiply, ("cpu", "cuda"), (torch.float32, torch.float64), cost)
