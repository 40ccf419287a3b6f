"""Inference of the Graph Challenge by the native library: all layers of a block of images in one call."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterable, Iterator
from ctypes import POINTER, byref, c_float, c_int32, c_int64, c_void_p
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from topokit._native import native
from topokit.challenge import CLIP, WEIGHT, Inference
from topokit.layered import Layer, Layered
from topokit.measures._classes import twins
from topokit_train.native import Layer as NativeLayer
from topokit_train.native import Rows, grouped

CHUNK = 2**25
"""Edges that are in memory at a time, unless a layer has more."""

BLOCK = 2**20
"""Numbers of a layer's outputs for a block of images, of which there are at least `FEWEST`."""

FEWEST = 256


class _Job(ctypes.Structure):
    """tk_inference in native/topokit.h."""

    _fields_ = (
        *((name, c_int32) for name in ("threads", "layers", "blocks", "room")),
        ("layer", POINTER(NativeLayer)),
        *((name, c_void_p) for name in ("activations", "images", "left", "scratch", "places")),
        *((name, c_int64) for name in ("features", "scratch_size")),
        ("clip", c_float),
    )


class _Weights:
    """A layer ready for the library: targets with equal sources are computed together, and each edge has its weight.

    Nodes have the places of `_places`; places without a node have no edges.
    """

    def __init__(self, layer: Layer, bias: float):
        labels, _ = twins(layer, reverse=True)
        incoming = layer.to_scipy().tocsc()
        places_in, places_out = map(_places, layer.shape)
        self.nodes = layer.shape[1]
        self.shape = int(places_in[-1]) + 1, int(places_out[-1]) + 1
        degrees = np.zeros(self.shape[1] + 1, np.int32)
        degrees[places_out + 1] = np.diff(incoming.indptr)
        gaps = np.setdiff1d(np.arange(self.shape[1]), places_out)
        rows = np.concatenate([places_out[np.argsort(labels, kind="stable")], gaps]).astype(np.int32)
        bounds = grouped(np.concatenate([np.bincount(labels), [gaps.size] * bool(gaps.size)]).astype(np.int64))
        columns = places_in[incoming.indices].astype(np.int32)
        pattern = Rows(np.cumsum(degrees, dtype=np.int32), columns, rows, bounds, self.shape[0])
        values, biases = np.full(layer.edges, WEIGHT, np.float32), np.full(self.shape[1], bias, np.float32)
        self.arrays = pattern, values, biases  # the structure has their addresses
        self.native = NativeLayer(into=self.shape[0], out=self.shape[1], edges=layer.edges)
        pattern.fill(self.native.weight)
        self.native.values, self.native.bias = values.ctypes.data, biases.ctypes.data


def _places(nodes: int) -> NDArray[np.int64]:
    """Return where the numbers of each node are, with a gap after every 64 nodes.

    Sources of a node often are a power of two apart, where their numbers would push each other out of the cache.
    """
    numbers = np.arange(nodes)
    return numbers + numbers // 64


def infer_natively(net: Layered, images: Layer, bias: float) -> Inference:
    """Classify images as `topokit_train.inference.infer` does; both check the same things before.

    Blocks of images go through many layers one after another, so that their activations stay in the cache.

    Cost: O(edges * images that are not all zero) time; memory for all activations of a layer, and 12 bytes for each of
    at most `CHUNK` edges.
    """
    seconds, numbers = 0.0, np.arange(images.shape[0])
    lit = images.to_scipy(np.float32)
    active: NDArray[np.float32] | None = None  # (images, features), once the pixels are not needed any more
    for chunk in _chunks(net.stream(), bias):
        features = max(max(one.shape) for one in chunk)
        room = min(max(FEWEST, BLOCK // features), max(1, numbers.size))
        blocks = _blocks(lit if active is None else active, features, room)
        start = time.perf_counter()
        counts, left = _run(chunk, blocks, np.minimum(room, numbers.size - np.arange(len(blocks)) * room))
        kept = [(number, left[number, :count]) for number, count in enumerate(counts.tolist())]
        numbers = numbers[np.concatenate([number * room + places for number, places in kept])]
        out = _places(chunk[-1].nodes)
        active = np.concatenate([blocks[number, out, : places.size].T for number, places in kept])
        seconds += time.perf_counter() - start
    return Inference(categories=numbers + 1, rows=images.shape[0], edges=net.edges, seconds=seconds)


def _chunks(layers: Iterable[Layer], bias: float) -> Iterator[list[_Weights]]:
    """Yield the layers ready for the library, as many at a time as have `CHUNK` edges, at least one."""
    chunk: list[_Weights] = []
    for layer in layers:
        if chunk and sum(one.native.edges for one in chunk) + layer.edges > CHUNK:
            yield chunk
            chunk = []
        chunk.append(_Weights(layer, bias))
    yield chunk


def _blocks(images: Any, features: int, room: int) -> NDArray[np.float32]:
    """Return images, shape (images, inputs), dense or sparse, as blocks of shape (blocks, features, room)."""
    count, places = images.shape[0], _places(images.shape[1])
    blocks = np.zeros((max(1, -(-count // room)), features, room), np.float32)
    for number, low in enumerate(range(0, count, room)):
        part = images[low : low + room]
        blocks[number, places, : part.shape[0]] = (part if isinstance(part, np.ndarray) else part.toarray()).T
    return blocks


def _run(
    layers: list[_Weights], blocks: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Let the blocks cross the layers: their activations are replaced by those of the images that are left.

    Returns:
        The number of images left in each block, shape (blocks,), and their places in it, shape (blocks, room).
    """
    library = native()
    assert library is not None
    number, features, room = blocks.shape
    if any(before.shape[1] != after.shape[0] for before, after in pairwise(layers)):
        raise ValueError("the outputs of a layer must be the inputs of the next one")
    if blocks.dtype != np.float32 or not blocks.flags.c_contiguous or features < max(max(one.shape) for one in layers):
        raise ValueError("needs contiguous blocks of float32 numbers, with room for all features")
    images, left = counts.astype(np.int32), np.empty((number, room), np.int32)
    if images.shape != (number,) or images.min() < 0 or images.max() > room:
        raise ValueError(f"needs the number of images of each block, at most {room}")
    threads = min(torch.get_num_threads(), number)
    library.tk_inference_scratch.restype = c_int64
    size = library.tk_inference_scratch(c_int64(features), c_int64(room))
    scratch, places = np.empty(threads * size, np.float32), np.empty(threads * 3 * room, np.int64)
    job = _Job(threads=threads, layers=len(layers), blocks=number, room=room, features=features, clip=CLIP)
    job.layer, job.scratch_size = (NativeLayer * len(layers))(*(one.native for one in layers)), size
    addresses = {"activations": blocks, "images": images, "left": left, "scratch": scratch, "places": places}
    for name, array in addresses.items():
        setattr(job, name, array.ctypes.data)
    library.tk_infer(byref(job))
    return images, left
