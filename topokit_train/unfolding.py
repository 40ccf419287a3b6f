"""unfold: the patches that a convolution looks at, features first, as kernels want them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from topokit.errors import InvalidSpecError


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

    def seen(self, x: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """For each pixel of the filter, (row, column) and what it sees of x from all places, as a view.

        Args:
            x: shape (channels, rows, columns, batch).
        """
        places = self.places(x.shape[1], x.shape[2])
        for pixel in product(range(self.size[0]), range(self.size[1])):
            row, column = (
                slice(k * gap, k * gap + (count - 1) * step + 1, step)
                for k, gap, count, step in zip(pixel, self.dilation, places, self.stride, strict=True)
            )
            yield pixel, x[:, row, column]


def unfold(x: Tensor, window: Window) -> Tensor:
    """The patches of images: as torch.nn.functional.unfold, but features first and the images last.

    Pixels of one place stand together for all images, so that runs of memory are long whatever the size of an image.

    Args:
        x: shape (channels, rows, columns, batch), padded.
        window: what is looked at.

    Returns:
        Shape (channels, filter's rows, filter's columns, places' rows, places' columns, batch).
    """
    return _unfolded(x, window)


class _Unfolded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        ctx.window, ctx.shape = window, x.shape
        places = window.places(x.shape[1], x.shape[2])
        patches = x.new_empty(x.shape[0], *window.size, *places, x.shape[3])
        for (row, column), seen in window.seen(x):
            patches[:, row, column] = seen
        return patches

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _folded(grad, ctx.window, ctx.shape), None


class _Folded(torch.autograd.Function):
    """The transpose of unfold: each patch added where it was taken."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, window: Window, shape: torch.Size) -> Tensor:
        ctx.window = window
        x = patches.new_zeros(shape)
        for (row, column), seen in window.seen(x):
            seen.add_(patches[:, row, column])
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _unfolded(grad, ctx.window), None, None


# torch leaves apply untyped
_unfolded: Callable[[Tensor, Window], Tensor] = _Unfolded.apply
_folded: Callable[[Tensor, Window, torch.Size], Tensor] = _Folded.apply
