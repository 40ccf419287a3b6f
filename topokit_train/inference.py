"""Inference of the Graph Challenge in torch: the answers of `topokit.challenge.infer`, many times as fast.

It is fast for three reasons. Images are dropped once all their activations are zero. Activations are stored feature by
feature, so a neuron's values for all images are contiguous. Equivalent neurons (with the same sources) are computed
together, so each layer is one batch of small dense products. The weights may be any numbers: each edge has its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit._native import native
from topokit.challenge import CLIP, WEIGHT, Inference, require_problem
from topokit.layered import Layer, Source, network
from topokit.measures._classes import twins
from topokit_train.machine import now
from topokit_train.native_inference import infer_natively

CPU_BLOCK = 1024
"""Images computed together on a CPU (measured: 256 to 512 and 2048 are slower)."""

GPU_BLOCK = 2**16
"""Images computed together elsewhere."""


RATHER_FEWER = 0.98
"""If a greater share of images survives a search for dead ones, the next search is after twice as many layers."""


@dataclass(frozen=True)
class _Batch:
    """Classes of equivalent neurons, all of one size and one in-degree: one batch of dense products.

    Args:
        sources: shape (classes * in_degree,), rows of the layer's input.
        weights: shape (classes, size, in_degree).
    """

    sources: Tensor
    weights: Tensor

    def apply(self, x: Tensor, bias: Tensor, room: Tensor, *, last: bool) -> Tensor:
        """Return the neurons' activations, shape (classes * size, images).

        Args:
            x: shape (rows, images), contiguous.
            bias: of every neuron, without dimensions.
            room: memory for the gathered rows, at least len(sources) * images numbers: fresh memory costs more.
            last: whether x is not needed any more, so the result may take its memory.
        """
        classes, size, in_degree = self.weights.shape
        images = x.shape[1]
        gathered = room[: len(self.sources) * images].view(len(self.sources), images)
        torch.index_select(x, 0, self.sources, out=gathered)
        y = x if last and x.shape[0] == classes * size else x.new_empty(classes * size, images)
        # the bias may be added everywhere: 0 + bias is negative and becomes 0
        products = torch.baddbmm(
            bias, self.weights, gathered.view(classes, in_degree, images), out=y.view(classes, size, images)
        )
        products.clamp_(0, CLIP)
        return y


@torch.inference_mode()
def infer(net: Source, images: Layer, bias: float, device: torch.device | None = None) -> Inference:
    """Classify images; the same answers as `topokit.challenge.infer`, and the same arguments.

    Args:
        net: any network; read by its stream. Equivalent neurons make it fast; each other neuron is a product alone.
        images: shape (images, inputs), an edge for each pixel that is 1.
        bias: of every neuron.
        device: [the CPU]

    Raises:
        InvalidSpecError: see `topokit.challenge.require_problem`.
    """
    net = network(net)
    require_problem(net, images, bias)
    device = device or torch.device("cpu")
    if device.type == "cpu" and native() is not None:
        return infer_natively(net, images, bias)
    size = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    lit = images.to_scipy()
    blocks = [  # shape (pixels, up to `size` images)
        torch.from_numpy(lit[low : low + size].toarray(order="F").T).to(device).float()
        for low in range(0, images.shape[0], size)
    ]
    rows = list(torch.split(torch.arange(images.shape[0], device=device), size))
    biases = torch.tensor(bias, device=device)
    seconds, look = 0.0, 0  # the layer after which dead images are dropped
    room = torch.empty(0, device=device)
    position = np.arange(images.shape[1])
    for number, layer in enumerate(net.stream()):
        batches, position = _batches(layer, position, device)
        start = now(device)
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
        seconds += now(device) - start
    categories = torch.cat(rows).cpu().numpy() + 1
    return Inference(categories=categories, rows=images.shape[0], edges=net.edges, seconds=seconds)


def _batches(layer: Layer, position: NDArray[np.int64], device: torch.device) -> tuple[list[_Batch], NDArray[np.int64]]:
    """Return a layer as batches, and the row of each target's activations in their output.

    Args:
        layer: the layer.
        position: shape (sources,), the row of each source's activations in the input.
        device: of the batches.
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
    """Drop the images that are all zero; join blocks once half of their columns are gone."""
    for k, block in enumerate(blocks):
        alive = block.amax(0).nonzero().squeeze(1)
        if len(alive) < block.shape[1]:
            blocks[k], rows[k] = block.index_select(1, alive), rows[k][alive]
    if 2 * sum(block.shape[1] for block in blocks) > len(blocks) * size or len(blocks) == 1:
        return blocks, rows
    merged = torch.split(torch.cat(blocks, 1), size, 1)
    return [block.contiguous() for block in merged], list(torch.split(torch.cat(rows), size))
