"""Graph Challenge inference: both engines against the definition and the official answers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit as tk
import topokit_train.inference as fast
import topokit_train.native_inference as native_inference
from topokit import challenge
from topokit._native import description, native
from topokit.errors import InvalidSpecError
from topokit.formats import read_categories, read_images


def in_torch(*args):
    """The fast engine without the native library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "native", lambda: None)
        return fast.infer(*args)


ENGINES = pytest.mark.parametrize(
    "infer", [challenge.infer, fast.infer, in_torch], ids=["graphblas", "fast", "fast in torch"]
)


def oracle(layers, images, bias):
    """The surviving rows, from the challenge's definition, in dense FP32."""
    y = images.astype(np.float32)
    for layer in layers:
        z = y @ (layer.astype(np.float32) / 16)
        y = np.clip(np.where(z != 0, z + np.float32(bias), 0), 0, 32)
    return (np.flatnonzero(y.any(axis=1)) + 1).tolist()


def image_layer(images):
    return tk.Topology.from_dense([images]).layer(0)


@ENGINES
def test_the_official_images_give_the_official_categories(infer, golden_dir):
    folder = golden_dir / "graphchallenge"
    images = read_images(folder / "images-1024-subset.mtx", 1024)
    net = tk.GraphChallenge(neurons=1024, layers=120)
    found = infer(net, images, challenge.official_bias(1024))
    expected = [287, 295, 386, 427, 428, 529, 571, 666, 757, 943, 945, 1031, 1097, 1098, 1177, 1184, 1190, 1194, 1200]
    assert found.categories.tolist() == expected
    assert read_categories(folder / "categories-1024-l120-subset.mtx", 1200).tolist() == expected
    assert (found.rows, found.edges) == (1200, 3_932_160)
    assert found.edges_per_second == pytest.approx(1200 * 3_932_160 / found.seconds)


@ENGINES
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), density=st.floats(0.02, 0.9), bias=st.sampled_from([-1 / 16, -5 / 16, -1.0]))
def test_agrees_with_the_definition(infer, seed, density, bias):
    """In up to four layers of 40 nodes all numbers are multiples of 16^-4 below 80, which float32 adds exactly."""
    random = np.random.default_rng(seed)
    widths = random.integers(1, 40, size=random.integers(2, 6))
    layers = [random.random((a, b)) < density for a, b in pairwise(widths)]
    images = random.random((random.integers(1, 60), widths[0])) < random.random()
    found = infer(tk.Topology.from_dense(layers), image_layer(images), bias)
    assert found.categories.tolist() == oracle(layers, images, bias)


@ENGINES
def test_activations_are_cut_at_32(infer):
    full, thin = np.ones((64, 64), bool), np.eye(64, dtype=bool)
    grown = [full] * 4  # 237 where nothing is cut, which two thin layers would leave alive
    images = np.ones((3, 64), bool)
    for layers, alive in (([*grown, thin], [1, 2, 3]), ([*grown, thin, thin], [])):
        assert oracle(layers, images, -0.3) == alive
        assert infer(tk.Topology.from_dense(layers), image_layer(images), -0.3).categories.tolist() == alive


@pytest.mark.parametrize("infer", [fast.infer, in_torch], ids=["native", "torch"])
@pytest.mark.parametrize("chunk", [1, 2**25])
def test_blocks_of_images_are_put_together_and_keep_their_numbers(infer, chunk, monkeypatch):
    monkeypatch.setattr(fast, "CPU_BLOCK", 16)
    monkeypatch.setattr(native_inference, "FEWEST", 16)
    monkeypatch.setattr(native_inference, "FIRST", 1)
    monkeypatch.setattr(native_inference, "BLOCK", 16)
    monkeypatch.setattr(native_inference, "CHUNK", chunk)  # edges: then each layer is a call, or all are one
    net = tk.RadixNet(radices=[(4, 4)], kron=(4, 4, 4))
    images = np.random.default_rng(0).random((100, 64)) < np.linspace(0, 1, 100)[:, None]
    expected = oracle([layer.to_dense() for layer in net.build().stream()], images, -5 / 16)
    assert 10 < len(expected) < 90
    assert infer(net, image_layer(images), -5 / 16).categories.tolist() == expected


@ENGINES
def test_what_is_no_problem_of_this_kind_is_refused(infer):
    net = tk.RadixNet(radices=[(2, 2)])
    with pytest.raises(InvalidSpecError, match="5 pixels, but the network 4 inputs"):
        infer(net, image_layer(np.ones((2, 5))), -0.3)
    for bias in (0, 0.3, -33, float("nan")):
        with pytest.raises(InvalidSpecError, match="bias must be negative"):
            infer(net, image_layer(np.ones((2, 4))), bias)


@pytest.mark.skipif(native() is None, reason=description())
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_native_library_computes_the_same_bits_with_any_number_of_threads(threads, monkeypatch):
    """Each number of the images that are left is the definition's: all are exact in float32."""
    random = np.random.default_rng(0)
    layers = [random.random(shape) < 0.3 for shape in ((90, 130), (130, 70), (70, 80))]
    images = random.random((300, 90)) < random.random((300, 1))
    y = images.astype(np.float32)
    for layer in layers:
        z = y @ (layer / np.float32(16))
        y = np.clip(np.where(z != 0, z - np.float32(5 / 16), 0), 0, 32)
    weights = [native_inference._Weights(layer, -5 / 16) for layer in tk.Topology.from_dense(layers)]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(native_inference, "FEWEST", 100)
    monkeypatch.setattr(native_inference, "BLOCK", 1)
    blocks = native_inference._Blocks(images.astype(np.float32), 132)
    assert len(blocks.activations) > 3
    numbers, found = blocks.cross(weights)
    assert numbers.tolist() == np.flatnonzero(y.any(1)).tolist()
    assert 100 < numbers.size < 290
    assert np.array_equal(found, y[numbers])


@pytest.mark.skipif(native() is None, reason=description())
def test_layers_that_do_not_fit_are_refused():
    net = tk.RadixNet(radices=[(2, 2)])
    weights = [native_inference._Weights(layer, -1) for layer in (*net, *tk.RadixNet(radices=[(3,)]))]
    with pytest.raises(ValueError, match="outputs of a layer"):
        native_inference._Blocks(np.ones((5, 4), np.float32), 4).cross(weights)
    with pytest.raises(ValueError, match="room for the features of all layers, not 4"):
        native_inference._Blocks(np.ones((5, 4), np.float32), 4).cross(
            [native_inference._Weights(tk.RadixNet(radices=[(5,)]).layer(0), -1)]
        )


def test_official_biases():
    assert [challenge.official_bias(n) for n in (1024, 4096, 16384, 65536)] == [-0.3, -0.35, -0.4, -0.45]
    with pytest.raises(InvalidSpecError, match="no bias for 100 neurons"):
        challenge.official_bias(100)


def interpolated(signals, length):
    """The last axis at another number of points, from the definition: the waves of the shorter one, summed."""
    n = signals.shape[-1]
    waves = min(n, length)
    frequencies = np.arange(waves) - (waves - 1) // 2
    at, to = np.arange(n) / n, np.arange(length) / length
    coefficients = signals @ np.exp(-2j * np.pi * np.outer(at, frequencies)) / n
    return coefficients @ np.exp(2j * np.pi * np.outer(frequencies, to))


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 4),
    shape=st.tuples(*[st.integers(1, 7)] * 2),
    side=st.integers(1, 12),
)
def test_resized_images_are_one_strip_interpolated(seed, count, shape, side):
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    strip = np.concatenate(list(images.astype(float)), axis=1)
    magnitude = np.abs(interpolated(interpolated(strip, count * side).T, side).T)
    column_by_column = np.array([part.T.ravel() for part in np.split(magnitude, count, axis=1)])
    half = magnitude.max() / 2
    clear = ~np.isclose(column_by_column, half, rtol=1e-9)  # the last digits may fall either way
    found = challenge.resized(images, side).to_dense()
    assert found.shape == (count, side * side)
    assert ((found == (column_by_column > half)) | ~clear).all()


def test_resized_mnist_is_what_the_challenge_gives(mnist_dir, golden_dir):
    from topokit_train.datasets import load_dataset

    folder = golden_dir / "graphchallenge"
    images = challenge.resized(load_dataset("mnist", mnist_dir).train_inputs[:, 0], 32)
    official = read_images(folder / "images-1024-subset.mtx", 1024)
    first = slice(0, int(images.indptr[1200]))
    assert np.array_equal(images.indptr[:1201], official.indptr)
    assert np.array_equal(images.indices[first], official.indices)
    assert images.edges == 6_374_505  # pixels that are 1 in all the official images
    categories = fast.infer(tk.GraphChallenge(neurons=1024, layers=120), images, -0.3).categories
    assert categories.tolist() == read_categories(folder / "categories-1024-l120-all.tsv", 60_000).tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_fast_engine_on_cuda():
    net = tk.GraphChallenge(neurons=1024, layers=30)
    images = image_layer(np.random.default_rng(0).random((500, 1024)) < np.linspace(0, 0.3, 500)[:, None])
    expected = fast.infer(net, images, -0.3).categories.tolist()
    assert fast.infer(net, images, -0.3, torch.device("cuda")).categories.tolist() == expected
