"""`topokit prune`."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file

from topokit.formats import load_masks
from topokit_train.datasets import load_dataset
from topokit_train.models.networks import MNIST, model_source

SHORT = ("prune", "--epochs", 2, "--batch-size", 300, "--begin", 0, "--end", 1)


def test_a_report_for_programs(topokit):
    report = topokit(*SHORT, "--to", ".5,.9", "--run", "run", "--json").json
    assert report["sparsity"] == 0.9
    assert [saved["target"] for saved in report["topologies"]] == [0.5, 0.9]
    info = topokit("info", report["topologies"][1]["file"], "--json").json
    assert (info["widths"], info["edges"]) == ([784, 300, 100, 10], 26_620)
    again = topokit("prune", "--run", "run", "--resume", "--json").json
    assert again == report
    trained = topokit("train", "--topology", "run/topology-0.9.safetensors", "--epochs", 1, "--json").json
    assert trained["parameters"]["nonzero"] == 26_620 + 410


def test_a_table_for_people(topokit):
    shown = topokit(*SHORT, "--to", ".5,.9", "--scope", "global", "--keep", "fc3", "--keep", "fc2").out.splitlines()
    assert shown[0].startswith("test accuracy")
    assert shown[-3].split() == ["saved", "sparsity", "edges", "step", "test", "before", "after"]
    assert shown[-2].split()[:4] == ["topology-0.5.safetensors", "50.00%", "117,600", "3"]
    assert shown[-1].split()[:4] == ["topology-0.9.safetensors", "90.00%", "23,520", "10"]


def test_several_seeds_in_one_report(topokit):
    report = topokit(*SHORT, "--to", ".9", "--seeds", "0-1", "--run", "runs", "--json").json
    assert [(run["seed"], run["sparsity"], run["stacked"]) for run in report["runs"]] == [(0, 0.9, 2), (1, 0.9, 2)]
    assert report["mean"] == pytest.approx(sum(run["test_accuracy"] for run in report["runs"]) / 2)
    shown = topokit("prune", "--run", "runs", "--resume").out.splitlines()
    assert shown[-1].split()[:4] == ["topology-0.9.safetensors", "90.00%", "26,620", "10"]


def test_a_run_that_replaces_one_leaves_none_of_its_files(topokit, tmp_path):
    assert topokit(*SHORT, "--to", ".5,.9", "--rewind", "initial", "--run", "run").code == 0
    assert topokit("train", "--epochs", 1, "--run", "run", "--force").code == 0
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json", ".lock"}


def test_a_pruned_convolutional_model_is_a_file_of_masks_to_train_on(topokit, tmp_path, monkeypatch):
    digits = load_dataset("digits")
    few = dataclasses.replace(digits, train_inputs=digits.train_inputs[:200], train_targets=digits.train_targets[:200])
    monkeypatch.setattr("topokit_train.runs.train.load_dataset", lambda *_: few)
    short = ("--model", "lenet-5", "--epochs", 1, "--batch-size", 50, "--json")
    report = topokit("prune", *short, "--to", ".5,.9", "--begin", 0, "--end", 1, "--rewind", "initial").json
    file, run = report["topologies"][1]["file"], tmp_path / report["run"]
    masks, weights = load_masks(tmp_path / file), load_file(run / "checkpoint.safetensors")
    shapes = {name: weight.shape for name, weight in model_source("lenet-5").weights(MNIST).items()}
    assert {name: mask.shape for name, mask in masks.items()} == shapes
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, weights[name] != 0)
        assert np.count_nonzero(mask) == mask.size - round(0.9 * mask.size)
    ticket = ("--topology", file, "--weights", run / "rewind.safetensors")
    assert topokit("train", *short, *ticket).json["parameters"] == report["parameters"]


def test_help_does_not_load_torch(topokit, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    shown = topokit("prune", "--help").out
    assert all(flag in shown for flag in ("--to", "--begin", "--keep", "--seeds", "--rewind", "--biases / --no-biases"))
