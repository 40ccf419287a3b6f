"""Convolutional models on the command line: several topologies, masks by name, and what is refused."""

import numpy as np
import pytest

import topokit as tk
from topokit.formats import load_all, load_masks

CONV2, FC = tk.Bernoulli(widths=(150, 16), density=".1", seed=1), tk.FixedFanIn(widths=(400, 120, 84), fan_in=9, seed=2)
TRAIN = ("train", "--model", "lenet-5-classic", "--epochs", "1", "--batch-size", "500", "--json")


@pytest.fixture
def files(tmp_path):
    """Two topologies of lenet-5-classic."""
    paths = [tmp_path / "conv2.safetensors", tmp_path / "fc.safetensors"]
    for net, path in zip((CONV2, FC), paths, strict=True):
        tk.save(net, path)
    return paths


def test_a_model_of_two_topologies(topokit, files, tmp_path):
    wired = [flag for file in files for flag in ("--topology", file)]
    told = topokit(*TRAIN, *wired, "--run", "run").json
    dense = 25 * 6 + 150 * 16 + 400 * 120 + 120 * 84 + 84 * 10 + 6 + 16 + 120 + 84 + 10
    sparse = 150 * 16 + 400 * 120 + 120 * 84 - CONV2.edges - FC.edges
    assert told["parameters"] == {"total": dense, "nonzero": dense - sparse}
    found = load_all(tmp_path / "run" / "checkpoint.safetensors")
    assert [tk.fingerprint(net) for net in found] == [tk.fingerprint(net) for net in (CONV2, FC)]
    assert topokit(*TRAIN, "--run", "run", "--resume").json["test_accuracy"] == told["test_accuracy"]
    refused = topokit(*TRAIN, "--topology", files[0], "--run", "run", "--resume")
    assert refused.code != 0
    assert "was started with another topology" in refused.err


def test_several_seeds(topokit, files):
    run = topokit(*TRAIN, "--topology", files[0], "--seeds", "0,1", "--run", "runs")
    assert [one["stacked"] for one in run.json["runs"]] == [1, 1]
    assert "the seeds are trained in turn" in run.err


def test_masks_are_a_topology_of_the_weights_they_name(topokit, tmp_path):
    random = np.random.default_rng(0)
    masks = {"conv2.weight": random.random((16, 6, 5, 5)) < 0.2, "fc2.weight": random.random((84, 120)) < 0.1}
    tk.save_masks(masks, tmp_path / "masks.safetensors")
    told = topokit(*TRAIN, "--topology", "masks.safetensors", "--run", "run").json
    gone = sum(int((~mask).sum()) for mask in masks.values())
    assert told["parameters"]["total"] - told["parameters"]["nonzero"] == gone


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--topology", "dense", "--topology", "conv2.safetensors"], "a model without topologies: give no other"),
        (
            ["--topology", "conv2.safetensors", "--topology", "fc.safetensors", "--crop", "150,16"],
            "the options of a topology are for one",
        ),
        ([], "lenet-5-classic has no topology of its own: give --topology FILE"),
    ],
)
def test_what_does_not_go_together(topokit, files, args, said):
    assert files
    run = topokit(*TRAIN, *args)
    assert (run.code != 0, run.out) == (True, "")
    assert said in run.err


@pytest.mark.parametrize(
    ("widths", "image", "name", "shape"),
    [
        ("500,50", None, "conv2.weight", (50, 20, 5, 5)),
        ("20,50", None, "conv2.weight", (50, 20, 5, 5)),
        ("3,20", "3,24,24", "conv1.weight", (20, 3, 5, 5)),
        ("1800,384", "3,24,24", "fc1.weight", (384, 1800)),
    ],
)
def test_masks_of_convolutions(topokit, tmp_path, widths, image, name, shape):
    described = ("--family", "bernoulli", "--widths", widths, "--density", ".3", "--topology-seed", "1")
    images = () if image is None else ("--image", image)
    told = topokit("mask", *described, "--model", "lenet-5", *images, "-o", "masks.safetensors", "--json").json
    assert told["masks"] == {name: list(shape)}
    net = tk.Bernoulli(widths=tuple(map(int, widths.split(","))), density=".3", seed=1)
    mask = load_masks(tmp_path / "masks.safetensors")[name]
    edges = net.layer(0).to_dense().T
    wanted = edges[:, :, None, None].repeat(5, 2).repeat(5, 3) if net.widths[0] == shape[1] < 1000 else edges
    np.testing.assert_array_equal(mask, wanted.reshape(shape))


def test_an_image_belongs_to_a_model(topokit, files):
    for args in (["--names", "a", "--image", "1,2,3"], ["--model", "lenet-5", "--image", "28,28"]):
        run = topokit("mask", files[0], *args, "-o", "masks.safetensors")
        assert run.code == 2
        assert "--image is three numbers" in run.err
