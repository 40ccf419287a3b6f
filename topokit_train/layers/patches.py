"""Convolutions by kernels: `masked` by torch, the others as products with the patches that a filter covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from topokit.edges import from_edges
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.chain import Bilinear, Link, chain
from topokit_train.kernels.base import BATCH, Kernel, Plan
from topokit_train.kernels.masked import MaskedPlan
from topokit_train.operands import require_dtype

STRIP = 2**20
"""Numbers of patches that are copied at a time, 4 MiB. Measured from 2^17 to 2^21."""

TIMED = 32
"""Number of images that a step is timed with."""

PLACES = {"cpu": 8192, "cuda": BATCH}
"""Number of places of the filter, in all images, that costs are estimated for."""

# What `Convolution.features` are multiplied with. cpu: fitted by benchmarks/convolutions.py, float32; others: a guess,
# not measured
_MASKED = {"cpu": (1, 0, 0, 5.2e-3, 4.4e-2), "cuda": (1, 0, 0, 0, 0)}
_PATCHES = {"cpu": (1.6, 2.1e-4, 4.3e-3, 1.5e-2, 0), "cuda": (3, 1.5e-4, 0, 0, 0)}


@dataclass(frozen=True)
class Convolution:
    """How images are convolved: `masked` by torch, with a masked weight; the other kernels multiply by patches.

    Args:
        dense: the dense convolution with the same settings, on the meta device.
    """

    dense: nn.Conv2d

    @property
    def reach(self) -> int:
        """Number of sources of an output in the dense convolution, those of its group's channels."""
        return self.dense.weight[0].numel()

    def pattern(self, kernel: Kernel, layer: Layer) -> Layer:
        """Return the edges that a kernel multiplies by, of a layer by weight whose sources are those of all channels.

        `masked` has a dense weight only of what a group reads: there sources are counted from the group's first.
        """
        if self.dense.groups == 1 or kernel.name != "masked":
            return layer
        return Layer(from_edges(layer.sources % self.reach, layer.targets, (self.reach, layer.shape[1])))

    @property
    def case(self) -> str:
        """See `Product`."""
        settings = (self.dense.kernel_size, self.dense.stride, self.dense.dilation)
        size, stride, dilation = ("x".join(map(str, pair)) for pair in settings)
        groups = f", groups {self.dense.groups}" if self.dense.groups > 1 else ""
        return f" of a {size} convolution, stride {stride}, dilation {dilation}{groups}, of {TIMED} images"

    def features(self, kernel: Kernel, layer: Layer, found: Structure, device: str) -> tuple[float, ...]:
        """Return what the coefficients of the cost are multiplied with, for one place of the filter.

        They are the cost of the product, the numbers of a patch, the outputs, the inputs for each place, and 1.
        """
        places = PLACES.get(device, PLACES["cuda"])
        product = kernel.cost(self.pattern(kernel, layer), found, device, places) / places
        return product, layer.shape[0], layer.shape[1], self.dense.in_channels * prod(self.dense.stride), 1

    def cost(self, kernel: Kernel, layer: Layer, found: Structure, device: str) -> float:
        """See `Product`. It does not depend on the size of the images, which is not known."""
        coefficients = _MASKED if kernel.name == "masked" else _PATCHES
        weights = coefficients.get(device, coefficients["cuda"])
        each = zip(weights, self.features(kernel, layer, found, device), strict=True)
        return PLACES.get(device, PLACES["cuda"]) * sum(weight * feature for weight, feature in each)

    def input_shape(self, _layer: Layer) -> tuple[int, ...]:
        """See `Product`: images that have 16 x 16 places of the filter before padding."""
        sizes = (span + 15 * step for span, step in zip(self._spans(), self.dense.stride, strict=True))
        return TIMED, self.dense.in_channels, *sizes

    def __call__(self, images: Tensor, values: Tensor, bias: Tensor | None, plan: Plan) -> Tensor:
        """Convolve images, shape (batch, channels, rows, columns), by a kernel's values, and add the bias.

        Raises:
            InvalidSpecError: the images are too small, or of another type than the values.
        """
        margins = self.dense._reversed_padding_repeated_twice
        self._require_places(images.shape[2] + sum(margins[2:]), images.shape[3] + sum(margins[:2]))
        if isinstance(plan, MaskedPlan):
            require_dtype(images, values.dtype)
            weight = plan.weight(values).view(-1, *self.dense.weight.shape[1:])
            return self.dense._conv_forward(images, weight, bias)  # type: ignore[no-any-return]
        if any(margins):
            mode = self.dense.padding_mode
            images = pad(images, margins, "constant" if mode == "zeros" else mode)
        # the batch is last, so that runs of memory are long whatever the size of an image
        x = images.permute(1, 2, 3, 0).contiguous()
        y = chain(x, [Link(Patches(self, plan, x.shape), values, None, relu=False)])
        y = y.view(len(y), *self.patches(x).shape[3:])
        y = y if bias is None else y + bias[:, None, None, None].to(y.dtype)
        return y.permute(3, 0, 1, 2).contiguous()  # torch's own layers, such as ReLU, are slow on other strides

    def _spans(self) -> tuple[int, int]:
        """Rows and columns that the filter reaches over."""
        down, across = (
            gap * (size - 1) + 1 for size, gap in zip(self.dense.kernel_size, self.dense.dilation, strict=True)
        )
        return down, across

    def _require_places(self, rows: int, columns: int) -> None:
        down, across = self._spans()
        if rows < down or columns < across:
            raise InvalidSpecError(
                f"a filter that reaches over {down} x {across} pixels has no place in an image of {rows} x {columns}, "
                "padding included"
            )

    def patches(self, x: Tensor) -> Tensor:
        """Return the pixels that the filter covers at each of its places, as a view.

        Args:
            x: shape (channels, rows, columns, batch), padded.

        Returns:
            Shape (channels, filter's rows, filter's columns, rows of places, columns of places, batch).
        """
        for dim, (span, step) in enumerate(zip(self._spans(), self.dense.stride, strict=True), start=1):
            x = x.unfold(dim, span, step)
        gap, across = self.dense.dilation
        return x[..., ::gap, ::across].permute(0, 4, 5, 1, 2, 3)


class Patches(Bilinear):
    """The matrix of a convolution of images of one shape: products with their patches, a strip of them at a time.

    Patches take as many times the images' memory as a filter has pixels, and fresh memory costs more than filling it.
    So a strip is copied, used and dropped, and copied again for the gradients.

    Args:
        convolution: its settings.
        plan: multiplies by the patches.
        shape: of the images, padded: (channels, rows, columns, batch).
    """

    def __init__(self, convolution: Convolution, plan: Plan, shape: torch.Size):
        self.convolution, self.plan, self.shape = convolution, plan, shape

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        products = [self.plan.product(_columns(strip), values)[0] for strip in self._strips(x)]
        return torch.cat(products, 1), ()

    def gradient_of_x(self, grad: Tensor, values: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        found = grad.new_zeros(self.shape)
        for strip, part in self._with_parts(found, grad):
            gradient = self.plan.gradient_of_x(part, values, ()).view(strip.shape)
            for i, j in product(*map(range, self.convolution.dense.kernel_size)):  # the patches overlap
                strip[:, i, j].add_(gradient[:, i, j])
        return found

    def gradient_of_values(self, grad: Tensor, x: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        parts = (self.plan.gradient_of_values(part, _columns(strip), ()) for strip, part in self._with_parts(x, grad))
        return reduce(Tensor.add_, parts)

    def operands(self, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the plan."""
        return self.plan.operands(x, values)

    def _strips(self, x: Tensor) -> Sequence[Tensor]:
        """Patches in parts of about STRIP numbers, of whole rows of places."""
        patches = self.convolution.patches(x)
        return torch.split(patches, max(1, STRIP // max(1, patches[:, :, :, 0].numel())), 3)

    def _with_parts(self, x: Tensor, grad: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Strips of patches, each with its part of the gradient of the output, shape (out, places * batch)."""
        strips = self._strips(x)
        parts = torch.split(grad, [one[0, 0, 0].numel() for one in strips], 1)
        return zip(strips, (part.contiguous() for part in parts), strict=True)


def _columns(strip: Tensor) -> Tensor:
    """A copy of patches as a kernel multiplies them: shape (channels * filter's pixels, places * batch)."""
    return strip.flatten(3).flatten(0, 2)
