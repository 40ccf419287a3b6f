"""What a message advises works: the advice is taken out of the message and followed."""

import re
import shlex

import numpy as np
import pytest

import topokit as tk
from topokit.formats import load_masks

QUICK = ("--epochs", "1", "--json")


def said(run, pattern):
    """What the message of a refused command says where a pattern has a group."""
    assert (run.code != 0, run.out) == (True, ""), run.err
    found = re.search(pattern, run.err)
    assert found, run.err
    return found[1]


def few(tmp_path, shape):
    """Write a dataset of 40 samples of this shape, and return its name."""
    part = f"np.zeros((40, *{shape}), np.float32), np.arange(40) % 10"
    (tmp_path / "data.py").write_text(f"import numpy as np\n\ndef data():\n    return {part}, {part}\n")
    return ("--dataset", "data.py:data")


@pytest.fixture
def filters(tmp_path):
    random = np.random.default_rng(0)
    shapes = {"conv1.weight": (20, 1, 5, 5), "conv2.weight": (50, 20, 5, 5), "fc1.weight": (384, 2450)}
    tk.save_masks({name: random.random(shape) < 0.05 for name, shape in shapes.items()}, tmp_path / "m.safetensors")
    return "m.safetensors"


def test_data_of_other_sizes_than_the_default_topology(topokit, tmp_path):
    train = ("train", *few(tmp_path, (3, 5, 5)), *QUICK)
    described = said(topokit(*train), r"give --topology '([^']*)'")
    assert topokit(*train, "--topology", described).json["parameters"]["nonzero"] > 0
    assert topokit(*train, "--topology", said(topokit(*train), r"another one or (\w+)$")).code == 0


def test_a_topology_with_too_few_inputs(topokit, tmp_path):
    train = ("train", *few(tmp_path, (1, 28, 28)), *QUICK)
    narrow = topokit(*train, "--topology", "bernoulli widths=400,300,100 density=.1 seed=0")
    fitted = topokit("fit", said(narrow, r"topokit fit '([^']*)' proposes"))
    build = next(line for line in fitted.out.splitlines() if line.startswith("topokit build"))
    assert topokit(*shlex.split(build, comments=True)[1:], "-o", "net.safetensors").code == 0
    assert topokit(*train, "--topology", "net.safetensors").code == 0


def test_a_topology_with_too_many_inputs(topokit, tmp_path):
    train = ("train", *few(tmp_path, (1, 28, 28)), *QUICK, "--topology")
    described = "bernoulli widths=800,300,100 density=.1 seed=0"
    assert topokit(*train, f"{described} {said(topokit(*train, described), r'(crop=[0-9,]*) fits')}").code == 0


def test_a_topology_of_other_widths(topokit, tmp_path):
    described = "bernoulli widths=784,40,20,10 density=.1 seed=0"
    train = ("train", *few(tmp_path, (1, 28, 28)), *QUICK, "--topology", described)
    model = said(topokit(*train), r"or give --model (\w+), which has the widths of the topology")
    assert topokit(*train, "--model", model).json["parameters"]["total"] == 785 * 40 + 41 * 20 + 21 * 10
    assert model == said(topokit(*train, "--seeds", "0,1"), r"or give --model (\w+), which has the widths")


@pytest.mark.parametrize("given", [(), ("--topology", "dense")])
def test_a_dense_perceptron_of_given_widths(topokit, tmp_path, given):
    train = ("train", *few(tmp_path, (1, 28, 28)), *QUICK, "--model", "mlp")
    refused = topokit(*train, *given)
    parameters = topokit(*train, "--topology", said(refused, r"such as '([^']*)'")).json["parameters"]
    assert parameters["nonzero"] == parameters["total"] == 785 * 300 + 301 * 100 + 101 * 10
    assert "as no topology is given" not in refused.err


def test_filters_need_a_model_for_their_masks(topokit, tmp_path, filters):
    assert topokit("convert", filters, "net.safetensors").code == 0  # a topology of whole filters
    flag = said(topokit("mask", "net.safetensors", "-o", "x.safetensors"), r"give (--\w+), or")
    assert topokit("mask", "net.safetensors", flag, "lenet-5", "-o", "x.safetensors").code == 0
    assert load_masks(tmp_path / "x.safetensors")["conv2.weight"].shape == (50, 20, 5, 5)


def test_a_checkpoint_of_several_topologies(topokit, tmp_path, filters):
    train = ("train", *few(tmp_path, (1, 28, 28)), *QUICK)
    assert topokit(*train, "--model", "lenet-5", "--topology", filters, "--run", "run").code == 0
    for command in (("info",), ("mask", "-o", "x.safetensors"), ("draw", "-o", "x.png")):
        assert topokit(command[0], "run/checkpoint.safetensors", *command[1:]).code == 0
    refused = topokit("convert", "run/checkpoint.safetensors", "net.safetensors")
    chain = said(refused, r'give one, as in "([^"]*)"')
    assert topokit("convert", chain, "net.safetensors").code == 0


def test_a_format_that_is_a_folder(topokit, tmp_path):
    for target, named in (("x.mtx", r"such as (\w+), and"), ("x/", "()")):
        refused = topokit("convert", "radix-net radices=2,2", target)
        folder = said(refused, named) or target
        to = said(refused, r"choose (--to=[\w-]*)")
        assert topokit("convert", "radix-net radices=2,2", folder, to, "--force").code == 0
        assert len(list((tmp_path / "x").glob("*.mtx"))) == 2
