"""Linear layers one after another, y = relu(W x + bias) each, as one step of autograd.

A small layer's products take less time than autograd needs to record and replay a step, so consecutive layers share
one. A layer computes W x and, from a gradient of y, those of x and of the values. All three are linear in each of
their operands, so they are each other's derivatives, and a layer needs no others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

from topokit_train.native import Chain, Pattern, dense_pattern, joint
from topokit_train.operands import autocast_dtype, require_dtype, require_traceable, traced

Gradients: TypeAlias = tuple[Tensor | None, Tensor | None]

KEPT = 2**20
"""Number of activations that are computed at a time without gradients, so that they stay in the cache."""

LEAST_SAMPLES = 128
"""Least number of samples that are computed at a time."""


class Bilinear(ABC):
    """A matrix W that consists of values: W x is linear in both. x has shape (in, batch), y (out, batch).

    Autograd records nothing here, except `product` if `plain`: it then uses torch's differentiable operations alone.
    """

    plain: ClassVar[bool] = False
    for_native: ClassVar[bool] = False  # whether layers of it are worth a call of the native library

    @abstractmethod
    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return W x in new memory, and what the gradients can use again, such as x and the values in another layout.

        Args:
            x: in any layout: a first layer's has the batch first in memory.
            values: in the order and shape of this W.
        """

    @abstractmethod
    def gradient_of_x(self, grad: Tensor, values: Tensor, saved: Sequence[Tensor]) -> Tensor:
        """Return the gradient of x: the transpose of W times the gradient of y.

        Args:
            grad: of y, in any layout.
            values: as in `product`.
            saved: what `product` returned for these operands; empty if it was not called.
        """

    @abstractmethod
    def gradient_of_values(self, grad: Tensor, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
        """Return the gradient of the values: the entries of grad x^T that belong to them. See `gradient_of_x`."""

    def gradients(
        self, grad: Tensor, x: Tensor, values: Tensor, saved: Sequence[Tensor], for_x: bool, for_values: bool
    ) -> Gradients:
        """Return both gradients, None for one that is not needed."""
        return (
            self.gradient_of_x(grad, values, saved) if for_x else None,
            self.gradient_of_values(grad, x, saved) if for_values else None,
        )

    def pattern(self, values: Tensor) -> Pattern | None:  # noqa: ARG002 (others need them)
        """Return the entries by which the native library multiplies; None if it does not."""
        return None

    def operands(self, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return both in the type of autocast, which is on; float64 is left alone."""
        dtype = autocast_dtype(values)
        return x.to(dtype), values.to(dtype)


class Dense(Bilinear):
    """A weight of shape (out, in), dense."""

    plain = True

    def pattern(self, values: Tensor) -> Pattern | None:
        return dense_pattern(1, *values.shape)

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        return values @ x, ()

    def gradient_of_x(self, grad: Tensor, values: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        return values.T @ grad

    def gradient_of_values(self, grad: Tensor, x: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        return grad @ x.T


@dataclass(frozen=True)
class Link:
    """One layer of a chain.

    Args:
        matrix: its products.
        values: of the matrix.
        bias: shape (out,), added to each column; or None.
        relu: whether negative outputs become 0.
    """

    matrix: Bilinear
    values: Tensor
    bias: Tensor | None
    relu: bool


def chain(x: Tensor, links: Sequence[Link]) -> Tensor:
    """Return the output of the last of several layers, each of which reads the one before.

    Differentiable in x, values and biases any number of times; only gradients that are needed are computed. Under
    autocast each layer is its own step, multiplies in the type of its `operands`, and returns autocast's type.

    Args:
        x: shape (in, batch), in any layout.
        links: the layers, at least one.

    Returns:
        Shape (out, batch).

    Raises:
        InvalidSpecError: x has another type than the first layer.
    """
    require_dtype(x, links[0].values.dtype)
    if torch.is_autocast_enabled(x.device.type):
        for link in links:
            x, values = link.matrix.operands(x, link.values)
            x = _joined(x, [replace(link, values=values)]).to(autocast_dtype(link.values))
        return x
    return _joined(x, links)


def chain_rows(x: Tensor, links: Sequence[Link]) -> Tensor:
    """Return what `chain` returns, with the batch first: x has shape (batch, in), the output (batch, out).

    The native library transposes while it reads and writes, which spares autograd two steps.
    """
    if not (torch.is_autocast_enabled(x.device.type) or traced()):
        require_dtype(x, links[0].values.dtype)
        matrices, relu = [link.matrix for link in links], [link.relu for link in links]
        values, biases = [link.values for link in links], [link.bias for link in links]
        if native := joint(matrices, relu, x, values, biases):
            if not torch.is_grad_enabled() and unobserved(x):
                return _inferred(native, x, values, biases)
            form = tuple(zip(matrices, relu, strict=True))
            parameters = (part for pair in zip(values, biases, strict=True) for part in pair)
            y: Tensor = _Rows.apply(form, native, x, *parameters)  # type: ignore[no-untyped-call]
            return y
    return chain(x.T, links).T


def unobserved(x: Tensor) -> bool:
    """Return whether x is an ordinary tensor on a CPU, and nothing records, converts or replaces torch's operations.

    Then numbers that are computed without torch's operations are the same to the caller if gradients are off.
    """
    return (
        not (torch.compiler.is_compiling() or traced() or torch._C._get_tracing_state())
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and forward_ad._current_level < 0  # of derivatives in forward mode, which no_grad does not switch off
        and not (torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack())
    )


def _inferred(native: Chain, x: Tensor, values: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    """The output for x with the batch first, without a record. The activations of a few samples stay in the cache."""
    y = x.new_empty(len(x), native.widths[-1])
    samples = max(LEAST_SAMPLES, KEPT // sum(native.widths))
    parts = [(x, y)] if len(x) <= samples else zip(torch.split(x, samples), torch.split(y, samples), strict=True)
    for part, out in parts:
        native.forward(part.T, values, biases, out.T)
    return y


def _joined(x: Tensor, links: Sequence[Link]) -> Tensor:
    if traced():
        return _plain(x, links)
    form = tuple((link.matrix, link.relu) for link in links)
    y: Tensor = _Chain.apply(form, x, *(part for link in links for part in (link.values, link.bias)))  # type: ignore[no-untyped-call]
    return y


def _plain(x: Tensor, links: Sequence[Link]) -> Tensor:
    """The same as `_Chain`, by torch's own operations."""
    for link in links:
        require_traceable(link.matrix.plain, f"kernel {type(link.matrix).__name__.removesuffix('Plan').lower()}")
        y = link.matrix.product(x, link.values)[0]
        y = y if link.bias is None else y + link.bias[:, None].to(y.dtype)
        x = y.relu() if link.relu else y
    return x


Form: TypeAlias = tuple[tuple[Bilinear, bool], ...]


def _links(form: Form, parameters: Sequence[Any]) -> list[Link]:
    """The layers whose (matrix, relu) are in `form`, and whose values and biases follow each other in `parameters`."""
    pairs = zip(form, parameters[::2], parameters[1::2], strict=True)
    return [Link(matrix, values, bias, relu) for (matrix, relu), values, bias in pairs]


class _Chain(torch.autograd.Function):
    """The last layer's output; the layers are passed as `_links` reads them."""

    @staticmethod
    def forward(ctx: Any, form: Form, x: Tensor, *parameters: Tensor | None) -> Tensor:
        values: Any = parameters[::2]
        biases = parameters[1::2]
        native = joint([matrix for matrix, _ in form], [relu for _, relu in form], x, values, biases)
        ctx.form, ctx.native = form, native
        if native:  # all layers in one call
            y, tiles = native.forward(x, values, biases)
            ctx.sizes = 1, len(parameters), 1
            ctx.save_for_backward(x, *parameters, tiles)
            return y
        nodes, saved = [x], []
        with _as_given(x):
            for link in _links(form, parameters):
                y, own = link.matrix.product(nodes[-1], link.values)
                if link.bias is not None:
                    y.add_(link.bias[:, None])
                nodes.append(y.relu_() if link.relu else y)
                saved.append(own)
        y = nodes[-1]
        if not form[-1][1]:  # without ReLU backward does not need it, and it may be changed in place, as nn.Linear's
            nodes = nodes[:-1]
        ctx.sizes = len(nodes), len(parameters), *map(len, saved)
        ctx.save_for_backward(*nodes, *parameters, *(tensor for own in saved for tensor in own))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        nodes, parameters, *saved = (tensors[a:b] for a, b in pairwise(accumulate(ctx.sizes, initial=0)))
        _, for_x, *wanted = ctx.needs_input_grad
        if ctx.native and not torch.is_grad_enabled():
            return None, *ctx.native.backward(grad, saved[0][0], parameters[::2], parameters[1::2], wanted, for_x)
        compute = _compute
        if torch.is_grad_enabled():  # second derivatives are needed: record what is between the layers too
            nodes = _recorded(nodes[0], ctx.form, parameters)
            saved, compute = [()] * len(ctx.form), _gradients
        return None, *_backward(ctx.form, grad, nodes, parameters, saved, wanted, for_x, compute)


def _recorded(x: Tensor, form: Form, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The input and the outputs of all layers, recorded for autograd."""
    return [*accumulate(_links(form, parameters), lambda x, link: _joined(x, [link]), initial=x)]


def _backward(
    form: Form,
    grad: Tensor,
    nodes: Sequence[Tensor],
    parameters: Sequence[Tensor],
    saved: Sequence[Sequence[Tensor]],
    wanted: Sequence[bool],
    for_x: bool,
    compute: Callable[..., Gradients],
) -> list[Tensor | None]:
    """The gradients of x and of the parameters, None for those that are not wanted.

    Args:
        form: the layers.
        grad: of the last output.
        nodes: the input and the outputs of all layers; the last is needed only if ReLU follows.
        parameters: values and bias of each layer.
        saved: what each product returned for its gradients.
        wanted: whether the gradient of each parameter is.
        for_x: whether that of x is.
        compute: `_compute`, or `_gradients` to record them.
    """
    found: list[Tensor | None] = []
    along: Tensor | None = grad
    for i in reversed(range(len(form))):
        matrix, relu = form[i]
        for_values, for_bias = wanted[2 * i : 2 * i + 2]
        deeper = for_x or any(wanted[: 2 * i])
        assert along is not None
        if relu:
            along = torch.ops.aten.threshold_backward.default(along, nodes[i + 1], 0)
        bias_grad = along.sum(1) if for_bias else None
        along, values_grad = compute(matrix, along, nodes[i], parameters[2 * i], saved[i], deeper, for_values)
        found = [values_grad, bias_grad, *found]
        if not deeper:
            break
    return [along if for_x else None, *[None] * (len(wanted) - len(found)), *found]


class _Rows(torch.autograd.Function):
    """The same with the batch first, by the native library."""

    @staticmethod
    def forward(ctx: Any, form: Form, native: Chain, x: Tensor, *parameters: Tensor | None) -> Tensor:
        ctx.form, ctx.native = form, native
        y = x.new_empty(len(x), native.widths[-1])
        _, tiles = native.forward(x.T, parameters[::2], parameters[1::2], y.T)  # type: ignore[arg-type]
        ctx.save_for_backward(x, *parameters, tiles, y if form[-1][1] else None)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters, tiles, _ = ctx.saved_tensors
        _, _, for_x, *wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():  # second derivatives are needed
            nodes, saved = _recorded(x.T, ctx.form, parameters), [()] * len(ctx.form)
            found = _backward(ctx.form, grad.T, nodes, parameters, saved, wanted, for_x, _gradients)
            return None, None, None if found[0] is None else found[0].T, *found[1:]
        along, *others = ctx.native.backward(grad.T, tiles, parameters[::2], parameters[1::2], wanted, for_x)
        return None, None, None if along is None else along.T, *others


class _Gradients(torch.autograd.Function):
    """The gradients for x and for the values of one matrix."""

    @staticmethod
    def forward(ctx: Any, matrix: Bilinear, grad: Tensor, x: Tensor, values: Tensor, *about: Any) -> Gradients:
        ctx.matrix = matrix
        ctx.save_for_backward(grad, x, values)
        return _compute(matrix, grad, x, values, *about)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor | None, along_values: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, x, values = ctx.saved_tensors
        matrix: Bilinear = ctx.matrix
        products, grad_x, grad_values = [], None, None
        if along_x is not None:
            products.append(_joined(along_x, [Link(matrix, values, None, False)]))
            grad_values = _gradients(matrix, grad, along_x, values, (), False, True)[1]
        if along_values is not None:
            products.append(_joined(x, [Link(matrix, along_values, None, False)]))
            grad_x = _gradients(matrix, grad, x, along_values, (), True, False)[0]
        return None, torch.stack(products).sum(0), grad_x, grad_values, None, None, None


_gradients: Callable[..., Gradients] = _Gradients.apply  # torch leaves apply untyped


def _compute(matrix: Bilinear, grad: Tensor, x: Tensor, values: Tensor, *about: Any) -> Gradients:
    """What `matrix.gradients` returns for the same arguments, without a record for autograd."""
    with _as_given(x):
        return matrix.gradients(grad, x, values, *about)


def _as_given(x: Tensor) -> AbstractContextManager[object]:
    """Inside, autocast changes no types; it is switched off only if it is on, as that takes 10 us."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
