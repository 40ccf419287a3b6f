"""SparseConv2d: a convolution with a given wiring, of whole filters or of single weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from topokit.edges import from_edges
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit_train.layers.choice import choose
from topokit_train.layers.patches import Convolution, Window
from topokit_train.layers.sparse import SparseModule

Pair = int | Sequence[int]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class SparseConv2d(SparseModule):
    """A convolution whose only connections are the edges of one topology layer, used as nn.Conv2d is.

    The layer is read in one of two ways, told apart by its sources. By channel, in_channels to out_channels: each
    edge is a whole filter. By weight, in_channels * rows * columns to out_channels: each edge is one number, and the
    sources are in the order of torch's `weight.reshape(out_channels, -1)`: channel, then row, then column. In
    canonical order the values of a layer by channel are those of the first edge row by row, then the second's, ...

    `masked` is a dense convolution by a masked weight. The other kernels multiply by all patches of the images, which
    takes memory for rows * columns numbers for each number of the input. They win where few weights are left. Second
    derivatives there are with `masked` only. Of torch.func and torch.onnx.export, see SparseLinear.

    Args:
        layer: the edges.
        in_channels: of the images.
        kernel_size: a filter's rows and columns, or one number for both.
        stride, padding, dilation, padding_mode: as nn.Conv2d has them.
        bias: whether to add a bias to each output channel.
        kernel: a name in KERNELS, "auto" or "tuned", see `topokit_train.layers.choice.choose`; the attribute
            `choice` says what was taken, and why.
        device: where it lives.
        dtype: its type, torch's default where left out.
        generator: draws the initial values; a CPU generator, torch's global one where left out.

    Raises:
        InvalidSpecError: the layer is of neither way; no such kernel, or it does not run on this device or type.
    """

    _order: Tensor | None  # (weights,): where each canonical weight stands in the pattern's canonical order

    def __init__(
        self,
        layer: Layer,
        in_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        kernel: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        size = _pair(kernel_size)
        by_channel = layer.shape[0] == in_channels
        if not by_channel and layer.shape[0] != in_channels * prod(size):
            raise InvalidSpecError(
                f"the layer has {layer.shape[0]} sources: give {in_channels}, one for each channel, or "
                f"{in_channels * prod(size)}, one for each weight of {in_channels} x {size[0]} x {size[1]}"
            )
        if padding_mode not in PADDING_MODES:
            raise InvalidSpecError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, not {padding_mode!r}")
        window = Window(size, _pair(stride), _pair(dilation))
        convolution = Convolution(in_channels, window, _margins(padding, window), padding_mode)
        like = torch.empty(0, device=device, dtype=dtype)  # resolves torch's defaults
        pattern = by_weight(layer, prod(size)) if by_channel else layer
        choice = choose(pattern, like.device, like.dtype, kernel, convolution)
        super().__init__(layer, pattern, choice, like, bias=bias)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, layer.shape[1], size
        self.by_channel, self.padding = by_channel, padding
        self.convolution = convolution
        order = torch.from_numpy(_order_by_channel(layer, prod(size))).to(like.device) if by_channel else None
        self.register_buffer("_order", order, persistent=False)
        self.reset_parameters(generator)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve and add the bias.

        Args:
            images: shape (batch, in_channels, rows, columns), or without batch.

        Returns:
            Shape (batch, out_channels, rows, columns), or without batch; its order in memory is the kernel's: take
            reshape where view refuses.

        Raises:
            InvalidSpecError: images of another shape, or too small; or the layer was moved to a device or type that
                its kernel does not support.
        """
        if images.ndim not in (3, 4) or images.shape[-3] != self.in_channels:
            raise InvalidSpecError(
                f"the images have shape {tuple(images.shape)}; it must be (batch, {self.in_channels}, rows, columns)"
            )
        self._kernel.require(self.values.device, self.values.dtype)
        batch = images if images.ndim == 4 else images[None]
        y = self.convolution(batch, self.values, self.bias, self._kernel, self._plan)
        return y if images.ndim == 4 else y[0]

    def to_canonical(self, tensor: Tensor) -> Tensor:
        canonical = super().to_canonical(tensor)
        return canonical if self._order is None else canonical[self._order]

    def from_canonical(self, canonical: Tensor) -> Tensor:
        if self._order is None:
            return super().from_canonical(canonical)
        ordered = torch.empty_like(canonical)
        ordered[self._order] = canonical
        return super().from_canonical(ordered)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        return self.out_channels, self.in_channels, *self.kernel_size

    def topology_layer(self) -> Layer:
        """The edges as they were given, by channel or by weight, copied. O(size of values)."""
        pattern = super().topology_layer()
        if not self.by_channel:
            return pattern
        pixels = prod(self.kernel_size)
        sources = pattern.sources
        first = sources % pixels == 0
        return Layer(
            from_edges(sources[first] // pixels, pattern.targets[first], (self.in_channels, self.out_channels))
        )

    def __repr__(self) -> str:
        window = self.convolution.window
        return (
            f"SparseConv2d({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={window.stride}, padding={self.padding!r}, dilation={window.dilation}, "
            f"edges={self.edges}, by {'channel' if self.by_channel else 'weight'}, "
            f"bias={self.bias is not None}, kernel={self.kernel})"
        )


def by_weight(layer: Layer, pixels: int) -> Layer:
    """A layer by channel as one by weight: source c, pixel p becomes source c * pixels + p. O(edges * pixels)."""
    sources = (layer.sources[:, None] * pixels + np.arange(pixels)).ravel()
    return Layer(from_edges(sources, layer.targets.repeat(pixels), (layer.shape[0] * pixels, layer.shape[1])))


def _order_by_channel(layer: Layer, pixels: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where weight p of edge e, number e * pixels + p, stands in the canonical order of `by_weight`."""
    starts = layer.indptr.astype(np.int64)
    degrees = layer.out_degrees
    before, degree = (numbers.repeat(degrees) for numbers in (starts[:-1], degrees))  # of each edge's source
    first = before * pixels + np.arange(layer.edges) - before
    return (first[:, None] + np.arange(pixels) * degree[:, None]).ravel()


def _pair(value: Pair) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return rows, columns


def _margins(padding: Pair | str, window: Window) -> tuple[int, int, int, int]:
    """Pixels to add left, right, above and below, as torch.nn.functional.pad wants them."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise InvalidSpecError(f"padding must be numbers, 'same' or 'valid', not {padding!r}")
        if padding == "same" and window.stride != (1, 1):
            raise InvalidSpecError(f"padding='same' needs stride 1, not {window.stride}")
        total = [gap * (size - 1) * (padding == "same") for size, gap in zip(window.size, window.dilation, strict=True)]
        return total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2
    rows, columns = _pair(padding)
    return columns, columns, rows, rows
