"""band: circulant bands of blocks, found by topokit.measures.structure, multiplied as batched dense products.

On a cycle of classes each class of targets reads a run of neighbouring classes of sources, so a tile of several
neighbouring targets reads one slightly longer run. In the cycles' order all these runs are overlapping views of one
array, and a tile is a dense product with few zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.measures.structure import Structure, structure
from topokit_train.chain import Gradients
from topokit_train.kernels._bands import Cycles, band_blocks, band_product, block_values, transposed_blocks
from topokit_train.kernels.base import Kernel, Plan, keep_buffers


class BandPlan(Plan):
    """The places of a layer's nodes and edges on its cycles. Values have shape (edges,), in the order of their slots.

    There is a slot for each class of targets (cycle after cycle), node of that class, class of sources that it reads,
    and node of that one. If classes have different sizes, some slots are empty. 4 bytes an edge beside the values
    (8 from 2^31 edges), 8 more if slots are empty.

    A product takes O(edges * batch) time, forward and backward. A nan or inf in x reaches all outputs that it is
    connected to, and may reach others of the same tiles.

    Raises:
        InvalidSpecError: the layer has no circulant bands.
    """

    slots: Tensor  # (edges,): each edge's slot, ascending; (0,) if no slot is empty

    def __init__(self, layer: Layer):
        super().__init__()
        found = structure(layer)
        if found.band is None:
            raise InvalidSpecError(
                f"kernel band needs a layer of circulant bands or blocks; the structure of this one is {found}: "
                "choose csr, masked or auto"
            )
        band = found.band
        self.sources = Cycles(found.sources, layer.shape[0], band, lag=band.radix - 1)
        self.targets = Cycles(found.targets, layer.shape[1], band, lag=0)
        self.shape = (band.stride, band.length, self.targets.size, band.radix, self.sources.size)
        self.tile = _tile(band.length, band.radix, self.targets.size)
        self.tile_back = _tile(band.length, band.radix, self.sources.size)
        slots = self._slots_of(layer)
        order = np.argsort(slots)
        self.number(order)
        keep_buffers(self, slots=slots[order] if layer.edges < prod(self.shape) else slots[:0])

    def _slots_of(self, layer: Layer) -> NDArray[np.intp]:
        _, length, rows, radix, columns = self.shape
        source, column = np.divmod(self.sources.place.numpy()[layer.sources], columns)
        target, row = np.divmod(self.targets.place.numpy()[layer.indices], rows)
        read = (source - target + radix - 1) % length
        slots: NDArray[np.intp] = np.ravel_multi_index((target, row, read, column), (target.max() + 1, *self.shape[2:]))
        return slots

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        runs, weights = self.sources.extended(x), self._weights(values)
        tiles = band_product(band_blocks(weights, self.tile), runs, self.tile * self.sources.size)
        return self.targets.collected(tiles), (runs, weights)

    def gradients(
        self, grad: Tensor, x: Tensor, values: Tensor, saved: Sequence[Tensor], for_x: bool, for_values: bool
    ) -> Gradients:
        # both gradients need the extended cycles: make them once
        return super().gradients(self._extended(grad), x, values, saved, for_x, for_values)

    def gradient_of_x(self, grad: Tensor, values: Tensor, saved: Sequence[Tensor]) -> Tensor:
        weights = saved[1] if saved else self._weights(values)
        blocks = transposed_blocks(weights, self.tile_back).transpose(2, 3)
        return self.sources.collected(band_product(blocks, self._extended(grad), self.tile_back * self.targets.size))

    def gradient_of_values(self, grad: Tensor, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
        runs = saved[0] if saved else self.sources.extended(x)
        found = block_values(self._extended(grad), runs, self.tile, self.shape)
        return found.index_select(0, self.slots) if self.slots.numel() else found

    def _extended(self, grad: Tensor) -> Tensor:
        return grad if grad.ndim == 3 else self.targets.extended(grad)

    def _weights(self, values: Tensor) -> Tensor:
        """The value of each slot, 0 if it is empty, of shape `shape`."""
        if self.slots.numel():
            values = values.new_zeros(prod(self.shape)).scatter_(0, self.slots, values)  # twice as fast as index_copy_
        return values.contiguous().view(self.shape)


def _tile(length: int, radix: int, size: int) -> int:
    """How many neighbouring classes to compute at once: the divisor of the length with the least `_price`."""
    divisors = (tile for tile in range(1, length + 1) if length % tile == 0)
    return min(divisors, key=lambda tile: _price(tile, radix, size))


def _price(tile: int, radix: int, size: int) -> float:
    """The time of a tile's product for each edge, in units of a large one's.

    A tile of t classes computes (t + radix - 1) / radix times what is needed, and a product with few rows waits for
    memory; one with a single row is a product with a vector. Fitted to 10 layers with radices 4 to 32 and classes of 1
    to 64 nodes at batches 100 and 512, in the time of one CPU thread.
    """
    rows = tile * size
    return (tile + radix - 1) / radix * (1 + 6.7 / (3 if rows == 1 else rows))


# microseconds for a step, per node, per entry of the dense blocks, per edge if slots are empty, per slot and image
# at the price of its tile, and per place on an extended cycle and image; see `Kernel`
_COST = {"cpu": (236, 0.079, 1.4e-4, 4.8e-3, 7.2e-5, 1e-3), "cuda": (19, 0, 0, 0, 6e-7, 3e-6)}


def cost(layer: Layer, found: Structure, device: str, batch: int) -> float:
    """See `Kernel`. O(classes)."""
    if found.band is None:
        return inf
    band, rows, columns = found.band, int(found.targets.sizes.max()), int(found.sources.sizes.max())
    slots = band.stride * band.length * band.radix * rows * columns
    there, back = (_tile(band.length, band.radix, side) for side in (rows, columns))
    # twice there, for y and the values' gradient, once back
    price = (2 * _price(there, band.radix, rows) + _price(back, band.radix, columns)) / 3
    places = band.stride * (band.length + band.radix - 1) * (2 * rows + columns)
    entries = slots * (there + band.radix - 1) / band.radix
    fixed, per_node, per_entry, per_scattered, per_product, per_place = _COST[device]
    scattered = layer.edges if layer.edges < slots else 0
    laying_out = per_node * sum(layer.shape) + per_entry * entries + per_scattered * scattered
    return fixed + laying_out + (per_place * places + per_product * slots * price) * batch


DTYPES = (torch.float32, torch.float64, torch.bfloat16)

KERNEL = Kernel("band", BandPlan, ("cpu", "cuda"), DTYPES, cost, in_bfloat16=4.9)
