"""Whole runs and their folders: what is written, interrupted, killed, continued and refused."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError, OutputExistsError, TopokitError
from topokit_train.checkpoints import load
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.datasets.idx import FILES
from topokit_train.run_folder import RunFolder
from topokit_train.runs import default_topology, recorded, train
from topokit_train.training import Trainer

SHORT = TrainConfig(epochs=3, batch_size=300)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A finished run of SHORT: (its folder, its result)."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, train(SHORT, default_topology(), run=folder)


def lines(folder):
    """metrics.jsonl, without the times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 for row in rows)
    return rows


def assert_same_run(one, two):
    """All that two runs leave behind is equal bit for bit, but for the times."""
    a, b = (load(folder / "checkpoint.safetensors") for folder in (one, two))
    assert a.tensors.keys() == b.tensors.keys()
    assert all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)
    assert (a.origin, a.fingerprint, a.scheduler) == (b.origin, b.fingerprint, b.scheduler)
    assert lines(one) == lines(two)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
    for result, folder in zip(results, (one, two), strict=True):
        assert result.pop("run") == str(folder)
        assert result.pop("train_seconds") > 0
    assert results[0] == results[1]
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


def interrupt_after(monkeypatch, epochs, error=KeyboardInterrupt):
    """Let training stop in the middle of the epoch after `epochs`."""
    step = Trainer.step

    def stop(self, images, labels):
        if len(self.history) == epochs and len(labels) < 300:  # the last batch
            raise error
        return step(self, images, labels)

    monkeypatch.setattr(Trainer, "step", stop)


def test_what_a_run_leaves_behind(straight):
    folder, result = straight
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "checkpoint.safetensors",
        "config.json",
        "metrics.jsonl",
        "result.json",
    }
    assert TrainConfig.from_json(json.loads((folder / "config.json").read_text())) == SHORT
    assert [row["epoch"] for row in lines(folder)] == [1, 2, 3]
    assert set(lines(folder)[0]) == {"epoch", "train_loss", "test_accuracy", "validation_accuracy", "lr"}
    assert json.loads((folder / "result.json").read_text()) == result.to_json()


def test_the_result_has_exactly_the_agreed_keys(straight):
    folder, result = straight
    told = result.to_json()
    assert list(told) == [
        *("run", "model", "dataset", "kernel", "device", "seed", "epochs", "test_accuracy", "train_seconds"),
        *("parameters", "dead_classes"),
    ]
    assert told["run"] == str(folder)
    assert (told["model"], told["dataset"], told["seed"], told["epochs"]) == ("lenet-300-100", "digits", 0, 3)
    assert set(told["kernel"].split("+")) <= {"band", "csr", "masked"}
    assert told["parameters"] == {"total": 266_610, "nonzero": 27_930}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert told["test_accuracy"] == rows[-1]["test_accuracy"] > 0.6
    assert told["train_seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert told["dead_classes"] == []


def test_nothing_is_said_on_stdout_and_the_last_epoch_on_stderr(tmp_path, capsys):
    train(SHORT, None, run=tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch 3/3, loss ")
    assert err.count("\n") == 1


def test_a_seed_gives_one_run(straight, tmp_path):
    folder, _ = straight
    train(SHORT, default_topology().build(), run=tmp_path)
    assert_same_run(folder, tmp_path)


@pytest.fixture
def threads(monkeypatch):
    """The thread counts that runs ask for; they stay with the one there is, as more are slow on a busy machine."""
    asked = []
    monkeypatch.setattr("topokit_train.runs.cpu_threads", lambda count: nullcontext(asked.append(count)))
    return asked


def test_the_threads_are_those_of_the_settings(tmp_path, threads):
    train(TrainConfig(epochs=1, batch_size=500, threads=7), None, run=tmp_path)
    assert threads == [load(tmp_path / "checkpoint.safetensors").origin.threads] == [7]


def test_ctrl_c_keeps_the_last_whole_epoch_and_says_how_to_go_on(straight, tmp_path, monkeypatch, capsys):
    interrupt_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, default_topology(), run=tmp_path)
    assert f"stopped after 2 of 3 epochs: go on with --run {tmp_path} --resume" in capsys.readouterr().err
    assert not (tmp_path / "result.json").exists()
    monkeypatch.undo()
    train(SHORT, default_topology(), run=tmp_path, resume=True)
    assert_same_run(straight[0], tmp_path)


def test_what_a_process_that_was_killed_left_behind_is_put_right(straight, tmp_path, monkeypatch):
    interrupt_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, default_topology(), run=tmp_path)
    monkeypatch.undo()
    (tmp_path / ".topokit-0123456789abcdef.part").write_bytes(b"half a checkpoint")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "train_loss": 9}\n{"epoch": 3, "tra')
    (tmp_path / "config.json").unlink()
    train(SHORT, default_topology(), run=tmp_path, resume=True)
    assert_same_run(straight[0], tmp_path)


KILLED = """
import sys
from pathlib import Path
from topokit_train.config import TrainConfig
from topokit_train.runs import default_topology, train
train(TrainConfig(epochs=40, batch_size=300), default_topology(), run=Path(sys.argv[1]), resume=True)
"""


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    config = TrainConfig(epochs=40, batch_size=300)
    train(config, default_topology(), run=tmp_path / "straight")
    folder = tmp_path / "killed"
    done = []
    for attempt in range(2):
        process = subprocess.Popen([sys.executable, "-c", KILLED, folder], stderr=subprocess.PIPE, text=True)
        wait_for_line(folder / "metrics.jsonl", more_than=done[-1] if done else 0, process=process)
        time.sleep(random.Random(attempt).uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1]
        assert process.returncode == -signal.SIGKILL, errors
        done.append(len(load(folder / "checkpoint.safetensors").metrics))
    assert 0 < done[0] < done[1] < 40
    assert not (folder / "result.json").exists()
    train(config, default_topology(), run=folder, resume=True)
    assert_same_run(tmp_path / "straight", folder)


def wait_for_line(path, more_than, process):
    """Until `path` has more lines than that; it may be cut while we look."""
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") > more_than:
            return
        time.sleep(0.005)


def test_a_finished_run_gives_its_result_again(straight):
    folder, result = straight
    before = (folder / "checkpoint.safetensors").read_bytes()
    assert train(SHORT, default_topology(), run=folder, resume=True) == result
    assert (folder / "checkpoint.safetensors").read_bytes() == before


def test_resume_starts_a_run_that_has_no_checkpoint_yet(straight, tmp_path, capsys):
    train(SHORT, default_topology(), run=tmp_path, resume=True)
    assert "there is no checkpoint" in capsys.readouterr().err
    assert_same_run(straight[0], tmp_path)


def test_resume_needs_a_folder():
    with pytest.raises(InvalidSpecError, match="--resume needs the folder of the run to go on with: --run DIR"):
        train(SHORT, resume=True)


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"epochs": 4}, "--epochs is 4, but the run in .* was started with 3"),
        ({"batch_size": 200}, "--batch-size is 200"),
        ({"lr": 0.1}, "--lr is 0.1"),
        ({"optimizer": "sgd", "lr": 0.004}, "--optimizer is sgd"),
        ({"schedule": "constant"}, "--schedule"),
        ({"seed": 1}, "--seed is 1"),
        ({"validation": 9}, "--validation is 9"),
        ({"kernel": "masked"}, "--kernel is masked"),
        ({"device": "cpu"}, "--device is cpu"),
        ({"threads": 2}, "--threads is 2"),
        ({"dataset": "mnist", "epochs": 3}, "--dataset is mnist"),
        ({"model": "mlp"}, "--model is mlp"),
    ],
)
def test_resume_with_other_settings_names_the_first_that_differs(straight, changed, flag):
    config = TrainConfig(**{**SHORT.to_json(), **changed})
    with pytest.raises(InvalidSpecError, match=flag):
        train(config, default_topology(), run=straight[0], resume=True)


def test_resume_finds_the_data_elsewhere(straight, tmp_path):
    config = TrainConfig(**{**SHORT.to_json(), "data_dir": tmp_path})
    assert train(config, default_topology(), run=straight[0], resume=True) == straight[1]
    train(SHORT, default_topology(), run=straight[0], resume=True)


@pytest.mark.parametrize("topology", [None, tk.Regular(like=default_topology(), seed=0)], ids=["dense", "twin"])
def test_resume_with_another_topology_is_refused(straight, topology):
    with pytest.raises(InvalidSpecError, match="was started with another topology"):
        train(SHORT, topology, run=straight[0], resume=True)


def test_resume_with_other_data_is_refused(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, shape in zip(FILES, [(8, 28, 28), (8,), (3, 28, 28), (3,)], strict=True):
        header = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
        (folder / name).write_bytes(header + bytes(i % 5 for i in range(int(np.prod(shape)))))
    config = TrainConfig(dataset=f"idx:{folder}", epochs=1)
    train(config, None, run=tmp_path / "run")
    content = (folder / FILES[0]).read_bytes()
    (folder / FILES[0]).write_bytes(content[:-1] + b"\x09")
    with pytest.raises(InvalidSpecError, match=r"is no longer the one that the run in .* was started with"):
        train(config, None, run=tmp_path / "run", resume=True)


def test_resume_keeps_the_kernels_and_threads_it_was_started_with(tmp_path, monkeypatch, threads):
    monkeypatch.setattr("topokit_train.runs.suitable_threads", lambda *_: 7)
    result = train(SHORT, default_topology(), run=tmp_path)
    assert load(tmp_path / "checkpoint.safetensors").origin.kernels == {"fc1": "band", "fc2": "csr"}
    monkeypatch.setattr("topokit_train.runs.suitable_threads", lambda *_: 8)
    monkeypatch.setattr("topokit_train.kernels.band._COST", {"cpu": (10**9, 0, 0)})  # auto would take csr now
    assert train(SHORT, default_topology(), run=tmp_path, resume=True) == result
    assert threads == [7, 7]


def test_resume_with_another_torch_says_so(straight, monkeypatch, capsys):
    monkeypatch.setattr(torch, "__version__", "9.9")
    train(SHORT, default_topology(), run=straight[0], resume=True)
    assert "going on with 9.9: the last bits may differ" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused(straight, tmp_path):
    content = (straight[0] / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(content[:-5])
    for action in (lambda: train(SHORT, default_topology(), run=tmp_path, resume=True), lambda: recorded(tmp_path)):
        with pytest.raises(
            FileFormatError, match=r"checkpoint\.safetensors is damaged .* start the run again with --force"
        ):
            action()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == content[:-5]


def test_what_is_recorded(straight, tmp_path):
    config, topology = recorded(straight[0])
    assert config == SHORT
    assert tk.fingerprint(topology) == tk.fingerprint(default_topology())
    assert recorded(tmp_path) is None
    train(TrainConfig(epochs=1, batch_size=500), None, run=tmp_path)
    assert recorded(tmp_path) == (TrainConfig(epochs=1, batch_size=500), None)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"])
def test_nothing_is_overwritten_without_force(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=f"holds {name} already: .*--force"):
        train(SHORT, None, run=tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_is_continued_or_replaced_or_left_alone(straight, tmp_path):
    first = train(TrainConfig(epochs=1, batch_size=300, seed=5), None, run=tmp_path)
    with pytest.raises(OutputExistsError, match="continue that run with --resume, replace it with --force"):
        train(SHORT, default_topology(), run=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == first.to_json()
    train(SHORT, default_topology(), run=tmp_path, force=True)
    assert_same_run(straight[0], tmp_path)


def test_force_keeps_the_old_run_until_the_new_one_can_start(tmp_path):
    first = train(TrainConfig(epochs=1, batch_size=300), None, run=tmp_path)
    with pytest.raises(InvalidSpecError, match="--validation"):
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
        with pytest.raises(InvalidSpecError):
            train(TrainConfig(model="mlp"), None, run=run)
    assert list(tmp_path.iterdir()) == []


def test_folders_above_are_not_made(tmp_path):
    with pytest.raises(TopokitError, match=r"cannot use .*a/b as a run's folder \(No such file or directory\)"):
        train(SHORT, None, run=tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(TopokitError, match=r"cannot use .*file as a run's folder \(File exists\)"):
        train(SHORT, None, run=tmp_path / "file")


def test_a_folder_is_used_by_one_at_a_time(straight):
    folder, result = straight
    with RunFolder(folder, ""), pytest.raises(TopokitError, match="another process trains in it: wait for it"):
        train(SHORT, default_topology(), run=folder, resume=True)
    assert train(SHORT, default_topology(), run=folder, resume=True) == result


def test_a_full_disk_leaves_the_last_checkpoint(straight, tmp_path, monkeypatch):
    import safetensors.numpy

    pack = safetensors.numpy.save
    calls = []

    def full(tensors, metadata):
        calls.append(None)
        if len(calls) == 3:
            raise OSError(28, os.strerror(28))
        return pack(tensors, metadata)

    monkeypatch.setattr(safetensors.numpy, "save", full)
    with pytest.raises(TopokitError, match="No space left on device"):
        train(SHORT, default_topology(), run=tmp_path)
    monkeypatch.undo()
    assert len(load(tmp_path / "checkpoint.safetensors").metrics) == 1
    assert not list(tmp_path.glob("*.part"))
    train(SHORT, default_topology(), run=tmp_path, resume=True)
    assert_same_run(straight[0], tmp_path)


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
    assert load_dataset("digits").test_labels.size == 360
