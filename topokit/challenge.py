"""Inference as the Sparse Deep Neural Network Graph Challenge defines it, in GraphBLAS.

The images are the rows of a matrix Y. Each layer makes Y = min(max(Y W + bias, 0), 32), with the bias added
to nonzero entries only and all numbers in FP32. The answer, the categories, are the numbers of the rows
that are not all zero after the last layer, counted from 1.

Source: Kepner et al. 2019, "Sparse Deep Neural Network Graph Challenge", arXiv:1909.05631.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import INDEX, Storage, UInt64Array, graphblas
from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered, Source, network
from topokit.reprs import counted

WEIGHT = 1 / 16
CLIP = 32.0
BIASES = {1024: -0.3, 4096: -0.35, 16384: -0.4, 65536: -0.45}


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """The result of an inference, and its speed.

    Args:
        categories: the numbers of the surviving rows, from 1, increasing.
        rows: number of images.
        edges: number of edges of the network.
        seconds: time of all layers' products, without that of making the layers.
    """

    categories: NDArray[np.int64]
    rows: int
    edges: int
    seconds: float

    @property
    def edges_per_second(self) -> float:
        """The challenge's rate: edges * rows / seconds."""
        return self.edges * self.rows / self.seconds


def official_bias(neurons: int) -> float:
    """Return the bias of the official network with so many neurons in a layer.

    Raises:
        InvalidSpecError: no official network has this size.
    """
    if neurons not in BIASES:
        sizes = ", ".join(map(str, BIASES))
        raise InvalidSpecError(f"the challenge has no bias for {neurons} neurons, only for {sizes}: give `bias`")
    return BIASES[neurons]


def require_problem(net: Layered, images: Layer, bias: float) -> None:
    """Refuse images and biases that the challenge does not define.

    Raises:
        InvalidSpecError: images of another size than the inputs, or a bias that is not negative.
    """
    if images.shape[1] != net.widths[0]:
        raise InvalidSpecError(
            f"images have {counted(images.shape[1], 'pixel')}, but the network {counted(net.widths[0], 'input')}: "
            "they must be equal"
        )
    if not -CLIP <= bias < 0:
        raise InvalidSpecError(f"`bias` must be negative, and {-CLIP:g} at least, not {bias:g}")


def infer(net: Source, images: Layer, bias: float) -> Inference:
    """Classify images by LAGraph's algorithm: four GraphBLAS operations a layer. All weights are 1/16.

    They are: a product; one in the (min, plus) semiring with the bias on a diagonal, which adds it to entries and
    not to zeros; the selection of positive entries; the minimum with 32.

    Args:
        net: any network; read by its stream.
        images: shape (images, inputs), an edge for each pixel that is 1.
        bias: of every neuron.

    Raises:
        InvalidSpecError: see `require_problem`.

    Source: Davis, Aznaveh & Kolodziej 2019, "Write Quick, Run Fast: Sparse Deep Neural Network in 20 Minutes
    of Development Time via SuiteSparse:GraphBLAS", IEEE HPEC.
    """
    net = network(net)
    require_problem(net, images, bias)
    gb = graphblas()
    plus_times, min_plus = gb.semiring.plus_times["FP32"], gb.semiring.min_plus["FP32"]
    y = _filled(images, 1)
    seconds = 0.0
    for layer in net.stream():
        weights = _filled(layer, WEIGHT)
        biases = gb.Vector.from_dense(np.full(layer.shape[1], bias, np.float32)).diag()
        start = time.perf_counter()
        z = y.mxm(weights, plus_times).new()
        y.clear()  # else its memory would come back only with the garbage collector
        z << z.mxm(biases, min_plus)
        z << z.select(gb.select.valuegt, np.float32(0))
        z << z.apply(gb.binary.min["FP32"], right=np.float32(CLIP))
        y = z
        seconds += time.perf_counter() - start
    rows, _ = y.reduce_rowwise(gb.monoid.plus).new().to_coo(values=False)
    return Inference(categories=rows.astype(np.int64) + 1, rows=images.shape[0], edges=net.edges, seconds=seconds)


def _filled(layer: Layer, value: float) -> Any:
    """Return the layer's FP32 matrix with the same value at every edge, which GraphBLAS stores once."""
    gb = graphblas()
    return layer.matrix.apply(gb.binary.second["FP32"], right=np.float32(value)).new()


def resized(images: NDArray[np.uint8], side: int) -> Layer:
    """Return images as the challenge makes them of MNIST, their pixels numbered column by column.

    The images are put side by side in one strip, which Fourier interpolation makes `side` pixels high and
    `side * images` wide. A pixel is 1 if its magnitude is above half of the strip's largest. So every image
    depends on all the others: the official ones need all of MNIST's 60,000 training images, in order.

    The challenge does not publish its rule. This one was found from the first 1,200 official images, 32 x 32. It
    gives all their pixels, and the official number of ones in all 60,000 at all four official sizes; see
    docs/graph-challenge-images.md.

    Args:
        images: shape (images, rows, columns), 0 to 255.
        side: new number of rows and of columns.

    Returns:
        A layer of shape (images, side * side).

    Cost:
        O(side * w log w) time where w = side * images, and memory for the strip in float64, for a few complex
        rows of w and for the result.
    """
    count, height, _ = images.shape
    pixels = side * side
    strip = images.transpose(1, 0, 2).reshape(height, -1).astype(np.float64)
    lit: list[tuple[UInt64Array, NDArray[np.float64]]] = []
    brightest = 0.0
    for row, weights in enumerate(_interpolated(np.eye(height), side).T):
        line = np.abs(_interpolated(weights.real @ strip + 1j * (weights.imag @ strip), side * count))
        brightest = max(brightest, line.max())
        at = np.flatnonzero(line > brightest / 2)  # too many until the brightest pixel is known
        lit.append((at.astype(INDEX) * side + row, line[at]))
    kept = []
    while lit:  # emptied to save memory: it is twice as large as the result
        numbers, values = lit.pop()
        kept.append(numbers[values > brightest / 2])
    numbers = np.concatenate(kept)
    numbers.sort()
    indptr = np.searchsorted(numbers, np.arange(count + 1, dtype=INDEX) * pixels).astype(INDEX)
    numbers %= pixels
    return Layer(Storage(indptr, numbers, (count, pixels)))


def _interpolated(signals: NDArray[Any], length: int) -> NDArray[np.complex128]:
    """Interpolate periodic signals, shape (..., n), at `length` points, from as many frequencies as both have.

    The highest frequency of an even n is not split into its positive and its negative half, as real signals would
    need. So the result is complex.
    """
    from scipy.fft import fft, ifft

    n = signals.shape[-1]
    negative = (min(n, length) - 1) // 2
    positive = min(n, length) - negative
    spectrum = fft(signals, norm="forward")  # amplitudes, whatever the length
    wanted = np.zeros((*signals.shape[:-1], length), np.complex128)
    wanted[..., :positive] = spectrum[..., :positive]
    wanted[..., length - negative :] = spectrum[..., n - negative :]
    interpolated: NDArray[np.complex128] = ifft(wanted, norm="forward", overwrite_x=True)
    return interpolated
