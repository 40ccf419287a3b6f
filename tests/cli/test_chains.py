"""Files of several chains: commands work chain by chain, and `chain=` chooses one."""

from itertools import pairwise

import numpy as np
import pytest

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats import save_all

NAMES = (("stem.weight",), ("conv1.weight", "conv2.weight"), ("0.weight", "out.weight"))
WIDTHS = ((4, 4), (4, 6, 4), (4, 5, 3))
JOINTS = [{"kind": "parallel", "from": ["stem.weight"], "to": ["conv1.weight", "add"]}]
CHAINS = (
    "chain=0 (4-4: stem.weight); chain=1 (4-6-4: conv1.weight, conv2.weight); chain=2 (4-5-3: 0.weight, out.weight)"
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
    ("chain", "number"), [("0", 0), ("2", 2), ("conv2", 1), ("conv1.weight", 1), ("0.weight", 2), ("out", 2)]
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
    refused = topokit("mask", "res", "-o", "masks")
    assert (refused.code, "give --model, or --apply MODEL" in refused.err) == (2, True)
    run = topokit("mask", "res", "--model", "nets.py:Net", "-o", "masks", "--json")
    assert run.json["masks"] == {"stem.weight": [4, 1, 3, 3], "conv.weight": [4, 4, 3, 3], "fc.weight": [2, 4]}
    assert run.err.count("read by channel") == 1
    assert tk.load_masks("masks")["fc.weight"].sum() == 6
    named = topokit("mask", "res", "--names", "a,b,c", "-o", "masks", "--force")
    assert (named.code, "has 3 chains of layers with names of their own: omit --names" in named.err) == (2, True)
    for command in ("info", "verify", "compare"):
        more = ("--twins", 2) if command == "compare" else ()
        assert topokit(command, "res", *more).err.count("read by channel") == 1
