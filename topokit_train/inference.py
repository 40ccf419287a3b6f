"""Inference of the Graph Challenge in torch: the answers of `topokit.challenge.infer`, many times as fast.

What makes it fast: images that have died are dropped as they die; activations lie feature by feature, so
that a neuron's values for all images are one run of memory; and neurons with the same sources (twins) are
computed together, so that each layer is one batch of small dense products. Nothing is assumed of the
weights: each edge has its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit.challenge import CLIP, WEIGHT, Inference, require_problem
from topokit.layered import Layer, Source, network
from topokit.measures._classes import twins

CPU_BLOCK = 1024
"""Images computed together on a CPU (measured: 256 to 512 and 2048 are slower)."""

GPU_BLOCK = 2**16
"""Images computed together elsewhere."""


RATHER_FEWER = 0.98
"""Where a greater share of the images is left after a look, the next one comes after as many layers again."""


@dataclass(frozen=True)
class _Batch:
    """Classes of twins, all of one size and one in-degree: one batch of dense products.

    Args:
        sources: shape (classes * in_degree,), rows of the layer's input.
        weights: shape (classes, twins, in_degree).
    """

    sources: Tensor
    weights: Tensor

    def apply(self, x: Tensor, bias: Tensor, room: Tensor, *, last: bool) -> Tensor:
        """The twins' activations, shape (classes * twins, images).

        Args:
            x: shape (rows, images), contiguous.
            bias: of every neuron, without dimensions.
            room: memory for what is gathered, at least len(sources) * images numbers: fresh memory costs more.
            last: nobody needs x any more, so that the result may lie in its place.
        """
        classes, twins, in_degree = self.weights.shape
        images = x.shape[1]
        gathered = room[: len(self.sources) * images].view(len(self.sources), images)
        torch.index_select(x, 0, self.sources, out=gathered)
        y = x if last and x.shape[0] == classes * twins else x.new_empty(classes * twins, images)
        # 0 + bias is negative and becomes 0, so that the bias may be added everywhere
        products = torch.baddbmm(
            bias, self.weights, gathered.view(classes, in_degree, images), out=y.view(classes, twins, images)
        )
        products.clamp_(0, CLIP)
        return y


@torch.inference_mode()
def infer(net: Source, images: Layer, bias: float, device: torch.device | None = None) -> Inference:
    """Classify images; the same answers as `topokit.challenge.infer`, and the same arguments.

    Args:
        net: any network; read by its stream. Twins make it fast: without any, each neuron is a product alone.
        images: shape (images, inputs), an edge for each pixel that is 1.
        bias: of every neuron.
        device: the CPU where left out.

    Raises:
        InvalidSpecError: see `topokit.challenge.require_problem`.
    """
    net = network(net)
    require_problem(net, images, bias)
    device = device or torch.device("cpu")
    size = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    blocks = list(_dense_blocks(images, size, device))
    rows = list(torch.split(torch.arange(images.shape[0], device=device), size))
    biases = torch.tensor(bias, device=device)
    seconds, look = 0.0, 0  # dead images are looked for behind this layer; later and later where hardly any die
    room = torch.empty(0, device=device)
    position = np.arange(images.shape[1])
    for number, layer in enumerate(net.stream()):
        batches, position = _batches(layer, position, device)
        start = _now(device)
        gathered = max(batch.sources.numel() for batch in batches) * size
        if room.numel() < gathered:
            room = torch.empty(gathered, device=device)
        for k, block in enumerate(blocks):
            parts = [batch.apply(block, biases, room, last=len(batches) == 1) for batch in batches]
            blocks[k] = parts[0] if len(parts) == 1 else torch.cat(parts)
        if number in (look, len(net) - 1):
            before = sum(map(len, rows))
            blocks, rows = _survivors(blocks, rows, size)
            fewer = sum(map(len, rows)) < RATHER_FEWER * before
            look = number + 1 if fewer else 2 * number + 1
        seconds += _now(device) - start
    categories = torch.cat(rows).cpu().numpy() + 1
    return Inference(categories=categories, rows=images.shape[0], edges=net.edges, seconds=seconds)


def _dense_blocks(images: Layer, size: int, device: torch.device) -> Iterator[Tensor]:
    """The images as columns of dense matrices, shape (pixels, up to `size` images) each."""
    count, pixels = images.shape
    for low, high in pairwise([*range(0, count, size), count]):
        starts = images.indptr[low : high + 1].astype(np.int64)
        lit = images.indices[starts[0] : starts[-1]].astype(np.int64)
        image = np.repeat(np.arange(high - low), np.diff(starts))
        block = torch.zeros(pixels, high - low)
        block[lit, image] = 1
        yield block.to(device)


def _batches(layer: Layer, position: NDArray[np.int64], device: torch.device) -> tuple[list[_Batch], NDArray[np.int64]]:
    """A layer as batches, and where each target's activations will lie in their output.

    Args:
        layer: the layer.
        position: shape (sources,), where each source's activations lie in the input.
        device: where the batches will be used.
    """
    labels, firsts = twins(layer, reverse=True)
    sizes = np.bincount(labels)
    targets = np.argsort(labels, kind="stable")  # class by class
    starts = np.cumsum(sizes) - sizes
    incoming = layer.to_scipy().tocsc()
    degrees = np.diff(incoming.indptr)[firsts]
    shapes, shape_of = np.unique(np.stack([sizes, degrees], axis=1), axis=0, return_inverse=True)
    batches, order = [], []
    for k, (size, degree) in enumerate(shapes.tolist()):
        alike = np.flatnonzero(shape_of == k)
        sources = incoming.indices[incoming.indptr[firsts[alike], None] + np.arange(degree)]
        weights = torch.full((alike.size, size, degree), WEIGHT, device=device)
        batches.append(_Batch(torch.from_numpy(position[sources].ravel()).to(device), weights))
        order.append(targets[starts[alike, None] + np.arange(size)].ravel())
    lies = np.empty(layer.shape[1], np.int64)
    lies[np.concatenate(order)] = np.arange(layer.shape[1])
    return batches, lies


def _survivors(blocks: list[Tensor], rows: list[Tensor], size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Drop the images that are all zero; put blocks together when half of their room has become empty."""
    for k, block in enumerate(blocks):
        alive = block.amax(0).nonzero().squeeze(1)
        if len(alive) < block.shape[1]:
            blocks[k], rows[k] = block.index_select(1, alive), rows[k][alive]
    if 2 * sum(block.shape[1] for block in blocks) > len(blocks) * size or len(blocks) == 1:
        return blocks, rows
    merged = torch.split(torch.cat(blocks, 1), size, 1)
    return [block.contiguous() for block in merged], list(torch.split(torch.cat(rows), size))


def _now(device: torch.device) -> float:
    """Seconds on a clock, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
