"""Convolutions by kernels: `masked` by torch, the others as products with the patches that a filter covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

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

STRIP = 2**20
"""Numbers of patches that are copied at a time, 4 MiB. Measured from 2^17 to 2^21."""

TIMED = 32
"""Number of images that a step is timed with."""

# (cost of a product over one at batch 128, microseconds per source whose patches are copied). cpu: measured on five
# convolutions of 20 to 256 channels at densities .01 to .2, float32; others: a guess, not measured
_COST = {"cpu": (3, 0.86), "cuda": (3, 0.019)}


@dataclass(frozen=True)
class Convolution:
    """How images are convolved: `masked` by torch, with a masked weight; the other kernels multiply by patches.

    Args:
        channels: of the images.
        size: rows and columns of a filter.
        stride: distances between the places of the filter, down and across.
        dilation: distances between the pixels of the filter.
        margins: pixels to add left, right, above and below.
        padding_mode: what is added, as in nn.Conv2d.
        groups: as in nn.Conv2d.
    """

    channels: int
    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    margins: tuple[int, int, int, int]
    padding_mode: str
    groups: int = 1

    @property
    def reach(self) -> int:
        """Number of sources of an output in the dense convolution, those of its group's channels."""
        return self.channels // self.groups * prod(self.size)

    def pattern(self, kernel: Kernel, layer: Layer) -> Layer:
        """Return the edges that a kernel multiplies by, of a layer by weight whose sources are those of all channels.

        `masked` has a dense weight only of what a group reads: there sources are counted from the group's first.
        """
        if self.groups == 1 or kernel.name != "masked":
            return layer
        return Layer(from_edges(layer.sources % self.reach, layer.targets, (self.reach, layer.shape[1])))

    @property
    def case(self) -> str:
        """See `Product`."""
        size, stride, dilation = ("x".join(map(str, pair)) for pair in (self.size, self.stride, self.dilation))
        groups = f", groups {self.groups}" if self.groups > 1 else ""
        return f" of a {size} convolution, stride {stride}, dilation {dilation}{groups}, of {TIMED} images"

    def cost(self, kernel: Kernel, layer: Layer, found: Structure, device: str) -> float:
        """See `Product`; that of `masked` is that of its dense product."""
        cost = kernel.cost(self.pattern(kernel, layer), found, device, BATCH)
        times, per_source = _COST.get(device, _COST["cuda"])
        return cost if kernel.name == "masked" else times * cost + per_source * layer.shape[0]

    def input_shape(self, _layer: Layer) -> tuple[int, ...]:
        """See `Product`: images that have 16 x 16 places of the filter before padding."""
        sizes = zip(self.size, self.stride, self.dilation, strict=True)
        return TIMED, self.channels, *(gap * (size - 1) + 15 * step + 1 for size, step, gap in sizes)

    def __call__(self, images: Tensor, values: Tensor, bias: Tensor | None, kernel: Kernel, plan: Plan) -> Tensor:
        """Convolve images, shape (batch, channels, rows, columns), by a kernel's values, and add the bias."""
        require_dtype(images, values.dtype)
        device = images.device.type
        if not torch.is_autocast_enabled(device):
            return self._convolved(images, values, bias, kernel, plan)
        dtype = autocast_dtype(values)
        images, values = plan.operands(images, values)
        with torch.autocast(device, enabled=False):  # else the gradients' products would have other types
            y = self._convolved(images, values, bias if bias is None else bias.to(values.dtype), kernel, plan)
        return y.to(dtype)

    def _convolved(self, images: Tensor, values: Tensor, bias: Tensor | None, kernel: Kernel, plan: Plan) -> Tensor:
        if not isinstance(plan, MaskedPlan):
            y = self._by_patches(images, values, kernel, plan)
            return (y if bias is None else y + bias[:, None, None, None]).permute(3, 0, 1, 2)
        weight = plan.weight(values).view(-1, self.channels // self.groups, *self.size)
        padding = (self.margins[2], self.margins[0])
        if self.padding_mode != "zeros" or self.margins[::2] != self.margins[1::2]:
            images, padding = self._padded(images), (0, 0)
        self.places(images.shape[2] + 2 * padding[0], images.shape[3] + 2 * padding[1])
        return conv2d(images, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _padded(self, images: Tensor) -> Tensor:
        if not any(self.margins):
            return images
        return pad(images, self.margins, "constant" if self.padding_mode == "zeros" else self.padding_mode)

    def _by_patches(self, images: Tensor, values: Tensor, kernel: Kernel, plan: Plan) -> Tensor:
        """The convolution as products with patches, shape (out, rows, columns, batch)."""
        apply: Callable[..., Tensor] = _ByPatches.apply
        if traced():
            require_traceable(False, "a convolution by patches")
        elif torch.compiler.is_compiling():  # it cannot follow a gradient that takes gradients
            apply = torch.compiler.disable(apply)  # type: ignore[no-untyped-call]
        # the batch is last, so that runs of memory are long whatever the size of an image
        x = self._padded(images).permute(1, 2, 3, 0).contiguous()
        return apply(x, values, self, lambda x, values: kernel.multiply(x, values, plan))

    def places(self, rows: int, columns: int) -> tuple[int, int]:
        """Return how many places the filter has in an image, padding included, down and across.

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

    def patches(self, x: Tensor) -> Tensor:
        """Return the pixels that the filter covers at each of its places, as a view.

        Args:
            x: shape (channels, rows, columns, batch), padded.

        Returns:
            Shape (channels, filter's rows, filter's columns, rows of places, columns of places, batch).
        """
        channel, row, column, image = x.stride()
        (down, right), (gap, across) = self.stride, self.dilation
        shape = (x.shape[0], *self.size, *self.places(x.shape[1], x.shape[2]), x.shape[3])
        return x.as_strided(shape, (channel, gap * row, across * column, down * row, right * column, image))


class _ByPatches(torch.autograd.Function):
    """Products with patches, a strip of them at a time.

    Patches take as many times the images' memory as a filter has pixels, and fresh memory costs more than filling it.
    So a strip is copied, used and dropped, and copied again for the gradients, together with its product.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, convolution: Convolution, multiply: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        ctx.convolution, ctx.multiply = convolution, multiply
        ctx.save_for_backward(x, values)
        strips = _strips(convolution.patches(x))
        products = [multiply(_columns(one), values) for one in strips]
        return torch.cat([y.view(len(y), *one.shape[3:]) for y, one in zip(products, strips, strict=True)], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, values = ctx.saved_tensors
        grad_x, grad_values = (
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip((x, values), ctx.needs_input_grad[:2], strict=True)
        )
        strips = _strips(ctx.convolution.patches(x))
        sums = strips if grad_x is None else _strips(ctx.convolution.patches(grad_x))
        grads = torch.split(grad, [one.shape[3] for one in strips], 1)
        for strip, sum_of, part in zip(strips, sums, grads, strict=True):
            columns = _columns(strip).requires_grad_(grad_x is not None)
            leaf = values.detach().requires_grad_(grad_values is not None)
            with torch.enable_grad():
                y = ctx.multiply(columns, leaf)
            y.backward(part.reshape(y.shape))
            if columns.grad is not None:
                gradient = columns.grad.view(strip.shape)
                for i, j in product(*map(range, ctx.convolution.size)):  # the patches overlap
                    sum_of[:, i, j].add_(gradient[:, i, j])
            if grad_values is not None:
                grad_values += leaf.grad
        return grad_x, grad_values, None, None


def _strips(patches: Tensor) -> Sequence[Tensor]:
    """Patches in parts of about STRIP numbers, of whole rows of places."""
    return torch.split(patches, max(1, STRIP // max(1, patches[:, :, :, 0].numel())), 3)


def _columns(strip: Tensor) -> Tensor:
    """A copy of patches as a kernel multiplies them: shape (channels * filter's pixels, places * batch)."""
    return strip.flatten(3).flatten(0, 2)
