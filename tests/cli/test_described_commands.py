"""Commands take a file or a description; flags that went say what to write instead."""

import shlex

import pytest

import topokit as tk

LENET = ("--radices", "10,10", "--kron", "8,3,1", "--crop", "784,300,100")
EQUIVALENT = ("--random-equivalent", "regular")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (("verify", *LENET[:4]), "topokit verify 'radix-net radices=10,10 kron=8,3,1'"),
        (("info", "--radices", "2,2", "--radices=4"), "topokit info 'radix-net radices=2,2 radices=4'"),
        (
            ("verify", "--family", "bernoulli", "--widths", "3,3", "--density", ".5", "--topology-seed", "1", "--json"),
            "topokit verify 'bernoulli widths=3,3 density=.5 seed=1' --json",
        ),
        (
            ("draw", "a b.st", "--crop", "3,2", "-o", "x.png", "--rows"),
            """topokit draw ''"'"'a b.st'"'"' crop=3,2' -o x.png --rows""",
        ),
        (
            ("train", *LENET, "--topology-seed", "3", *EQUIVALENT, "--seed", "4"),
            "topokit train --topology 'radix-net radices=10,10 kron=8,3,1 crop=784,300,100 seed=3 "
            "random-equivalent=regular' --seed 4",
        ),
        (("train", "--topology", "a.st", "--crop", "3,2"), "topokit train --topology 'a.st crop=3,2'"),
        (
            ("challenge", *EQUIVALENT, "--like", "a.st", "--seed", "0"),
            "topokit challenge 'a.st random-equivalent=regular seed=0'",
        ),
        (
            ("mask", "--radices", "2", "--names", "a,b", "-o", "x"),
            "topokit mask 'radix-net radices=2' --names a,b -o x",
        ),
    ],
)
def test_a_flag_that_went_says_what_to_write(topokit, given, written):
    run = topokit(*given)
    assert (run.code, run.out, len(run.err.splitlines())) == (2, "", 1)
    told = run.err.partition("; write: ")[2].partition(" (see")[0]
    assert shlex.split(told) == shlex.split(written)


def test_an_option_that_never_was_is_no_flag_that_went(topokit):
    run = topokit("verify", "x", "--nonsense")
    assert "No such option" in run.err
    assert "write:" not in run.err


def test_build_and_descriptions_make_the_same(topokit, tmp_path):
    words = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100 random-equivalent=regular seed=0"
    built = topokit("build", *LENET, *EQUIVALENT, "--seed", 0, "-o", "built", "--json").json
    assert topokit("convert", words, "converted.npz", "--json").json["fingerprint"] == built["fingerprint"]
    assert topokit("info", words, "--fingerprint", "--json").json["fingerprint"] == built["fingerprint"]
    run = topokit("train", "--topology", words, "--epochs", 1, "--batch-size", 500, "--run", "run")
    assert run.code == 0, run.err
    assert tk.fingerprint(tk.load(tmp_path / "run" / "checkpoint.safetensors")) == built["fingerprint"]


def test_a_like_may_be_a_description(topokit):
    built = topokit(
        "build", "--family", "regular", "--like", "butterfly nodes=8", "--seed", 1, "-o", "a", "--json"
    ).json
    said = topokit("info", "regular like='butterfly nodes=8' seed=1", "--fingerprint", "--json").json
    assert built["fingerprint"] == said["fingerprint"]
    assert (said["file"], said["topology"]) == (None, "regular like='butterfly nodes=8' seed=1")


def test_networks_are_compared_by_their_descriptions(topokit):
    topokit("build", "--radices", "2,2", "-o", "net")
    found = topokit("compare", "net", "butterfly nodes=4", "--json").json["networks"]
    assert [one["file"] for one in found] == ["net", "butterfly nodes=4"]


def test_train_gives_parameters_their_topologies(topokit, tmp_path):
    patterns = ("--topology", "fc1: bernoulli density=.1 seed=0", "--topology", "fc2.weight: regular like=x seed=1")
    tk.save(tk.Bernoulli(widths=(300, 100), density=".2", seed=3), tmp_path / "x")
    run = topokit("train", *patterns, "--epochs", 1, "--batch-size", 500, "--run", "run", "--json")
    assert run.code == 0, run.err
    one, two = tk.formats.load_all(tmp_path / "run" / "checkpoint.safetensors")
    assert (one.names, two.names) == (("fc1.weight",), ("fc2.weight",))
    assert tk.fingerprint(one) == tk.fingerprint(tk.Bernoulli(widths=(784, 300), density=".1", seed=0))
