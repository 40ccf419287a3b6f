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

FIRST = 8
"""Layers of the first call, in which most images are dropped. The next call has twice as many, and so on."""

BLOCK = 2**19
"""Numbers of a layer's outputs for a block of images, of which there are at least `FEWEST`."""

FEWEST = 256


class _Job(ctypes.Structure):
    """tk_inference in native/topokit.h."""

    _fields_ = (
        *((name, c_int32) for name in ("threads", "layers", "blocks", "tiles")),
        ("layer", POINTER(NativeLayer)),
        *((name, c_void_p) for name in ("activations", "slots", "images", "left", "places")),
        ("features", c_int64),
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
    """Classify images as `topokit_train.inference.infer` does, which has checked the arguments.

    Blocks of images go through many layers one after another, so that their activations stay in the cache.

    Cost: O(edges * images that are not all zero) time; memory for all activations of a layer, and 12 bytes for each of
    at most `CHUNK` edges.
    """
    seconds, numbers, active = 0.0, np.arange(images.shape[0]), images.to_scipy(np.float32)
    for chunk in _chunks(net.stream(), bias):
        prepared = _Blocks(active, max(max(one.shape) for one in chunk))
        start = time.perf_counter()
        left, active = prepared.cross(chunk)
        numbers = numbers[left]
        seconds += time.perf_counter() - start
    return Inference(categories=numbers + 1, rows=images.shape[0], edges=net.edges, seconds=seconds)


def _chunks(layers: Iterable[Layer], bias: float) -> Iterator[list[_Weights]]:
    """Yield the layers ready for the library: `FIRST`, then twice as many, with at most `CHUNK` edges if possible."""
    chunk: list[_Weights] = []
    most = FIRST
    for layer in layers:
        if chunk and (len(chunk) == most or sum(one.native.edges for one in chunk) + layer.edges > CHUNK):
            yield chunk
            chunk, most = [], 2 * most
        chunk.append(_Weights(layer, bias))
    yield chunk


class _Blocks:
    """Images in blocks of tiles, as native/topokit.h describes them.

    Args:
        images: shape (images, inputs), a NumPy array or a scipy.sparse.csr_array of float32.
        features: the largest number of places of a layer's nodes.
    """

    def __init__(self, images: Any, features: int):
        library = native()
        assert library is not None
        self.width = width = int(library.tk_tile())
        self.count = images.shape[0]
        all_tiles = max(1, -(-self.count // width))
        self.tiles = min(max(FEWEST, BLOCK // features) // width or 1, all_tiles)
        self.room = self.tiles * width
        number = -(-all_tiles // self.tiles)
        self.activations = np.zeros((number, self.tiles + 1, features, width), np.float32)
        places = _places(images.shape[1])
        for low in range(0, self.count, width):
            block, tile = divmod(low // width, self.tiles)
            part = images[low : low + width]
            dense = part if isinstance(part, np.ndarray) else part.toarray()
            self.activations[block, tile, places, : len(dense)] = dense.T

    def cross(self, layers: list[_Weights]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return which images the layers leave, and their activations, shape (images, nodes). Call it only once.

        Raises:
            ValueError: a layer has other inputs than the layer before has outputs, or more than there is room for.
        """
        number, _, features, width = self.activations.shape
        if any(before.shape[1] != after.shape[0] for before, after in pairwise(layers)):
            raise ValueError("the outputs of a layer must be the inputs of the next one")
        if features < max(max(one.shape) for one in layers):
            raise ValueError(f"needs room for the features of all layers, not {features}")
        threads = min(torch.get_num_threads(), number)
        images = np.clip(self.count - np.arange(number) * self.room, 0, self.room).astype(np.int32)
        slots, left = np.empty((number, self.tiles + 1), np.int32), np.empty((number, self.room), np.int32)
        places = np.empty((threads, 2, self.room), np.int64)
        job = _Job(threads=threads, layers=len(layers), blocks=number, tiles=self.tiles, features=features, clip=CLIP)
        job.layer = (NativeLayer * len(layers))(*(one.native for one in layers))
        arrays = {"activations": self.activations, "slots": slots, "images": images, "left": left, "places": places}
        for name, array in arrays.items():
            setattr(job, name, array.ctypes.data)
        library = native()
        assert library is not None
        library.tk_infer(byref(job))
        nodes = _places(layers[-1].nodes)
        active = []
        for block, count in enumerate(images.tolist()):
            tiles = self.activations[block, slots[block, : -(-count // width)]]
            active.append(tiles[:, nodes].transpose(0, 2, 1).reshape(-1, nodes.size)[:count])
        kept = [block * self.room + left[block, :count] for block, count in enumerate(images.tolist())]
        return np.concatenate(kept).astype(np.int64), np.concatenate(active)
