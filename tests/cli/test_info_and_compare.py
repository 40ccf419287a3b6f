"""`topokit info` and `topokit compare`: what they print and their JSON."""

import re

import numpy as np
import pytest

import topokit as tk
from topokit.measures import MEASURES

SCALARS = {label for name in MEASURES for label in MEASURES[name].scalars}
ON_REQUEST = {"paths", "sampled-paths"}

LENET = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"
PRUNED = [np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]]), np.array([[1, 0], [0, 1], [1, 1], [0, 0]])]


@pytest.fixture
def pruned(tmp_path):
    """A file of masks of a pruned network: dead units, an empty row, an empty column and an unjoined pair."""
    tk.save_masks({f"fc{i}.weight": layer.T for i, layer in enumerate(PRUNED)}, tmp_path / "pruned")
    return "pruned"


def test_a_researcher_sees_everything_at_a_glance(topokit):
    shown = topokit("info", LENET).out
    lines = dict(re.findall(r"^(\S[a-z0-9 -]*?)  +(.*)$", shown, flags=re.MULTILINE))
    assert lines["paths"] == "3 from every input to every output"
    assert lines["no path"] == "0 pairs of an input and an output"
    assert lines["dead units"] == "0"
    assert lines["end to end"] == "sigma_1 = 2^9.714, sigma_2 / sigma_1 = 0"
    assert (lines["parameters"], lines["float32"][:14]) == ("26,520 weights, 400 biases", "106,080 bytes ")
    assert lines["inputs"] == "30 edges each"
    assert lines["modularity"].startswith("0.")
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert rows[-5] == "1 300 100 3,000 0.1 3,000 10 30 17.32 17.32 -8.935 10 x 10 10 blocks of 30 x 10"
    assert rows[-3] == "layer Gini out top 10 % out Gini in top 10 % in assortativity 4-cycles clustering"
    assert rows[-1] == "1 0 0.1 0 0.1 - 195,750 1"
    assert "skipped" not in shown


def test_a_pruned_network(topokit, pruned):
    shown = topokit("info", pruned).out
    for line in (
        "dead units     2: 2 in node layer 1\n               1 that no input reaches, 1 that reach no output\n",
        "inputs         1 to 3 edges each, most at input 0\n",
        "no path        1 pairs of an input and an output, the first from input 2 to output 1\n",
        "effective      7 edges, density 0.35\n",
        "paths          0 to 1 per pair, mean 0.8333, median 1, coefficient of variation 0.4472\n",
    ):
        assert line in shown
    assert re.search(r"^modularity +0\.\d+, communities by Louvain's method: \d$", shown, flags=re.MULTILINE)
    about = topokit("info", pruned, "--json").json
    assert {*about["measures"]} == {*MEASURES} - ON_REQUEST
    assert about["measures"]["effective"]["dead_units"] == [0, 2, 0]
    assert about["structure"] == about["measures"]["structure"]["layers"] == ["none", "1:2 along the sources, fan-in 2"]
    assert about["skipped"] == {}


def test_the_description_of_a_topology_that_has_a_recipe(topokit, pruned):
    described = "radix-net radices=2,2,2 kron=1,3,3,1 crop=6,20,20,7"
    topokit("build", "--radices", "2,2,2", "--kron", "3,3", "--crop", "6,20,20,7", "-o", "net")
    assert f"\ndescription    {described}\n" in topokit("info", "net").out
    about = topokit("info", "net", "--json").json
    assert about["description"] == described
    assert tk.fingerprint(tk.topology(described)) == about["fingerprint"]
    assert topokit("info", pruned, "--json").json["description"] is None
    assert "description" not in topokit("info", pruned).out


def test_a_long_description_is_cut_in_the_table_alone(topokit):
    long = f"permute of='butterfly nodes=64' permutations={','.join(map(str, range(64)))}{';none' * 6}"
    (line,) = [line for line in topokit("info", long).out.splitlines() if line.startswith("description ")]
    name, text = line.split(maxsplit=1)
    assert (name, len(text), text[-3:]) == ("description", 160, "...")
    assert topokit("info", long, "--json").json["description"].startswith(text[:-3])


def test_a_network_without_edges(topokit, tmp_path):
    tk.save(tk.Topology.from_dense([np.zeros((3, 2)), np.zeros((2, 2))]), tmp_path / "empty")
    shown = topokit("info", "empty")
    assert shown.code == 0
    assert "end to end     no path, so no singular value\n" in shown.out
    assert "modularity     undefined without edges\n" in shown.out
    assert "inputs         0 edges each\n" in shown.out
    assert "dead units     7: 3 in node layer 0, 2 in node layer 1, 2 in node layer 2\n" in shown.out
    assert topokit("info", "empty", "--json").json["measures"]["end-to-end"] == {"log2_largest": None, "ratios": []}
    assert topokit("compare", "empty", "--twins", 3).code == 0


def test_named_measures_alone(topokit):
    shown = topokit("info", LENET, "--measure", "paths", "--measure", "sampled-paths")
    assert "paths          min 3, max 3, min_pair (0, 0), max_pair (0, 0)\n" in shown.out
    assert (
        "disconnected_share (estimate 0, low 0, high 0.003682), median (estimate 3, low 3, high 3), min 3" in shown.out
    )
    assert "sigma_1" not in shown.out
    about = topokit("info", LENET, "--measure", "cost", "--json").json
    assert ({*about["measures"]}, about["structure"]) == ({"cost"}, None)
    assert topokit("info", LENET, "--measure", "nonsense").code == 2


def test_what_is_left_out_of_a_huge_network_and_how_to_ask_for_it(topokit):
    shown = topokit("info", "graph-challenge neurons=65536 layers=1920").out
    assert "skipped        degrees: may take 32 s (--measure degrees takes it)\n" in shown
    assert shown.splitlines()[-1].split() == ["0..1919", "65,536", "65,536", "2,097,152", "0.0004883"]


def test_neighbouring_layers_that_read_the_same_share_a_line(topokit):
    shown = topokit("info", "radix-net radices=2,2 radices=4 radices=4", "--measure", "spectra").out
    rows = [line.split() for line in shown.splitlines()[-3:]]
    assert [(row[0], row[-1]) for row in rows] == [("0", "0.5858"), ("1", "0"), ("2..3", "3.464")]


def test_networks_beside_each_other(topokit, pruned):
    topokit("convert", LENET, "radix")
    shown = topokit("compare", "radix", pruned)
    assert shown.err.startswith("note: pruned: masks do not say how layers are connected")
    assert shown.err.count("note: ") == 1
    rows = {line[:26].strip(): line[26:].split() for line in shown.out.splitlines()}
    assert rows["widths"] == ["784-300-100", "3-4-2"]
    assert rows["edges"] == ["26,520", "10"]
    assert rows["disconnected pairs"] == ["0", "1"]
    assert rows["dead units"] == ["0", "2"]
    assert "random" not in shown.out
    networks = topokit("compare", "radix", pruned, "--json").json["networks"]
    assert [network["file"] for network in networks] == ["radix", "pruned"]
    assert [network["against_twins"] for network in networks] == [None, None]
    assert all({*network["values"]} == SCALARS for network in networks)


def test_one_network_against_chance(topokit):
    topokit("build", "--radices", "2,2,2", "--kron", "10,10", "-o", "net")
    (network,) = topokit("compare", "net", "--json").json["networks"]
    against = network["against_twins"]
    assert (against["kind"], against["seeds"], against["skipped"]) == ("regular", [*range(20)], {})
    assert against["comparisons"]["variation of paths"]["verdict"] == "structure"
    assert against["comparisons"]["density"]["z"] is None
    assert against["comparisons"]["clustering"]["verdict"] == "structure"
    assert against["comparisons"]["mean Gini of in-degrees"]["verdict"] is None  # the twins have the same degrees
    assert "undecided" not in topokit("compare", "net").out
    shown = topokit("compare", "net", "--twins", 4, "--kind", "bernoulli", "--topology-seed", 9)
    assert "net (8-80-80-8, 1,920 edges) and 4 bernoulli random equivalents, seeds 9 to 12\n" in shown.out
    assert "4 random networks" in shown.err


def test_equal_twins_prove_nothing_and_that_is_said(topokit):
    """All nodes of all twins of LeNet's RadiX-Net have neighbours of their own, so that no spread is to be seen."""
    topokit("convert", LENET, "radix")
    shown = topokit("compare", "radix", "--twins", 3).out
    (line,) = re.findall(r"^quotient edges +1,010 +26,520 .*$", shown, flags=re.MULTILINE)
    assert line.split()[-6:] == ["0", "-", "0.5", "0.5", "0.5", "undecided"]
    assert "undecided: all random networks are equal, and so few of them prove nothing: use more --twins\n" in shown


def test_a_dense_network_is_one_line(topokit):
    dense = "bernoulli widths=3,4,2 density=1 seed=0"
    said = (
        f"{dense} (3-4-2, 20 edges) has all edges, as every random equivalent of it has: there is nothing to compare\n"
    )
    assert topokit("compare", dense, "--twins", 2).out == said
    beside = topokit("compare", dense, "bernoulli widths=3,4,2 density=.5 seed=0", "--twins", 2).out
    assert f"\n{said}" in beside
    assert beside.count("adjusted_p") == 1


def test_equal_values_everywhere_are_explained_below_the_table(topokit):
    shown = topokit("compare", "bernoulli widths=64,2 density=.1 seed=0", "--twins", 2).out
    assert shown.endswith(
        "\nthere is nothing to compare: each measure is undefined, or the random networks have the same value as the "
        "network\n"
    )


@pytest.mark.parametrize("option", [("--kind", "bernoulli"), ("--topology-seed", 0)])
def test_several_without_twins_have_no_kind_of_them(topokit, pruned, option):
    run = topokit("compare", pruned, pruned, *option)
    assert (run.code, run.out) == (2, "")
    assert f"{option[0]} needs --twins: several topologies have no random networks by default" in run.err
    assert topokit("compare", pruned, pruned, "--twins", 2, *option).code == 0


@pytest.mark.parametrize(
    "label",
    ["net", "net crop=3,4,4", "net crop=3,4,4 crop-keep=last", "net crop=3,4,4 random-equivalent=regular seed=0"],
)
def test_what_is_made_of_a_file_is_called_by_its_description(topokit, label):
    topokit("build", "--radices", "2,2", "-o", "net")
    assert topokit("verify", label).out.splitlines()[0].startswith(f"{label}: ")
    assert topokit("info", label).out.splitlines()[0] == f"file           {label}"
    for command in (("verify", label), ("info", label), ("draw", label, "-o", "net.png")):
        told = topokit(*command, "--json").json
        assert (told["file"], told["topology"]) == ("net", label)


def test_each_of_several_against_chance(topokit, pruned):
    topokit("build", "--radices", "2,2", "-o", "net")
    networks = topokit("compare", "net", pruned, "--twins", 3, "--json").json["networks"]
    assert [len(network["against_twins"]["seeds"]) for network in networks] == [3, 3]
    shown = topokit("compare", "net", pruned, "--twins", 3).out
    assert "net (4-4-4, 16 edges) and 3 regular random equivalents" in shown
    assert "pruned (3-4-2, 10 edges) and 3 regular random equivalents" in shown
