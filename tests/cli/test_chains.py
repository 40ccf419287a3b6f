"""Files of several chains: commands work chain by chain, and `chain=` chooses one."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats import save_all

NAMES = (("stem.weight",), ("conv1.weight", "conv2.weight"), ("9.weight", "out.weight"))
WIDTHS = ((4, 4), (4, 6, 4), (4, 5, 3))
JOINTS = [{"kind": "parallel", "from": ["stem.weight"], "to": ["conv1.weight", "add"]}]
CHAINS = (
    "chain=0 (4-4: stem.weight); chain=1 (4-6-4: conv1.weight, conv2.weight); chain=2 (4-5-3: 9.weight, out.weight)"
)


MODEL = """
from itertools import pairwise
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), *(nn.Linear(*ends) for ends in pairwise({})))
"""
TRAIN = ("train", "--model", "nets.py:net", "--dataset", "digits", "--epochs", 1, "--run", "run", "--topology")


@pytest.fixture
def nets(tmp_path):
    draw = np.random.default_rng(0)
    made = [
        tk.from_dense([draw.random(ends) < 0.7 for ends in pairwise(widths)], names=names)
        for widths, names in zip(WIDTHS, NAMES, strict=True)
    ]
    save_all(made, tmp_path / "net", JOINTS)
    return made


@pytest.mark.parametrize(
    ("chain", "number"), [("0", 0), ("2", 2), ("conv2", 1), ("conv1.weight", 1), ("9.weight", 2), ("9", 2), ("out", 2)]
)
def test_a_chain_is_chosen_by_its_number_or_a_layer(topokit, nets, tmp_path, chain, number):
    text = f"net chain={chain}"
    assert topokit("info", text, "--json").json["fingerprint"] == tk.fingerprint(nets[number])
    assert topokit("convert", text, "one.npz").code == 0
    assert tk.load(tmp_path / "one.npz") == nets[number]
    assert tk.topology(text) == tk.load("net", chain=chain) == nets[number]
    assert tk.topology(f"net crop={','.join('2' * len(WIDTHS[number]))} chain={chain}").widths[0] == 2
    (compared,) = topokit("compare", text, "--twins", 2, "--json").json["networks"]
    assert (compared["file"], compared["edges"]) == (text, nets[number].edges)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("chain", ["3", "-1", "fc1", "weight", "9" * 5000])
def test_a_chain_that_is_not_there(topokit, chain):
    run = topokit("info", f"net chain={chain}")
    assert (run.code, run.out, len(run.err.splitlines())) == (2, "", 1)
    assert "net has no chain" in run.err
    assert CHAINS in run.err
    with pytest.raises(InvalidSpecError, match="net has no chain"):
        tk.load("net", chain=chain)


@pytest.mark.usefixtures("nets")
def test_a_command_for_one_chain_lists_them(topokit):
    run = topokit("convert", "net", "one.npz")
    assert (run.code, run.out) == (1, "")
    assert f'net holds 3 topologies: give one, as in "net chain=0": {CHAINS}\n' in run.err
    with pytest.raises(FileFormatError, match='as in "net chain=0"'):
        tk.compare("net")


def test_digits_may_be_a_number_and_the_name_of_a_layer(topokit, nets):
    named = [tk.from_dense([[[1]]], names=["1.weight"]), *nets[1:]]
    save_all(named, "net", JOINTS, force=True)
    run = topokit("info", "net chain=1")
    assert (run.code, run.out) == (2, "")
    said = "net: 1 is the number of a chain, and chain 0 has a layer 1.weight: give the whole name of a layer, 1.weight"
    assert said in run.err
    assert "chain=0 (1-1: 1.weight); chain=conv1.weight (4-6-4: conv1.weight, conv2.weight); chain=2" in run.err
    with pytest.raises(InvalidSpecError, match="1 is the number of a chain, and chain 0 has a layer"):
        tk.load("net", chain="1")
    assert tk.load("net", chain=1) == tk.load("net", chain="conv1.weight") == named[1]
    assert tk.load("net", chain="1.weight") == tk.load("net", chain="0") == named[0]
    networks = topokit("compare", "net", "--twins", 2, "--json").json["networks"]
    assert [one["file"] for one in networks] == ["net chain=0", "net chain=conv1.weight", "net chain=2"]
    assert topokit("info", "net chain=conv1.weight", "--json").json["fingerprint"] == tk.fingerprint(named[1])


def test_a_number_of_the_chain_that_has_the_layer_of_this_name(topokit, nets):
    named = [nets[0], tk.from_dense([[[1]]], names=["1.weight"])]
    save_all(named, "net", JOINTS, force=True)
    assert topokit("info", "net chain=1", "--json").json["fingerprint"] == tk.fingerprint(named[1])


def test_only_a_file_has_chains(topokit):
    run = topokit("info", "radix-net radices=2,2 chain=0")
    assert (run.code, run.out) == (2, "")
    assert "radix-net has no option 'chain'" in run.err


def test_compare_works_chain_by_chain(topokit, nets):
    networks = topokit("compare", "net", "--twins", 2, "--json").json["networks"]
    assert [one["file"] for one in networks] == [f"net chain={i}" for i in range(3)]
    assert [one["edges"] for one in networks] == [net.edges for net in nets]
    assert all(len(one["against_twins"]["seeds"]) == 2 for one in networks)
    shown = topokit("compare", "net", "--twins", 2)
    assert f"net chain=1 (4-6-4, {nets[1].edges} edges) and 2 regular random equivalents" in shown.out
    beside = topokit("compare", "net", "net chain=1").out.splitlines()[0]
    assert beside.split("  ")[-4:] == ["net chain=0", "net chain=1", "net chain=2", "net chain=1"]


@pytest.mark.parametrize(("joints", "noted"), [(None, True), ([], False), (JOINTS, False)])
def test_info_says_if_the_joints_are_not_recorded(topokit, nets, tmp_path, joints, noted):
    save_all(nets, tmp_path / "net", joints, force=True)
    assert ("how the chains are connected is not recorded" in topokit("info", "net").err) is noted
    assert topokit("info", "net", "--json").json["joints"] == tk.formats.read_joints("net") == joints


@pytest.mark.usefixtures("nets")
def test_a_drawing_names_the_layers_of_each_chain(topokit, tmp_path):
    assert topokit("draw", "net", "-o", "net.svg").code == 0
    drawn = topokit("draw", "net", "-o", "other.svg", "--json").json
    assert [tuple(chain["widths"]) for chain in drawn["chains"]] == [*WIDTHS]
    drawn = (tmp_path / "net.svg").read_text()
    assert all(f">{', '.join(names)}</text>" in drawn for names in NAMES)
    assert "Network" not in drawn


def test_masks_are_said_to_be_chained_by_their_shapes(topokit, nets, tmp_path):
    tk.save_masks(nets[1].masks() | nets[2].masks(), tmp_path / "masks")
    note = "masks do not say how layers are connected: these are in series by their order and shapes alone"
    run = topokit("info", "masks")
    assert (run.code, run.err) == (0, f"note: {note}\n")
    assert tk.load("masks").notes == (note,)
    tk.save_masks(nets[0].masks(), tmp_path / "one")
    assert (topokit("info", "one").err, tk.load("one").notes) == ("", ())


def test_one_chain_is_trained(topokit, nets, tmp_path):
    (tmp_path / "nets.py").write_text(MODEL.format([784, 4, 6, 4, 10]))
    assert topokit(*TRAIN, "net chain=conv1").code == 0
    assert tk.load("run") == nets[1]


def test_commands_work_on_the_chains_of_a_run(topokit, nets, tmp_path):
    (tmp_path / "nets.py").write_text(MODEL.format([784, 4, 4, 6, 4, 5, 3, 10]))
    assert topokit(*TRAIN, "net chain=0", "--topology", "net chain=1", "--topology", "net chain=out").code == 0
    for source in ("run", "run/checkpoint.safetensors"):
        chains = topokit("info", source, "--json").json["chains"]
        assert [one["fingerprint"] for one in chains] == [tk.fingerprint(net) for net in nets]
        run = topokit("info", source)
        assert run.err.startswith("note: how the chains are connected is not recorded; in a run, masks are chained by")
        shown = run.out.splitlines()
        assert [line for line in shown if line.startswith("chain ")] == [
            f"chain {i}: {', '.join(names)}" for i, names in enumerate(NAMES)
        ]
        assert [one["verdict"] for one in topokit("verify", source, "--json").json["chains"]] == ["holds"] * 3
        assert "has 3 chains of layers" in topokit("draw", source, "-o", "run.svg", "--force").err
        masks = topokit("mask", source, "-o", "masks", "--force", "--json").json["masks"]
        assert [*masks] == [name for names in NAMES for name in names]
        assert topokit("info", f"{source} chain=conv2", "--json").json["fingerprint"] == tk.fingerprint(nets[1])


RESIDUAL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)
    def forward(self, x):
        x = self.stem(x)
        return self.fc((x + self.conv(x)).mean((2, 3)))

def model():
    net = Net()
    torch.nn.utils.prune.ln_structured(net.fc, "weight", 1, n=2, dim=1)
    return net, torch.ones(1, 1, 8, 8)
"""


def test_masks_of_filters_of_several_chains(topokit, tmp_path):
    (tmp_path / "nets.py").write_text(RESIDUAL)
    extracted = topokit("extract", "nets.py:model", "-o", "res")
    assert (extracted.code, extracted.err.count("read by channel")) == (0, 1)
    assert [net.names for net in tk.formats.load_all("res")] == [("stem.weight",), ("conv.weight",), ("fc.weight",)]
    assert topokit("mask", "res", "-o", "recorded").code == 0
    run = topokit("mask", "res", "--model", "nets.py:Net", "-o", "masks", "--json")
    assert Path("recorded").read_bytes() == Path("masks").read_bytes()
    assert run.json["masks"] == {"stem.weight": [4, 1, 3, 3], "conv.weight": [4, 4, 3, 3], "fc.weight": [2, 4]}
    assert run.err.count("read by channel") == 1
    assert tk.load_masks("masks")["fc.weight"].sum() == 6
    named = topokit("mask", "res", "--names", "a,b,c", "-o", "masks", "--force", "--json")
    assert named.json["masks"] == {"a.weight": [4, 1, 3, 3], "b.weight": [4, 4, 3, 3], "c.weight": [2, 4]}
    for command in ("info", "verify", "compare"):
        more = ("--twins", 2) if command == "compare" else ()
        assert topokit(command, "res", *more).err.count("read by channel") == 1


def test_names_of_the_layers_of_all_chains(topokit, tmp_path):
    names = ("onnx::Conv_85", "onnx::Conv_88", "fc.weight")
    filters = np.array([[1, 0], [0, 1], [1, 1]])
    nets = [
        tk.from_dense([edges], names=[name], by_channel=True)
        for edges, name in zip((filters.T, [[1, 1], [0, 1], [1, 0]], [[1, 0], [0, 1]]), names, strict=True)
    ]
    save_all(nets, "folded", [])
    weights = {"stem.weight": np.ones((3, 2, 2, 2)), "b.weight": np.ones((2, 3, 1)), "fc.weight": np.ones((2, 2))}
    save_file(weights, tmp_path / "model")
    apply = ("--apply", "model", "-o", "masked")
    assert "has no parameter named onnx::Conv_85" in topokit("mask", "folded", *apply).err
    assert topokit("mask", "folded", "--names", "stem,b.weight,fc", *apply).code == 0
    masked = load_file(tmp_path / "masked")
    assert np.array_equal(masked["stem.weight"], np.broadcast_to(filters[:, :, None, None], (3, 2, 2, 2)))
    assert masked["b.weight"][:, :, 0].tolist() == [[1, 0, 1], [1, 1, 0]]
    assert masked["fc.weight"].tolist() == [[1, 0], [0, 1]]
    few = topokit("mask", "folded", "--names", "stem,fc", *apply, "--force")
    assert (few.code, "2 names for 3 layers of 3 chains (1, 1, 1): name all layers" in few.err) == (2, True)
    twice = topokit("mask", "folded", "--names", "fc,stem,fc.weight", *apply, "--force")
    assert (twice.code, "--names has fc twice" in twice.err) == (2, True)


def test_masks_that_are_several_chains(topokit, tmp_path):
    masks = {"0.weight": np.ones((4, 2, 3)), "skip.weight": np.eye(4), "1.weight": np.ones((5, 4)), "out": np.eye(3)}
    masks["0.weight"][1, 0, 2] = 0
    tk.save_masks(masks, tmp_path / "masks")
    note = "masks do not say how layers are connected: these are in several chains by their order and shapes alone"
    chains = tk.formats.load_all("masks")
    assert [(net.widths, net.names) for net in chains] == [
        ((6, 4, 4, 5), ("0.weight", "skip.weight", "1.weight")),
        ((3, 3), ("out",)),
    ]
    run = topokit("info", "masks", "--json")
    assert [one["widths"] for one in run.json["chains"]] == [[6, 4, 4, 5], [3, 3]]
    assert topokit("info", "masks").err.count(note) == 1
    compared = topokit("compare", "masks", "--twins", 2, "--json").json["networks"]
    assert [(one["file"], one["edges"]) for one in compared] == [("masks chain=0", 23 + 4 + 20), ("masks chain=out", 3)]
    drawn = topokit("draw", "masks", "-o", "masks.svg", "--json").json
    assert [one["widths"] for one in drawn["chains"]] == [[6, 4, 4, 5], [3, 3]]
    assert topokit("verify", "masks").code == 0
    assert topokit("mask", "masks", "-o", "again").code == 0
    assert all(np.array_equal(mask, masks[name]) for name, mask in tk.load_masks(tmp_path / "again").items())
    assert topokit("mask", "masks", "--names", "a,b,c,d", "-o", "named").code == 0
    named = tk.load_masks(tmp_path / "named")
    assert [*named] == ["a.weight", "b.weight", "c.weight", "d.weight"]
    assert all(np.array_equal(*pair) for pair in zip(named.values(), masks.values(), strict=True))
    assert (
        "3 names for 4 layers: name all" in topokit("mask", "masks", "--names", "a,b,c", "-o", "named", "--force").err
    )
    assert tk.load("masks", chain="out").edges == 3
    with pytest.raises(FileFormatError, match="the masks must chain, in order"):
        tk.load("masks")
