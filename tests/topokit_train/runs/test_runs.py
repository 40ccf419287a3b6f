"""Whole runs: what they leave behind, what they are called, and what they leave alone."""

import fcntl
import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError, OutputExistsError, TopokitError
from topokit.formats import load_all
from topokit_train.config import TrainConfig
from topokit_train.kernels import KERNELS
from topokit_train.runs.checkpoints import load
from topokit_train.runs.folder import CHECKPOINT, RunFolder, is_held
from topokit_train.runs.resuming import recorded
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_all


def test_what_a_run_leaves_behind(short, straight):
    folder, result = straight
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "checkpoint.safetensors",
        "config.json",
        "metrics.jsonl",
        "result.json",
    }
    assert TrainConfig.from_json(json.loads((folder / "config.json").read_text())) == short
    new = ("metric", "test_metric", "validation_metric", "test_metrics")  # since 0.1.0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert list(rows[0]) == ["epoch", "train_loss", "test_accuracy", "validation_accuracy", "seconds", "lr", *new]
    assert json.loads((folder / "result.json").read_text()) == result.to_json()


def test_the_result_has_exactly_the_agreed_keys(straight):
    folder, result = straight
    told = result.to_json()
    assert list(told) == [
        *("run", "model", "dataset", "kernel", "device", "seed", "epochs", "test_accuracy"),
        *("metric", "better", "test_metric", "test_metrics"),
        *("stacked", "train_seconds", "parameters", "dead_classes"),
        *("dead_units", "effective_sparsity"),
    ]
    assert told["run"] == str(folder)
    assert (told["model"], told["dataset"], told["seed"], told["epochs"]) == ("lenet-300-100", "digits", 0, 3)
    assert set(told["kernel"].split("+")) <= set(KERNELS)
    assert told["parameters"] == {"total": 266_610, "nonzero": 27_930}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert told["test_accuracy"] == rows[-1]["test_accuracy"] > 0.5  # ten seeds: .75 on average, deviation .06
    assert told["train_seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert told["dead_classes"] == []


def test_nothing_is_said_on_stdout_and_the_last_epoch_on_stderr(short, tmp_path, capsys):
    train(short, None, run=tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch 3/3, loss ")
    assert err.count("\n") == 1


def test_a_seed_gives_one_run(assert_same_run, short, straight, tmp_path):
    folder, _ = straight
    train(short, default_topology().build(), run=tmp_path)
    assert_same_run(folder, tmp_path)


def test_without_a_topology_lenet_300_100_has_the_default_one(assert_same_run, short, straight, tmp_path, capsys):
    train(short, run=tmp_path / "default")
    assert "topology" not in capsys.readouterr().err
    assert_same_run(straight[0], tmp_path / "default")
    none, dense = (train(short, topology, run=tmp_path / f"{topology}") for topology in (None, "dense"))
    assert_same_run(tmp_path / "None", tmp_path / "dense")
    assert none.parameters == dense.parameters == {"total": 266_610, "nonzero": 266_610}


def test_the_threads_are_those_of_the_settings(tmp_path, threads):
    train(TrainConfig(epochs=1, batch_size=500, threads=7), None, run=tmp_path)
    assert threads == [load(tmp_path / "checkpoint.safetensors").origin.threads] == [7]


def test_what_is_recorded(short, straight, tmp_path):
    (topology,) = load_all(straight[0] / CHECKPOINT)
    assert recorded(straight[0]) == short
    assert tk.fingerprint(topology) == tk.fingerprint(default_topology())
    assert recorded(tmp_path) is None
    train(TrainConfig(epochs=1, batch_size=500), None, run=tmp_path)
    assert recorded(tmp_path) == TrainConfig(epochs=1, batch_size=500)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"])
def test_nothing_is_overwritten_without_force(short, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=f"holds {name} already: .*force"):
        train(short, None, run=tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_is_continued_or_replaced_or_left_alone(assert_same_run, short, straight, tmp_path):
    first = train(TrainConfig(epochs=1, batch_size=300, seed=5), None, run=tmp_path)
    with pytest.raises(OutputExistsError, match="continue that run with resume, replace it with force"):
        train(short, default_topology(), run=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == first.to_json()
    train(short, default_topology(), run=tmp_path, force=True)
    assert_same_run(straight[0], tmp_path)


@pytest.mark.parametrize("name", ["topology.safetensors", "topology-of-mine.safetensors", "rewind.safetensors"])
def test_a_topology_in_the_folder_of_its_run_stays_there(short, tmp_path, name):
    tk.save(default_topology(), tmp_path / name)
    for force in (False, True):
        train(short, tk.load(tmp_path / name), run=tmp_path, force=force)
        assert tk.fingerprint(tk.load(tmp_path / name)) == tk.fingerprint(default_topology())


@pytest.mark.parametrize("form", ["{}", "permute of={} seed=0", "fc1: {}", "'{}' crop=784,8", "path", "object"])
def test_a_file_whose_edges_are_not_those_of_its_fingerprint_is_not_trained(tmp_path, form):
    path, edges = tmp_path / "net.safetensors", np.zeros((784, 300))
    edges[:, [0, 2]] = 1
    tk.save(tk.Topology.from_dense([edges]), path)
    train(TrainConfig(epochs=1, batch_size=500), f"fc1: {path}", run=tmp_path / "sound")
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    begin = 8 + size + json.loads(content[8 : 8 + size])["layer.0.indices"]["data_offsets"][0]
    assert content[begin : begin + 8] == np.array([0, 2], "<u4").tobytes()
    content[begin] = 1
    path.write_bytes(content)
    given = {"path": path, "object": tk.load(path)}.get(form, form.format(path))
    with pytest.raises(FileFormatError, match=r"the edges' fingerprint is \w{12}..., but \w{12}... is recorded"):
        train(TrainConfig(epochs=1, batch_size=500), given, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_force_keeps_the_old_run_until_the_new_one_can_start(tmp_path):
    first = train(TrainConfig(epochs=1, batch_size=300), None, run=tmp_path)
    with pytest.raises(InvalidSpecError, match="validation"):
        train(TrainConfig(validation=9999), None, run=tmp_path, force=True)
    assert train(TrainConfig(epochs=1, batch_size=300), None, run=tmp_path, resume=True) == first


def test_runs_without_a_name_get_one_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(epochs=1, batch_size=500, seed=3)
    names = [train(config, net).run for net in (default_topology(), None, None, None)]
    assert names == [
        f"runs/lenet-300-100-digits-{rest}"
        for rest in ("radix-net-seed3", "dense-seed3", "dense-seed3-2", "dense-seed3-3")
    ]


@pytest.mark.parametrize(
    ("recipe", "wiring"),
    [
        (None, "sparse"),
        ({"family": "../x y", "options": {}}, "x-y"),
        ({"transform": "crop"}, "sparse"),
        ({"transform": "concatenate", "options": {"of": [1, 2]}}, "sparse"),
    ],
)
def test_odd_recipes_still_give_a_name(tmp_path, monkeypatch, recipe, wiring):
    monkeypatch.chdir(tmp_path)
    net = tk.Topology(default_topology().stream(), recipe=recipe)
    assert train(TrainConfig(epochs=1, batch_size=500), net).run.endswith(f"{wiring}-seed0")
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_run_that_never_starts_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in (None, tmp_path / "run"):
        with pytest.raises(InvalidSpecError, match="the model mlp has the widths of a topology"):
            train(TrainConfig(model="mlp"), None, run=run)
    assert list(tmp_path.iterdir()) == []


def test_folders_above_are_not_made(short, tmp_path):
    with pytest.raises(TopokitError, match=r"there is no folder .*a: create it first"):
        train(short, None, run=tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(TopokitError, match=r"cannot use .*file as a run's folder \(File exists\)"):
        train(short, None, run=tmp_path / "file")


def test_a_folder_is_used_by_one_at_a_time(short, straight):
    folder, result = straight
    with RunFolder(folder, ""), pytest.raises(TopokitError, match="another process trains in it: wait for it"):
        train(short, default_topology(), run=folder, resume=True)
    assert train(short, default_topology(), run=folder, resume=True) == result


def test_who_only_looks_at_a_lock_keeps_nobody_out(tmp_path):
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as is_held has it for an instant
        leaving = threading.Timer(0.03, fcntl.flock, (lock, fcntl.LOCK_UN))
        leaving.start()
        with RunFolder(tmp_path, ""):
            assert is_held(tmp_path / ".lock")
        leaving.join()
    assert not is_held(tmp_path / ".lock")


def test_who_waits_for_a_folder_that_is_removed_makes_it_anew(tmp_path, monkeypatch):
    path, later, waits = tmp_path / "run", [], threading.Event()

    def sleep(_):
        waits.set()
        time.sleep(0.1)  # ten of them are time enough to leave the folder

    monkeypatch.setattr("topokit_train.runs.folder.time", SimpleNamespace(sleep=sleep))
    with RunFolder(path, ""):
        waiting = threading.Thread(target=lambda: later.append(RunFolder(path, "")))
        waiting.start()
        assert waits.wait(60)
    waiting.join()
    with later[0], pytest.raises(TopokitError, match="another process trains in it"):
        RunFolder(path, "")
    assert not path.exists()


def test_a_lock_that_cannot_be_made_is_no_reason_to_wait_for_ever(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "nowhere" / "lock")
    with pytest.raises(TopokitError, match="no lock stays there; choose another run"):
        RunFolder(tmp_path, "")


def test_seeds_with_folders_anywhere_are_trained_together(tmp_path):
    config = TrainConfig(epochs=1, batch_size=500)
    configs = [replace(config, seed=seed) for seed in (5, 2)]
    results = train_all(configs, default_topology(), [tmp_path / "five", tmp_path / "two"])
    assert [(result.seed, result.run, result.stacked) for result in results] == [
        (5, str(tmp_path / "five"), 2),
        (2, str(tmp_path / "two"), 2),
    ]
    assert train_all(configs, default_topology(), [tmp_path / "five", tmp_path / "two"], resume=True) == results


@pytest.mark.parametrize("change", [{}, {"seed": 1, "lr": 0.5}, {"seed": 1, "epochs": 2}])
def test_what_differs_in_more_than_its_seed_is_not_trained_together(tmp_path, change):
    config = TrainConfig(epochs=1)
    with pytest.raises(InvalidSpecError, match="may differ only in their seed"):
        train_all([config, replace(config, **change)], None, [tmp_path / "a", tmp_path / "b"])
    assert list(tmp_path.iterdir()) == []


def test_each_network_needs_a_folder_of_its_own(tmp_path):
    configs = [TrainConfig(epochs=1, seed=seed) for seed in (0, 1)]
    with pytest.raises(InvalidSpecError, match=r"needs a folder of its own, but .*/run is given twice"):
        train_all(configs, None, [tmp_path / "run", tmp_path / "other" / ".." / "run"])
    assert list(tmp_path.iterdir()) == []


def test_the_default_topology_is_the_paper_s():
    net = default_topology()
    assert net.widths == (784, 300, 100)
    assert net.layer_edges == (23_520, 3_000)
    assert net.promises.paths == 3


def test_digits_reach_their_target_with_default_settings(tmp_path):
    accuracies = [
        train(TrainConfig(seed=seed), default_topology(), run=tmp_path / str(seed)).test_accuracy for seed in range(3)
    ]
    assert sum(accuracies) / 3 >= 0.89


def test_a_topology_that_is_only_described_is_drawn_once_for_all_epochs(short, tmp_path, monkeypatch):
    drawn, arrays = [], tk.Regular.arrays
    monkeypatch.setattr(tk.Regular, "arrays", lambda self, i, buffers: drawn.append(i) or arrays(self, i, buffers))
    train(short, tk.Regular(like=default_topology(), seed=0), run=tmp_path / "run")
    assert sorted(drawn) == [0, 1]
