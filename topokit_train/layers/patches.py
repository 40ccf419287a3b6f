"""Convolutions by kernels: `masked` by torch, the others as products with the patches that a filter looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad

from topokit.edges import from_edges
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.kernels.base import BATCH, Kernel, Plan
from topokit_train.kernels.masked import MaskedPlan
from topokit_train.operands import autocast_dtype, require_dtype, require_traceable, traced

Multiply = Callable[[Tensor, Tensor], Tensor]
"""(patches, values) -> W patches, of shapes (features, columns) and (out, columns); differentiable in both."""

HELD = 2**20
"""Numbers of patches that are made at a time, 4 MiB. Measured from 2^17 to 2^21."""


TIMED = 32
"""Images that a step is timed on."""

# (what a product costs over one at batch 128, microseconds per source whose patches are made). cpu: measured on five
# convolutions of 20 to 256 channels at densities .01 to .2, float32; others: a guess, not measured
_COST = {"cpu": (3, 0.86), "cuda": (3, 0.019)}


class Window(NamedTuple):
    """What a convolution looks at, as (rows, columns) each.

    Args:
        size: of a filter.
        stride: how far it is moved.
        dilation: how far apart its pixels are.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    def places(self, rows: int, columns: int) -> tuple[int, int]:
        """How many places it has in an image, padding included.

        Raises:
            InvalidSpecError: none, as the image is too small.
        """
        reach = [gap * (size - 1) + 1 for size, gap in zip(self.size, self.dilation, strict=True)]
        if rows < reach[0] or columns < reach[1]:
            raise InvalidSpecError(
                f"a filter that reaches over {reach[0]} x {reach[1]} pixels has no place in an image of "
                f"{rows} x {columns}, padding included"
            )
        return (rows - reach[0]) // self.stride[0] + 1, (columns - reach[1]) // self.stride[1] + 1

    def strips(self, x: Tensor) -> Iterator[tuple[int, int]]:
        """The rows of places, first and behind the last, that are worked on at a time."""
        rows, columns = self.places(x.shape[1], x.shape[2])
        row = x.shape[0] * self.size[0] * self.size[1] * columns * x.shape[3]  # numbers
        yield from pairwise([*range(0, rows, max(1, HELD // max(row, 1))), rows])

    def seen(self, x: Tensor, low: int, high: int) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """For each pixel of the filter, (row, column) and what it sees of x from rows of places, as a view."""
        _, columns = self.places(x.shape[1], x.shape[2])
        (down, right), (gap, across) = self.stride, self.dilation
        for i, j in product(range(self.size[0]), range(self.size[1])):
            rows = slice(i * gap + low * down, i * gap + (high - 1) * down + 1, down)
            yield (i, j), x[:, rows, j * across : j * across + (columns - 1) * right + 1 : right]

    def patches(self, x: Tensor, low: int, high: int) -> Tensor:
        """What it sees from rows of places, copied: shape (channels * filter's pixels, places * batch)."""
        _, columns = self.places(x.shape[1], x.shape[2])
        made = x.new_empty(x.shape[0], *self.size, high - low, columns, x.shape[3])
        for (i, j), seen in self.seen(x, low, high):
            made[:, i, j] = seen
        return made.flatten(3).flatten(0, 2)

    def add(self, patches: Tensor, x: Tensor, low: int, high: int) -> None:
        """Add patches to x where they were taken from."""
        _, columns = self.places(x.shape[1], x.shape[2])
        whole = patches.view(x.shape[0], *self.size, high - low, columns, x.shape[3])
        for (i, j), seen in self.seen(x, low, high):
            seen.add_(whole[:, i, j])


def convolve(x: Tensor, values: Tensor, window: Window, multiply: Multiply) -> Tensor:
    """The convolution of images, as products with their patches, a strip of them at a time.

    Patches take as many times the images' memory as a filter has pixels, and fresh memory costs more than filling it.
    So a strip is made, used and forgotten, and made again for the gradients, together with its product.

    Args:
        x: shape (channels, rows, columns, batch), padded. The batch stands last, so that runs of memory are long
            whatever the size of an image.
        values: what `multiply` multiplies by.
        window: what is looked at.
        multiply: a kernel's product with a plan.

    Returns:
        Shape (out, places' rows, places' columns, batch).
    """
    if traced():
        require_traceable(False, "a convolution by patches")
    elif torch.compiler.is_compiling():  # it cannot follow a gradient that takes gradients: leave it out of the graph
        uncompiled: Callable[..., Tensor] = torch.compiler.disable(_convolved)  # type: ignore[no-untyped-call]
        return uncompiled(x, values, window, multiply)
    return _convolved(x, values, window, multiply)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, window: Window, multiply: Multiply) -> Tensor:
        ctx.window, ctx.multiply = window, multiply
        ctx.save_for_backward(x, values)
        _, columns = window.places(x.shape[1], x.shape[2])
        parts = []
        for low, high in window.strips(x):
            part = multiply(window.patches(x, low, high), values)
            parts.append(part.view(part.shape[0], high - low, columns, x.shape[3]))
        return torch.cat(parts, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, values = ctx.saved_tensors
        grad_x, grad_values = (
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip((x, values), ctx.needs_input_grad[:2], strict=True)
        )
        for low, high in ctx.window.strips(x):
            patches = ctx.window.patches(x, low, high).requires_grad_(grad_x is not None)
            leaf = values.detach().requires_grad_(grad_values is not None)
            with torch.enable_grad():
                part = ctx.multiply(patches, leaf)
            part.backward(grad[:, low:high].reshape(part.shape))
            if grad_x is not None:
                ctx.window.add(patches.grad, grad_x, low, high)
            if grad_values is not None:
                grad_values += leaf.grad
        return grad_x, grad_values, None, None


_convolved: Callable[[Tensor, Tensor, Window, Multiply], Tensor] = _Convolved.apply  # torch leaves apply untyped


@dataclass(frozen=True)
class Convolution:
    """How images are convolved: `masked` by torch, with a masked weight; the other kernels multiply by patches.

    Args:
        channels: of the images.
        window: what is looked at.
        margins: pixels to add left, right, above and below.
        padding_mode: what is added, as nn.Conv2d has it.
        groups: as nn.Conv2d has them.
    """

    channels: int
    window: Window
    margins: tuple[int, int, int, int]
    padding_mode: str
    groups: int = 1

    @property
    def reach(self) -> int:
        """How many sources an output has in the dense convolution, those of its group's channels."""
        return self.channels // self.groups * prod(self.window.size)

    def pattern(self, kernel: Kernel[Any], layer: Layer) -> Layer:
        """The edges that a kernel multiplies by, of a layer by weight whose sources are those of all channels.

        `masked` has a dense weight only of what a group reads: there sources are counted from the group's first.
        """
        if self.groups == 1 or kernel.name != "masked":
            return layer
        return Layer(from_edges(layer.sources % self.reach, layer.targets, (self.reach, layer.shape[1])))

    @property
    def case(self) -> str:
        """See `Work`."""
        size, stride, dilation = ("x".join(map(str, pair)) for pair in self.window)
        groups = f", groups {self.groups}" if self.groups > 1 else ""
        return f" of a {size} convolution, stride {stride}, dilation {dilation}{groups}, of {TIMED} images"

    def cost(self, kernel: Kernel[Any], layer: Layer, found: Structure, device: str) -> float:
        """See `Work`; that of `masked` is that of its dense product."""
        cost = kernel.cost(self.pattern(kernel, layer), found, device, BATCH)
        times, per_source = _COST.get(device, _COST["cuda"])
        return cost if kernel.name == "masked" else times * cost + per_source * layer.shape[0]

    def step(self, kernel: Kernel[Any], layer: Layer, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
        """See `Work`: on images that the window has 16 x 16 places in."""
        plan = kernel.prepare(self.pattern(kernel, layer)).to(device)
        values = plan.from_canonical(torch.randn(layer.edges, device=device).to(dtype)).requires_grad_()
        rows, columns = (
            gap * (size - 1) + 15 * step + 1 - margin
            for size, step, gap, margin in zip(
                *self.window, (sum(self.margins[2:]), sum(self.margins[:2])), strict=True
            )
        )
        images = torch.randn(TIMED, self.channels, max(rows, 1), max(columns, 1), device=device).to(dtype)
        images.requires_grad_()
        shape = self(images, values, None, kernel, plan).shape
        grad = torch.randn(shape, device=device).to(dtype)
        return lambda: torch.autograd.grad(self(images, values, None, kernel, plan), (images, values), grad)

    def __call__(self, images: Tensor, values: Tensor, bias: Tensor | None, kernel: Kernel[Any], plan: Plan) -> Tensor:
        """The convolution of images, shape (batch, channels, rows, columns), by a kernel's values, plus the bias."""
        require_dtype(images, values.dtype)
        device = images.device.type
        if not torch.is_autocast_enabled(device):
            return self._convolved(images, values, bias, kernel, plan)
        dtype = autocast_dtype(values)
        images, values = plan.operands(images, values)
        with torch.autocast(device, enabled=False):  # else the gradients' products would have other types
            y = self._convolved(images, values, bias if bias is None else bias.to(values.dtype), kernel, plan)
        return y.to(dtype)

    def _convolved(
        self, images: Tensor, values: Tensor, bias: Tensor | None, kernel: Kernel[Any], plan: Plan
    ) -> Tensor:
        if not isinstance(plan, MaskedPlan):
            x = self._padded(images).permute(1, 2, 3, 0).contiguous()
            y = convolve(x, values, self.window, lambda x, values: kernel.multiply(x, values, plan))
            return (y if bias is None else y + bias[:, None, None, None]).permute(3, 0, 1, 2)
        weight = plan.weight(values).view(-1, self.channels // self.groups, *self.window.size)
        padding = (self.margins[2], self.margins[0])
        if self.padding_mode != "zeros" or self.margins[::2] != self.margins[1::2]:
            images, padding = self._padded(images), (0, 0)
        self.window.places(images.shape[2] + 2 * padding[0], images.shape[3] + 2 * padding[1])
        return conv2d(images, weight, bias, self.window.stride, padding, self.window.dilation, self.groups)

    def _padded(self, images: Tensor) -> Tensor:
        if not any(self.margins):
            return images
        return pad(images, self.margins, "constant" if self.padding_mode == "zeros" else self.padding_mode)
