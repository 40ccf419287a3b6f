"""Inference as the Sparse Deep Neural Network Graph Challenge defines it, in GraphBLAS.

The images are the rows of a matrix Y. Each layer makes Y = min(max(Y W + bias, 0), 32), with the bias added
to nonzero entries only and all numbers in FP32. The answer, the categories, are the numbers of the rows
that are not all zero behind the last layer, counted from 1.

Source: Kepner et al. 2019, "Sparse Deep Neural Network Graph Challenge", arXiv:1909.05631.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import from_edges, graphblas
from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered

WEIGHT = 1 / 16
CLIP = 32.0
BIASES = {1024: -0.3, 4096: -0.35, 16384: -0.4, 65536: -0.45}
THRESHOLD = 184.5  # of 255: comes nearest to the official images
AT_A_TIME = 2048  # images resized together, which bounds the memory that takes


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """What came out, and how fast.

    Args:
        categories: the numbers of the surviving rows, from 1, increasing.
        rows: number of images.
        edges: number of edges of the network.
        seconds: what all layers' products took, without making the layers.
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
    """The bias of the official network with so many neurons in a layer.

    Raises:
        InvalidSpecError: there is no such official network.
    """
    if neurons not in BIASES:
        sizes = ", ".join(map(str, BIASES))
        raise InvalidSpecError(f"the challenge has no bias for {neurons} neurons, only for {sizes}: give one")
    return BIASES[neurons]


def require_problem(net: Layered, images: Layer, bias: float) -> None:
    """Refuse what is no problem of the challenge's kind.

    Raises:
        InvalidSpecError: images of another size than the inputs, or a bias that is not negative.
    """
    if images.shape[1] != net.widths[0]:
        raise InvalidSpecError(
            f"images have {images.shape[1]} pixels, but the network {net.widths[0]} inputs: they must be equal"
        )
    if not -CLIP <= bias < 0:
        raise InvalidSpecError(f"bias must be negative, and {-CLIP:g} at least, not {bias}")


def infer(net: Layered, images: Layer, bias: float) -> Inference:
    """Classify images by LAGraph's algorithm: four GraphBLAS operations a layer. All weights are 1/16.

    A product, a second one in the (min, plus) semiring with the bias on a diagonal, which adds it to entries
    and leaves the zeros alone, a selection of what is positive, and a cut at 32.

    Args:
        net: any network; read by its stream.
        images: shape (images, inputs), an edge for each pixel that is 1.
        bias: of every neuron.

    Raises:
        InvalidSpecError: see `require_problem`.

    Source: Davis, Aznaveh & Kolodziej 2019, "Write Quick, Run Fast: Sparse Deep Neural Network in 20 Minutes
    of Development Time via SuiteSparse:GraphBLAS", IEEE HPEC.
    """
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
    """The layer's FP32 matrix with the same value at every edge, which GraphBLAS stores once."""
    gb = graphblas()
    return layer.matrix.apply(gb.binary.second["FP32"], right=np.float32(value)).new()


def resized(images: NDArray[np.uint8], side: int) -> Layer:
    """Images as the challenge makes them of MNIST: resized, thresholded, their pixels numbered column by column.

    The official rule is not published. Fourier resampling and this threshold differ from it in 623 of the
    1,228,800 pixels of the first 1,200 images.

    Args:
        images: shape (images, rows, columns), 0 to 255.
        side: new number of rows and of columns.

    Returns:
        A layer of shape (images, side * side).
    """
    from scipy.signal import resample

    lit: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for start in range(0, len(images), AT_A_TIME):
        part = images[start : start + AT_A_TIME].astype(np.float64)
        larger = resample(resample(part, side, axis=1), side, axis=2)
        image, column, row = np.nonzero(larger.transpose(0, 2, 1) > THRESHOLD)
        lit.append((image + start, column * side + row))
    rows, pixels = (np.concatenate(parts) for parts in zip(*lit, strict=True))
    return Layer(from_edges(rows, pixels, (len(images), side * side), "images"))
