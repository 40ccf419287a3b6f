"""The README's tour: what each command prints, writes and returns."""

import json

import numpy as np
import pytest
from topokit_cli.main import COMMANDS

import topokit as tk


def test_the_first_network(topokit, tmp_path):
    built = topokit("build", "--radices", "2,2,2", "--kron", "10,10", "--json").json
    assert built["file"] == "radix-net-2.2.2-kron-1.10.10.1.safetensors"
    assert built["widths"] == [8, 80, 80, 8]
    assert built["layer_edges"] == [160, 1600, 160]
    assert (built["edges"], built["density"], built["sparsity"]) == (1920, 0.25, 0.75)
    assert built["family"] == "radix-net"
    report = topokit("verify", built["file"], "--json")
    assert report.code == 0
    assert report.json["verdict"] == "holds"
    checks = {check["check"]: check for check in report.json["checks"]}
    assert all(check["verdict"] == "holds" and check["required"] for check in checks.values())
    assert set(checks) == {"soundness", "connectivity", "path-symmetry", "regularity", "density"}
    assert checks["path-symmetry"]["values"]["paths"] == "100"
    assert checks["path-symmetry"]["error_bound"] == 0
    assert set(checks["density"]) == {
        *("check", "verdict", "reason", "values", "witness", "method", "error_bound", "required", "seconds")
    }
    assert topokit("draw", built["file"], "-o", "net.svg").code == 0
    assert "<svg" in (tmp_path / "net.svg").read_text()
    info = topokit("info", built["file"], "--json").json
    bands = [f"band: radix 2, stride {stride}, length {8 // stride}, forward" for stride in (1, 2)]
    expected = {**built, "structure": [f"{bands[0]}, x 1 x 10", f"{bands[1]}, x 10 x 10", "4 blocks of 20 x 2"]}
    assert {key: info[key] for key in expected} == expected
    assert "  4 blocks of 20 x 2\n" in topokit("info", built["file"]).out


def test_one_density_for_the_whole_network_is_divided_among_its_layers(topokit):
    options = ("--widths", "784,300,100,10", "--density", ".05", "--allocation", "erk", "--seed", "0")
    fixed = topokit("build", "--family", "fixed-fan-in", *options, "--json").json
    assert fixed["layer_edges"] == [9051, 3340, 919]  # 13310 / 1594 times 1084, 400 and 110
    assert abs(topokit("build", "--family", "bernoulli", *options, "--json").json["edges"] - 13310) < 600
    assert topokit("verify", fixed["file"], "--json").json["verdict"] == "holds"


def test_the_papers_network_and_its_twins(topokit, tmp_path):
    radix = ("--radices", "10,10", "--kron", "8,3,1", "--crop", "784,300,100")
    assert topokit("build", *radix, "-o", "radix.safetensors", "--json").json["layer_edges"] == [23520, 3000]
    assert topokit("verify", "radix.safetensors", "--json").json["verdict"] == "holds"
    for kind in ("regular", "fixed-fan-in"):
        made = topokit(
            "build", "--random-equivalent", kind, "--like", "radix.safetensors", "--seed", 0, "-o", kind, "--json"
        )
        assert made.json["layer_edges"] == [23520, 3000]
    net, twin = tk.load(tmp_path / "radix.safetensors"), tk.load(tmp_path / "regular")
    for one, two in zip(net.stream(), twin.stream(), strict=True):
        a, b = one.to_dense(), two.to_dense()
        assert np.array_equal(a.sum(0), b.sum(0))
        assert np.array_equal(a.sum(1), b.sum(1))
        assert not np.array_equal(a, b)
    assert topokit("verify", "./regular").code == 0
    # the same twin, described instead of read
    again = topokit(
        "build", *radix, "--random-equivalent", "regular", "--topology-seed", 0, "-o", "again", "--json"
    ).json
    assert again["fingerprint"] == tk.load(tmp_path / "regular").recorded_fingerprint


def test_the_bernoulli_twin_is_not_connected_and_says_where(topokit):
    bernoulli = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100 random-equivalent=bernoulli seed=0"
    assert topokit("verify", bernoulli).code == 0  # it promises nothing, so nothing is required
    report = topokit("verify", bernoulli, "--require", "connectivity", "--json")
    assert report.code == 3
    check = next(check for check in report.json["checks"] if check["check"] == "connectivity")
    dense = [
        layer.to_dense().astype(int)
        for layer in tk.Bernoulli.equivalent_to(
            tk.crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100)), 0
        ).stream()
    ]
    paths = dense[0] @ dense[1]
    assert paths[check["witness"]["input"], check["witness"]["output"]] == 0
    assert check["values"]["disconnected_pairs"] == int((paths == 0).sum())


def test_masks_by_model_and_by_name_are_transposed_layers(topokit, tmp_path):
    radix = ("--radices", "10,10", "--kron", "8,3,1", "--crop", "784,300,100")
    described = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"
    made = topokit("mask", described, "--model", "lenet-300-100", "-o", "masks.safetensors", "--json").json
    assert made["masks"] == {"fc1.weight": [300, 784], "fc2.weight": [100, 300]}
    topokit("build", *radix, "-o", "radix.safetensors")
    assert tk.fingerprint(tk.load(tmp_path / "masks.safetensors")) == tk.fingerprint(
        tk.load(tmp_path / "radix.safetensors")
    )
    named = topokit("mask", "radix.safetensors", "--names", "a.weight,b.weight", "-o", "named.safetensors")
    assert named.code == 0
    assert "a.weight_mask  300 x 784, 23,520 of 235,200 kept" in named.out
    wrong = topokit("mask", "radix-net radices=2,2", "--model", "lenet-300-100", "-o", "none")
    assert wrong.code == 2
    assert not (tmp_path / "none").exists()
    uncropped = topokit("mask", "radix-net radices=10,10 kron=8,3,1", "--model", "lenet-300-100", "-o", "none")
    assert "crop=784,300,100 fits" in uncropped.err


@pytest.mark.parametrize(
    ("target", "options"),
    [("net.npz", ()), ("net.graphml", ()), ("folder", ("--to", "matrix-market")), ("folder", ("--to", "tsv"))],
)
def test_convert_there_and_back(topokit, target, options):
    built = topokit("build", "--radices", "2,3", "--kron", "2,2,2", "-o", "net.safetensors", "--json").json
    assert topokit("convert", "net.safetensors", target, *options).code == 0
    back = topokit("convert", target, "back.safetensors", "--json").json
    assert back["fingerprint"] == built["fingerprint"]


@pytest.mark.parametrize(
    "style", [(), ("--style", "pattern"), ("--trace", "3"), ("--rows",), ("--steps",), ("--kron-steps",)]
)
def test_every_picture(topokit, tmp_path, style):
    assert topokit("draw", "radix-net radices=2,2,2 kron=1,2,2,1", *style, "-o", "net.png").code == 0
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_every_command_has_help(topokit):
    listed = topokit("--help")
    assert listed.code == 0
    for name, text in COMMANDS.items():
        assert text in listed.out
        shown = topokit(name, "--help")
        assert shown.code == 0
        assert "--json" in shown.out


def test_train_trains_on_the_embedded_digits(topokit, tmp_path):
    trained = topokit("train", "--epochs", 1, "--run", "run", "--json").json
    assert trained["parameters"]["nonzero"] == 27930
    assert 0.2 < trained["test_accuracy"] <= 1
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == trained
    assert topokit("train", "--epochs", 1, "--run", "run", "--resume", "--json").json == trained
    assert tk.fingerprint(tk.load(tmp_path / "run" / "checkpoint.safetensors")) == tk.fingerprint(
        tk.crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))
    )


@pytest.mark.parametrize(
    ("options", "nonzero"),
    [
        (("--topology", "dense"), 266610),
        (("--topology", "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"), 27930),
        (("--topology", "masks.safetensors"), 27930),
        (("--model", "mlp", "--topology", "masks.safetensors"), 27930),
    ],
)
def test_train_takes_any_topology(topokit, options, nonzero):
    radix = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"
    topokit("mask", radix, "--model", "lenet-300-100", "-o", "masks.safetensors")
    trained = topokit("train", *options, "--epochs", 1, "--json").json
    assert trained["parameters"] == {"total": 266610, "nonzero": nonzero}


def test_workers_prove_the_same(topokit):
    net = "graph-challenge neurons=1024 layers=12"
    alone, shared = (topokit("verify", net, *more, "--json").json for more in ((), ("--workers", 2)))
    for report in (alone, shared):
        for check in report["checks"]:
            del check["seconds"]
    assert alone == shared
    assert alone["verdict"] == "holds"
