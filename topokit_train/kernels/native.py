"""native: one number per edge, multiplied by the native library on tiles of the batch: see docs/native.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit._native import native
from topokit.layered import Layer
from topokit.measures.structure import Classes, Structure, structure
from topokit_train.chain import Gradients
from topokit_train.kernels.base import Kernel, keep_buffers
from topokit_train.kernels.block import joined
from topokit_train.kernels.csr import KERNEL as CSR
from topokit_train.kernels.csr import CsrPlan
from topokit_train.native import MOST_ROWS, MOST_WIDE, STORED, Chain, Pattern, Rows, grouped, joint


class NativePlan(CsrPlan):
    """The compressed rows of `csr`, and the groups of nodes with equal neighbours, which share reads.

    Without the native library, on other devices and where torch traces operations, it multiplies as csr. In bfloat16
    it computes in float32, from copies of the operands. A product takes O(edges * batch) time, forward and backward. A
    nan or inf in x reaches the outputs that it is connected to, and no others. 12 bytes an edge beside the values, and
    8 a node.
    """

    for_native = True
    target_rows: Tensor  # (out,): the targets, those of a group one after another
    target_groups: Tensor  # (groups + 1,): where the groups begin
    source_rows: Tensor
    source_groups: Tensor

    def __init__(self, layer: Layer):
        super().__init__(layer)
        found = structure(layer)
        for side, classes, count in (
            ("target", found.targets, layer.shape[1]),
            ("source", found.sources, layer.shape[0]),
        ):
            rows, groups = _groups(classes, count)
            keep_buffers(self, **{f"{side}_rows": rows, f"{side}_groups": groups})
        self._bound: tuple[Any, Pattern] | None = None

    def pattern(self, values: Tensor) -> Pattern | None:
        """Return the pattern, which is checked when it is first used, and again after its tensors changed."""
        del values
        tensors = list(self._buffers.values())
        now = [(id(one), one._version, one.data_ptr()) for one in tensors if one is not None]
        if self._bound is None or self._bound[0] != now:
            nodes = self.target_rows.numel() + self.source_rows.numel()
            if self.starts.dtype != torch.int32 or max(self.edges + 4 * nodes, MOST_WIDE * nodes) >= 2**31:
                return None  # the library's numbers of edges, and of elements in a tile, have 32 bits
            numbers = {name: one.detach().numpy() for name, one in self.named_buffers()}
            sources, targets = (numbers[f"{side}_rows"].size for side in ("source", "target"))
            weight = Rows(
                numbers["starts"], numbers["sources"], numbers["target_rows"], numbers["target_groups"], sources
            )
            transposed = Rows(
                numbers["transposed_starts"],
                numbers["targets"],
                numbers["source_rows"],
                numbers["source_groups"],
                targets,
                numbers["position"],
            )
            self._bound = now, Pattern(weight, transposed)
        return self._bound[1]

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        if alone := self._alone(x, values):
            y, tiles = alone.forward(x, [values], [None])
            return y, (tiles,)
        return super().product(x, values)

    def gradients(
        self, grad: Tensor, x: Tensor, values: Tensor, saved: Sequence[Tensor], for_x: bool, for_values: bool
    ) -> Gradients:
        if saved and (alone := self._alone(x, values)):
            along, found, _ = alone.backward(grad, saved[0], [values], [None], [for_values, False], for_x)
            return along, found
        return super().gradients(grad, x, values, saved, for_x, for_values)

    def _alone(self, x: Tensor, values: Tensor) -> Chain | None:
        return joint([self], [False], x, [values], [])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_bound": None}  # addresses are not for a copy


def _groups(classes: Classes, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The nodes of one side, those of a class one after another, and where the groups of at most four begin."""
    members = classes.members.astype(np.int64)
    lone = np.setdiff1d(np.arange(count), members)
    sizes = np.concatenate([classes.sizes.astype(np.int64), [lone.size] * bool(lone.size)]).astype(np.int64)
    return np.concatenate([members, lone]).astype(np.int32), grouped(sizes)


# microseconds for a step, per node and image, per edge, per edge and image, and per edge that a group reads and image;
# fitted by benchmarks/costs.py; see `Kernel`. The first is that of one more layer in a chain, as the layers of a
# perceptron share one call, or their whole step; a layer alone takes 150 more, less than with any other kernel.
_COST = (12, 8.2e-4, 2.3e-3, 6.7e-5, 2.6e-5)


def features(layer: Layer, found: Structure, batch: int) -> tuple[float, ...]:
    """Return the numbers that the coefficients of the cost are multiplied with. O(classes)."""
    sides = ((found.targets, layer.in_degrees, 2), (found.sources, layer.out_degrees, 1))  # two products, and one
    read = sum(times * int(-(-one.sizes // MOST_ROWS) @ joined(one, degrees)) for one, degrees, times in sides)
    return 1, batch * sum(layer.shape), layer.edges, layer.edges * batch, read * batch


def cost(layer: Layer, found: Structure, device: str, batch: int) -> float:
    """See `Kernel`. O(classes)."""
    if device != "cpu" or native() is None:
        return float("inf")
    return float(np.dot(_COST, features(layer, found, batch)))


class NativeKernel(Kernel):
    """The kernel. A layer of it that is moved where only csr runs multiplies as csr; `auto` does not take it there."""

    def require(self, device: torch.device, dtype: torch.dtype) -> None:
        if not CSR.supports(device, dtype):
            super().require(device, dtype)


KERNEL = NativeKernel("native", NativePlan, ("cpu",), STORED, cost, in_bfloat16=1.2)
