"""The layouts behind the kernel band: cycles of classes of nodes, and tiles of a band as dense blocks.

Activations have their features first: (cycles, classes on a cycle x nodes of a class, batch). Classes with fewer nodes
than others have copies of a node in the empty places, which are multiplied with zeros.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from topokit.measures.structure import Band, Classes
from topokit_train.kernels.base import keep_buffers


class Cycles(nn.Module):
    """One side of a layer in the order of its cycles.

    Args:
        classes: its nodes, cycle after cycle.
        nodes: number of its nodes, those without edges included.
        band: the cycles.
        lag: number of classes from the end of a cycle before its first one in an extended cycle.

    Attributes:
        size: places for nodes in a class: the size of the largest.
        cycles: number of cycles.
        width: places in an extended cycle.
    """

    place: Tensor  # (nodes,): of each node, (cycle * length + class) * size + number in its class; 0 without edges
    lone: Tensor  # the nodes without edges
    nodes: Tensor  # the node at each place of the extended cycles, which have radix - 1 classes more than a cycle

    def __init__(self, classes: Classes, nodes: int, band: Band, lag: int):
        super().__init__()
        self.size, self.cycles = int(classes.sizes.max()), band.stride
        self.width = (band.length + band.radix - 1) * self.size
        starts = np.cumsum(classes.sizes) - classes.sizes
        within = np.arange(classes.members.size) - np.repeat(starts, classes.sizes)
        place = np.zeros(nodes, np.int64)
        place[classes.members] = np.repeat(np.arange(classes.sizes.size), classes.sizes) * self.size + within
        node_at = np.repeat(classes.members[starts], self.size)
        node_at[place[classes.members]] = classes.members
        around = (np.arange(band.length + band.radix - 1) - lag) % band.length
        lone = np.setdiff1d(np.arange(nodes), classes.members)
        extended = node_at.reshape(band.stride, band.length, self.size)[:, around].ravel()
        keep_buffers(self, place=place, lone=lone, nodes=extended)

    def extended(self, features: Tensor) -> Tensor:
        """Return features, shape (nodes, batch), in the order of the extended cycles, shape (cycles, width, batch).

        Features with the batch first in memory keep that order, as dense products read both equally fast.
        """
        batch = features.shape[1]
        if features.stride(0) == 1 < features.stride(1):
            return features.T.index_select(1, self.nodes).view(batch, self.cycles, self.width).permute(1, 2, 0)
        return features.index_select(0, self.nodes).view(self.cycles, self.width, batch)

    def collected(self, tiles: Tensor) -> Tensor:
        """Return features of cycles that are not extended, shape (cycles, tiles, rows, batch), as (nodes, batch).

        Zero for nodes without edges.
        """
        features = tiles.flatten(0, -2).index_select(0, self.place)
        return features.index_fill_(0, self.lone, 0) if self.lone.numel() else features


def band_blocks(weights: Tensor, tile: int) -> Tensor:
    """Return dense blocks that map runs of sources to tiles of targets.

    Args:
        weights: shape (cycles, length, rows, radix, columns): number k of the classes that class i of targets reads
            is class i + k of an extended cycle of sources.
        tile: classes of targets in a tile.

    Returns:
        Shape (cycles, length / tile, tile * rows, (tile + radix - 1) * columns); `weights` itself for tiles of 1.
    """
    cycles, length, rows, radix, columns = weights.shape
    shape = (cycles, length // tile, tile * rows, (tile + radix - 1) * columns)
    if tile == 1:
        return weights.view(shape)
    blocks = weights.new_zeros(shape)
    _inside(blocks, tile, rows, radix * columns, columns).copy_(weights.view(*shape[:2], tile, rows, radix * columns))
    return blocks


def _inside(blocks: Tensor, tile: int, rows: int, read: int, columns: int) -> Tensor:
    """The entries of `band_blocks` that are edges, a view of shape (cycles, tiles, tile, rows, read)."""
    *outer, row, _ = blocks.stride()
    return blocks.as_strided((*blocks.shape[:2], tile, rows, read), (*outer, rows * row + columns, row, 1))


def transposed_blocks(weights: Tensor, tile: int) -> Tensor:
    """Return the transposes of dense blocks that map runs of targets to tiles of sources.

    Args:
        weights: see `band_blocks`.
        tile: classes of sources in a tile.

    Returns:
        Shape (cycles, length / tile, (tile + radix - 1) * rows, tile * columns).
    """
    cycles, length, rows, radix, columns = weights.shape
    shape = (cycles, length // tile, (tile + radix - 1) * rows, tile * columns)
    if radix == 1:  # and so is the length
        return weights.view(shape)
    blocks = weights.new_empty(shape) if tile == 1 else weights.new_zeros(shape)
    row = tile * columns
    into = blocks.as_strided(
        (cycles, length // tile, tile, radix, rows, columns),
        (*blocks.stride()[:2], rows * row + columns, rows * row, row, 1),
    )
    whole = (length - radix + 1) // tile  # tiles whose targets are before the cycle's end
    rest = torch.cat([weights[:, whole * tile :], weights[:, : radix - 1]], 1)
    for part, source in ((into[:, :whole], weights), (into[:, whole:], rest)):
        part.copy_(_fed(source, part.shape[1] * tile).view(part.shape))
    return blocks


def _fed(weights: Tensor, classes: int) -> Tensor:
    """By source: [c, i, m] is the weight between class i of sources and class i + m of targets, a view.

    The first `classes` of them; shape (cycles, classes, radix, rows, columns).
    """
    cycles, _, rows, radix, columns = weights.shape
    cycle, target, row, read, _ = weights.stride()
    return weights.as_strided(
        (cycles, classes, radix, rows, columns),
        (cycle, target, target - read, row, 1),
        weights.storage_offset() + (radix - 1) * read,
    )


def band_product(blocks: Tensor, runs: Tensor, step: int) -> Tensor:
    """Multiply each tile's block by its run.

    Args:
        blocks: shape (cycles, tiles, rows, columns).
        runs: shape (cycles, features of an extended cycle, batch).
        step: features between the starts of neighbouring runs.

    Returns:
        Shape (cycles, tiles, rows, batch).
    """
    cycles, tiles, rows, columns = blocks.shape
    product = runs.new_empty(cycles, tiles, rows, runs.shape[2])
    _batched(blocks, _windows(runs, tiles, columns, step), product)
    return product


def block_values(grads: Tensor, runs: Tensor, tile: int, shape: tuple[int, ...]) -> Tensor:
    """Return the gradient of every weight: the products of targets' and sources' features, summed over the batch.

    Args:
        grads: shape (cycles, features of an extended cycle of targets, batch).
        runs: the same of sources.
        tile: classes of targets in a tile.
        shape: of the weights, see `band_blocks`.

    Returns:
        Shape (slots,), in the order of the weights.
    """
    cycles, length, rows, radix, columns = shape
    tiles, width = length // tile, (tile + radix - 1) * columns
    every = runs.new_empty(cycles, tiles, tile * rows, width)
    left = _windows(grads, tiles, tile * rows, tile * rows)
    _batched(left, _windows(runs, tiles, width, tile * columns).transpose(2, 3), every)
    return (every if tile == 1 else _inside(every, tile, rows, radix * columns, columns)).reshape(-1)


def _windows(features: Tensor, tiles: int, width: int, step: int) -> Tensor:
    """Overlapping views, shape (cycles, tiles, width, batch), each `step` features after the one before."""
    cycle, feature, image = features.stride()
    return features.as_strided(
        (features.shape[0], tiles, width, features.shape[2]), (cycle, step * feature, feature, image)
    )


def _batched(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write left @ right into `out`, over two batch dimensions.

    One call for each index of the smaller one, as a single call for both would copy the overlapping views.
    """
    dim = 0 if left.shape[0] <= left.shape[1] else 1
    for one, other, product in zip(left.unbind(dim), right.unbind(dim), out.unbind(dim), strict=True):
        torch.bmm(one, other, out=product)
