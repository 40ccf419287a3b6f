"""SparseConv2d: a convolution whose connections, filters or single weights, are the edges of a topology layer."""

from __future__ import annotations

import copy
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from topokit.convolutions import require_groups
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.placement.weights import by_feature
from topokit.reprs import counted
from topokit_train.kernels import KERNELS
from topokit_train.layers.choice import choose
from topokit_train.layers.patches import Convolution
from topokit_train.layers.sparse import SparseModule

Pair = int | tuple[int, int]


class SparseConv2d(SparseModule):
    """A convolution whose only connections are the edges of one topology layer, used as nn.Conv2d is.

    The number of the layer's sources decides how it is read. By channel, in_channels to out_channels: each
    edge is a whole filter. By weight, in_channels * rows * columns to out_channels: each edge is one number, and the
    sources are in the order of torch's `weight.reshape(out_channels, -1)`: channel, then row, then column. In
    canonical order the values of a layer by channel are those of the first edge row by row, then the second's, ...
    In groups, too, the sources are all input channels or all their weights; an edge stays within a group.

    `masked` is a dense convolution by a masked weight. The other kernels multiply by all patches of the images, which
    takes memory for rows * columns numbers for each number of the input. They are faster if few weights are left.

    Args:
        layer: the edges.
        in_channels: of the images.
        kernel_size: a filter's rows and columns, or one number for both.
        stride, padding, dilation, groups, padding_mode: as in nn.Conv2d.
        bias: whether to add a bias to each output channel.
        kernel: a name in KERNELS, "auto" or "tuned", see `topokit_train.layers.choice.choose`; the attribute
            `choice` says which one was chosen, and why.
        device: of the layer; torch's default if omitted.
        dtype: of the layer; torch's default if omitted.
        generator: draws the initial values; a CPU generator, torch's global one if omitted.

    Raises:
        InvalidSpecError: the layer has another number of sources, or an edge joins two groups; there is no such kernel,
            or it does not run on this device or type.
    """

    def __init__(
        self,
        layer: Layer,
        in_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        kernel: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        require_groups(layer, in_channels, groups)
        settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        settings |= {"groups": groups, "padding_mode": padding_mode, "bias": bias}
        try:
            dense = nn.Conv2d(in_channels, layer.shape[1], kernel_size, **settings, device="meta")
        except ValueError as error:
            raise InvalidSpecError(f"{error}") from None
        size = dense.kernel_size
        by_channel = layer.shape[0] == in_channels
        if not by_channel and layer.shape[0] != in_channels * prod(size):
            raise InvalidSpecError(
                f"the layer has {counted(layer.shape[0], 'source')}: give {in_channels}, one for each channel, or "
                f"{in_channels * prod(size)}, one for each weight of {in_channels} x {size[0]} x {size[1]}"
            )
        like = torch.empty(0, device=device, dtype=dtype)  # resolves torch's defaults
        convolution = Convolution(dense)
        by_weight = by_feature(layer, prod(size)) if by_channel else layer
        choice = choose(by_weight, like.device, like.dtype, kernel, convolution)
        pattern = convolution.pattern(KERNELS[choice.kernel], by_weight)
        super().__init__(layer, pattern, choice, like, tuple(dense.weight.shape), bias=bias)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, layer.shape[1], size
        self.stride, self.padding, self.dilation = dense.stride, dense.padding, dense.dilation
        self.groups, self.padding_mode = groups, padding_mode
        self.by_channel, self.convolution = by_channel, convolution
        self.reset_parameters(generator)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve and add the bias.

        Args:
            images: shape (batch, in_channels, rows, columns), or without batch.

        Returns:
            Shape (batch, out_channels, rows, columns), or without batch.

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
        y = self.convolution(batch, self.values, self.bias, self._plan)
        return y if images.ndim == 4 else y[0]

    def _dense_on_meta(self) -> nn.Conv2d:
        return copy.deepcopy(self.convolution.dense)

    def _with_edges(self, layer: Layer, **settings: Any) -> SparseModule:
        return SparseConv2d(layer, self.in_channels, **settings_of(self), **settings)

    def extra_repr(self) -> str:
        """The settings, as the module prints them."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, {f'groups={self.groups}, ' * (self.groups > 1)}"
            f"edges={self.edges}, by {'channel' if self.by_channel else 'weight'}"
        )


def settings_of(convolution: nn.Conv2d | SparseConv2d) -> dict[str, Any]:
    """Return the settings that a convolution of torch and a sparse one have in common, without the channels."""
    names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {name: getattr(convolution, name) for name in names}
