"""challenge: the Sparse DNN Graph Challenge's inference on a topology; imports torch for the fast engine alone."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

from topokit.challenge import Inference, infer, official_bias, resized
from topokit.errors import InvalidSpecError, needing
from topokit.fields import one_of, path_of
from topokit.formats import read_images
from topokit.layered import Layer, Source, network
from topokit.reprs import counted

ENGINES = ("graphblas", "fast")


def challenge(
    source: Source,
    images: str | Path | Layer,
    *,
    data_dir: str | Path | None = None,
    engine: str = "graphblas",
    device: str | None = None,
    bias: float | None = None,
) -> Inference:
    """Run the Graph Challenge's inference on a topology and return the categories: the rows that are not all zero.

    Args:
        source: a topology, its description or its file.
        images: a .tsv or .mtx file; "mnist", which is resized; or a layer, see `topokit.challenge.infer`.
        data_dir: folder of the MNIST files.
        engine: "graphblas", or "fast", which needs torch.
        device: of the fast engine, such as cuda or cuda:1; the CPU if omitted.
        bias: of every neuron; the official one for this width if omitted.

    Raises:
        InvalidSpecError: no such engine or device; images of another size; no official bias for this width.
        MissingDependencyError: torch is not installed.
        TopokitError: a file cannot be read.
    """
    if engine not in ENGINES:
        raise InvalidSpecError(f"`engine` must be one of {one_of(engine, ENGINES)}")
    if device and engine != "fast":
        raise InvalidSpecError(f"`device` is for `engine` fast: {engine} runs on the CPU alone")
    net = network(source)
    bias = official_bias(net.widths[0]) if bias is None else bias
    if engine == "graphblas":
        return infer(net, _images(images, net.widths[0], data_dir), bias)
    with needing("the fast engine"):
        from topokit_train.inference import infer as fast_infer
        from topokit_train.machine import resolve_device
    place = resolve_device(device or "cpu")
    return fast_infer(net, _images(images, net.widths[0], data_dir), bias, place)


def _images(images: str | Path | Layer, pixels: int, data_dir: str | Path | None) -> Layer:
    if isinstance(images, Layer):
        return images
    if images != "mnist":
        return read_images(path_of(images, "`images`"), pixels)
    from topokit_train.datasets import load_dataset

    if isqrt(pixels) ** 2 != pixels:
        raise InvalidSpecError(f"`images` mnist makes square images, but the network has {counted(pixels, 'input')}")
    return resized(load_dataset("mnist", data_dir).train_inputs[:, 0], isqrt(pixels))
