"""Whole pruning runs: what they leave behind, and going on with them."""

import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

import topokit as tk
from topokit.errors import InvalidSpecError, OutputExistsError
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs.checkpoints import load
from topokit_train.runs.resuming import recorded
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_seeds

SLOTS = ("fc1.weight", "fc2.weight", "fc3.weight")
SAVED = ("topology-0.5.safetensors", "topology-0.9.safetensors", "topology-0.95.safetensors")


def assert_same_pruning(one, two):
    """All that two runs leave behind is equal, bit for bit, but for times and the runs' own names."""
    names = {path.name for path in one.iterdir()}
    assert names == {path.name for path in two.iterdir()}
    for name in names - {"checkpoint.safetensors", "metrics.jsonl", "result.json"}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    a, b = (load(folder / "checkpoint.safetensors") for folder in (one, two))
    assert a.tensors.keys() == b.tensors.keys()
    assert all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)
    assert (a.origin, a.method, a.scheduler) == (b.origin, b.method, b.scheduler)
    told = [json.loads((folder / "result.json").read_text().replace(str(folder), "")) for folder in (one, two)]
    for result in told:
        result.pop("train_seconds")
    assert told[0] == told[1]


def test_what_a_run_leaves_behind(gradual, straight):
    folder, result = straight
    assert {path.name for path in folder.iterdir()} == {
        *(".lock", "checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json", "rewind.safetensors"),
        *SAVED,
    }
    assert PruneConfig.from_json(json.loads((folder / "config.json").read_text())) == gradual
    told = json.loads((folder / "result.json").read_text())
    assert list(told) == [
        *("run", "model", "dataset", "kernel", "device", "seed", "epochs", "test_accuracy"),
        *("metric", "better", "test_metric", "test_metrics"),
        *("stacked", "train_seconds", "parameters", "dead_classes", "dead_units", "effective_sparsity"),
        *("sparsity", "topologies"),
    ]
    assert told == result.to_json()
    assert told["sparsity"] == 0.95
    assert told["parameters"] == {"total": 266_610, "nonzero": 13_310 + 410}
    assert [saved["file"] for saved in told["topologies"]] == [f"{folder}/{name}" for name in SAVED]
    assert [saved["sparsity"] for saved in told["topologies"]] == [0.5, 0.9, 0.95]
    assert [saved["edges"] for saved in told["topologies"]] == [133_100, 26_620, 13_310]


def test_metrics_say_how_sparse_the_network_is_after_each_epoch(straight):
    rows = [json.loads(line) for line in (straight[0] / "metrics.jsonl").read_text().splitlines()]
    # after steps 5, 10 and 15 of a pruning from step 3 to step 10; a layer's zeros are a whole number
    share = 0.95 * (1 - (1 - 2 / 7) ** 3)
    assert [row["sparsity"] for row in rows] == [pytest.approx(share, abs=1e-5), 0.95, 0.95]
    assert [metrics.sparsity for metrics in load(straight[0] / "checkpoint.safetensors").metrics] == [
        row["sparsity"] for row in rows
    ]


def test_a_run_that_goes_on_remembers_the_threshold_of_the_last_pruning(gradual, straight, tmp_path, stopped):
    def levels(folder):
        return [json.loads(line)["threshold"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    stopped(lambda: train(gradual, run=tmp_path), 2)  # after the last pruning
    train(gradual, run=tmp_path, resume=True)
    assert levels(tmp_path) == levels(straight[0])
    assert 0 < levels(tmp_path)[0] < levels(tmp_path)[1] == levels(tmp_path)[2]


def test_the_papers_recipe_keeps_exact_zeros(tmp_path):
    config = PruneConfig(recipe="paper", epochs=3, batch_size=100, to=(0.5, 0.8))
    assert (config.optimizer, config.momentum, config.l2, config.relu_logits) == ("sgd", 0, 0.004, True)
    result = train(config, run=tmp_path)
    tensors = load(tmp_path / "checkpoint.safetensors").tensors
    for name, mask in tk.masks(tk.load(tmp_path / "topology-0.8.safetensors"), SLOTS).items():
        np.testing.assert_array_equal(mask, tensors[name] != 0)
        assert np.count_nonzero(mask) == mask.size // 5
    assert result.test_accuracy > 0.5


def test_the_last_topology_is_the_pattern_of_the_checkpoint(straight):
    net = tk.load(straight[0] / SAVED[-1])
    tensors = load(straight[0] / "checkpoint.safetensors").tensors
    for name, mask in tk.masks(net, SLOTS).items():
        np.testing.assert_array_equal(mask, tensors[name] != 0)
        np.testing.assert_array_equal(mask.ravel(), np.unpackbits(tensors[f"method.mask.{name}"], count=mask.size))
    assert any((np.diff(layer.indptr.astype(int)) == 0).any() for layer in net.stream()), "a dead unit is no error"
    before = tk.load(straight[0] / SAVED[0])
    for small, large in zip(net.stream(), before.stream(), strict=True):
        assert not (small.to_dense() & ~large.to_dense()).any(), "the topologies are nested"


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(gradual, straight, tmp_path, stopped, epoch):
    stopped(lambda: train(gradual, run=tmp_path), epoch - 1)
    train(gradual, run=tmp_path, resume=True)
    assert_same_pruning(straight[0], tmp_path)


def test_a_finished_run_gives_its_result_again(gradual, straight):
    assert train(gradual, run=straight[0], resume=True) == straight[1]


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs import jobs
from topokit_train.runs.train import train

jobs.INTERVAL = 0
folder, saved = Path(sys.argv[1]), sys.argv[2]

def die():  # in this process: on a busy machine another one would come too late
    while not (folder / saved).exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=die, daemon=True).start()
train(PruneConfig(epochs=20, batch_size=300, to=(.5, .9)), run=folder, resume=True)
"""


def test_a_run_that_is_killed_ends_as_one_that_was_not(tmp_path):
    config = PruneConfig(epochs=20, batch_size=300, to=(0.5, 0.9))
    train(config, run=tmp_path / "straight")
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, folder, SAVED[0]]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(load(folder / "checkpoint.safetensors").metrics) < 20
    train(config, run=folder, resume=True)
    assert_same_pruning(tmp_path / "straight", folder)


def test_stacked_seeds_have_runs_of_their_own_and_go_on_together(gradual, tmp_path, stopped):
    straight = train_seeds(gradual, None, [4, 2], run=tmp_path / "straight")
    stopped(lambda: train_seeds(gradual, None, [4, 2], run=tmp_path / "runs"), 2)
    results = train_seeds(gradual, None, [4, 2], run=tmp_path / "runs", resume=True)
    for one, two in zip(straight, results, strict=True):
        assert (one.seed, one.stacked, one.sparsity, one.parameters) == (two.seed, 2, 0.95, two.parameters)
        assert_same_pruning(tmp_path / "straight" / f"seed{one.seed}", tmp_path / "runs" / f"seed{one.seed}")


def test_one_of_several_goes_on_alone(gradual, tmp_path, stopped):
    stopped(lambda: train_seeds(gradual, None, [4, 2], run=tmp_path), 2)
    result = train(dataclasses.replace(gradual, seed=2), run=tmp_path / "seed2", resume=True)
    assert (result.stacked, result.sparsity, len(result.topologies)) == (1, 0.95, 3)


def test_what_an_earlier_run_left_is_replaced_whole(gradual, tmp_path):
    train(gradual, run=tmp_path)
    config = PruneConfig(epochs=2, batch_size=300, method="one-time", to=0.8)
    with pytest.raises(OutputExistsError):
        train(config, run=tmp_path)
    assert (tmp_path / SAVED[0]).exists()
    train(config, run=tmp_path, force=True)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "checkpoint.safetensors",
        "topology-0.8.safetensors",
    ]


@pytest.mark.parametrize("name", ["topology-0.95.safetensors", "rewind.safetensors"])
def test_what_is_of_no_run_is_not_overwritten(gradual, tmp_path, name):
    config = dataclasses.replace(gradual, rewind="initial")
    (tmp_path / name).write_text("mine")
    (tmp_path / "topology-mine.safetensors").write_text("mine too")
    with pytest.raises(OutputExistsError, match=f"holds {name} already: use force"):
        train(config, run=tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    train(config, run=tmp_path, force=True)
    assert (tmp_path / "topology-mine.safetensors").read_text() == "mine too"


def test_what_cannot_be_pruned_leaves_nothing(tmp_path):
    with pytest.raises(InvalidSpecError, match=r"leaves nothing of fc3\.weight"):
        train(PruneConfig(to=0.9999), run=tmp_path / "run")
    with pytest.raises(InvalidSpecError, match="pruning begins with a dense model: leave out the topology"):
        train(PruneConfig(), default_topology(), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_of_another_kind_are_not_gone_on_with(gradual, straight, short, tmp_path):
    with pytest.raises(InvalidSpecError, match="was started by topokit prune, not train"):
        train(short, run=straight[0], resume=True)
    train(short, run=tmp_path)
    with pytest.raises(InvalidSpecError, match="was started by topokit train, not prune"):
        train(gradual, run=tmp_path, resume=True)
    with pytest.raises(InvalidSpecError, match=r"scope is global, but the run in .* was started with layer"):
        train(dataclasses.replace(gradual, scope="global"), run=straight[0], resume=True)


def test_what_is_recorded_and_how_runs_are_named(gradual, straight, tmp_path, monkeypatch):
    assert recorded(straight[0]) == gradual
    monkeypatch.chdir(tmp_path)
    result = train(PruneConfig(epochs=1, batch_size=500, begin=0, end=1, seed=3))
    assert result.run == "runs/lenet-300-100-digits-gradual-seed3"
