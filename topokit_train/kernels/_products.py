"""The derivatives that kernels of one number per edge share: three products that are each other's derivatives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from topokit_train.kernels.base import EdgePlan


class ProductPlan(EdgePlan):
    """A plan that says how to compute W x, the product with W's transpose, and the gradient of the values.

    Values have shape (edges,), x (in, batch), y (out, batch), all contiguous; none is recorded by autograd.
    """

    @abstractmethod
    def times(self, x: Tensor, values: Tensor) -> Tensor:
        """W x, shape (out, batch)."""

    @abstractmethod
    def transposed_times(self, y: Tensor, values: Tensor) -> Tensor:
        """The product of W's transpose and y, shape (in, batch)."""

    @abstractmethod
    def sampled(self, y: Tensor, x: Tensor) -> Tensor:
        """The entries of y x^T at the edges, shape (edges,), in the kernel's order."""


class _Product(torch.autograd.Function):
    """W x, or the product of W's transpose and x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, plan: ProductPlan, transposed: bool) -> Tensor:
        ctx.plan, ctx.transposed = plan, transposed
        ctx.save_for_backward(x, values)
        with torch.autocast(x.device.type, enabled=False):
            return (plan.transposed_times if transposed else plan.times)(x.detach().contiguous(), values.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, values = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = _product(grad, values, ctx.plan, not ctx.transposed)
        if ctx.needs_input_grad[1]:
            grad_values = _sampled(x, grad, ctx.plan) if ctx.transposed else _sampled(grad, x, ctx.plan)
        return grad_x, grad_values, None, None


class _Sampled(torch.autograd.Function):
    """The entries of y x^T at the edges, which is the gradient of the values."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, plan: ProductPlan) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(y, x)
        with torch.autocast(x.device.type, enabled=False):
            return plan.sampled(y.detach().contiguous(), x.detach().contiguous())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, x = ctx.saved_tensors
        grad_y = _product(x, grad, ctx.plan, False) if ctx.needs_input_grad[0] else None
        grad_x = _product(y, grad, ctx.plan, True) if ctx.needs_input_grad[1] else None
        return grad_y, grad_x, None


# torch leaves apply untyped
_product: Callable[[Tensor, Tensor, ProductPlan, bool], Tensor] = _Product.apply
_sampled: Callable[[Tensor, Tensor, ProductPlan], Tensor] = _Sampled.apply


def product(x: Tensor, values: Tensor, plan: ProductPlan) -> Tensor:
    """W x, differentiable any number of times; a gradient is only computed where it is asked for.

    Args:
        x: shape (in, batch); copied if not contiguous.
        values: shape (edges,), in the kernel's order.
        plan: the pattern.

    Returns:
        Shape (out, batch).
    """
    return _product(x, values, plan, False)
