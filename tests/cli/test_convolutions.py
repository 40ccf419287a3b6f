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


def test_without_a_topology_the_model_is_dense_and_that_is_said(topokit):
    run = topokit(*TRAIN)
    assert run.json["parameters"]["nonzero"] == run.json["parameters"]["total"]
    assert "lenet-5-classic: dense, as no topology is given" in run.err


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
    described = f"bernoulli widths={widths} density=.3 seed=1"
    images = () if image is None else ("--image", image)
    told = topokit("mask", described, "--model", "lenet-5", *images, "-o", "masks.safetensors", "--json").json
    assert told["masks"] == {name: list(shape)}
    net = tk.Bernoulli(widths=tuple(map(int, widths.split(","))), density=".3", seed=1)
    mask = load_masks(tmp_path / "masks.safetensors")[name]
    edges = net.layer(0).to_dense().T
    wanted = edges[:, :, None, None].repeat(5, 2).repeat(5, 3) if net.widths[0] == shape[1] < 1000 else edges
    np.testing.assert_array_equal(mask, wanted.reshape(shape))


@pytest.fixture
def pruned(topokit):
    """Masks by weight of two convolutions and a linear layer; a topology by channel of them, and a copy of it."""
    random = np.random.default_rng(0)
    shapes = {"conv1.weight": (4, 1, 3, 3), "conv2.weight": (6, 4, 3, 3), "fc.weight": (5, 6 * 4)}
    tk.save_masks({name: random.random(shape) < 0.3 for name, shape in shapes.items()}, "masks.safetensors")
    assert topokit("extract", "masks.safetensors", "-o", "channels.safetensors").code == 0
    assert topokit("convert", "channels.safetensors", "copy.safetensors").code == 0
    return "masks.safetensors", "channels.safetensors", "copy.safetensors"


def test_every_command_says_that_an_edge_is_a_filter(topokit, pruned):
    note = "note: convolutions are read by channel: an edge is a filter of which at least one weight is kept\n"
    series = "note: masks do not say how layers are connected: these are in series by their order and shapes alone\n"
    for file in pruned:
        said = series + note if file == "masks.safetensors" else note
        assert topokit("info", file).err == said
        assert topokit("verify", file).err == said
        assert said in topokit("compare", file, "--twins", "2").err
        assert topokit("draw", file, "-o", "net.svg", "--force").err == said
        converted = topokit("convert", file, "net.npz", "--force").err
        assert converted == f"{said}note: net.npz holds these edges, and not which weights of a filter are kept\n"
        masked = topokit("mask", file, "--names", "a.weight,b.weight,c.weight", "-o", "m", "--force")
        assert masked.err == ("" if file == "masks.safetensors" else said)  # masks remain the same masks
    both = topokit("draw", "net.npz", "--beside", pruned[0], "-o", "net.svg", "--force").err
    assert both == (series + note).replace("note: ", f"note: {pruned[0]}: ")


def test_an_edge_that_is_a_filter_is_not_said_to_cost_one_weight(topokit, pruned):
    shown = topokit("info", pruned[0]).out
    assert "multiply-adds" not in shown
    assert "KiB" not in shown
    assert "cost: an edge stands for a whole filter" in shown
    told = topokit("info", pruned[1], "--json").json
    assert "cost" not in told["measures"]
    assert "cost" in told["skipped"]
    assert "cost" in topokit("info", pruned[0], "--measure", "cost", "--json").json["measures"]
    run = topokit("extract", pruned[0], "--conv", "weight", "--layers", "conv2", "-o", "weights.safetensors")
    assert "note" not in run.err
    assert "multiply-adds" in topokit("info", "weights.safetensors").out


def test_a_topology_by_channel_fills_a_model_behind_its_convolutions_too(topokit):
    random = np.random.default_rng(0)
    shapes = {"conv1.weight": (20, 1, 5, 5), "conv2.weight": (50, 20, 5, 5), "fc1.weight": (384, 2450)}
    masks = {name: random.random(shape) < 0.01 for name, shape in shapes.items()}
    tk.save_masks(masks, "masks.safetensors")
    assert topokit("mask", "masks.safetensors", "--model", "lenet-5", "-o", "x.safetensors").code == 0
    made = tk.load_masks("x.safetensors")
    for target, channel in np.ndindex(384, 50):
        features = slice(49 * channel, 49 * channel + 49)
        assert (made["fc1.weight"][target, features] == masks["fc1.weight"][target, features].any()).all()
