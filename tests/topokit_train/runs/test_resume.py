"""Runs that are interrupted, killed, continued, and refused to be continued."""

import os
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.config import TrainConfig
from topokit_train.datasets.idx import FILES
from topokit_train.runs.checkpoints import load
from topokit_train.runs.resuming import recorded
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train


def test_ctrl_c_keeps_the_last_whole_epoch_and_says_how_to_go_on(
    assert_same_run, short, straight, tmp_path, stopped, capsys
):
    stopped(lambda: train(short, default_topology(), run=tmp_path), 2)
    assert f"stopped: continue with --run {tmp_path} --resume" in capsys.readouterr().err
    assert not (tmp_path / "result.json").exists()
    train(short, default_topology(), run=tmp_path, resume=True)
    assert_same_run(straight[0], tmp_path)


def test_epochs_since_the_last_checkpoint_are_repeated(
    assert_same_run, short, straight, tmp_path, stopped, monkeypatch
):
    monkeypatch.setattr("topokit_train.runs.jobs.INTERVAL", 1000)
    stopped(partial(train, short, default_topology(), run=tmp_path), 2)
    assert not load(tmp_path / "checkpoint.safetensors").metrics
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2
    train(short, default_topology(), run=tmp_path, resume=True)
    assert len(load(tmp_path / "checkpoint.safetensors").metrics) == short.epochs
    assert_same_run(straight[0], tmp_path)


def test_a_run_that_is_replaced_and_interrupted_has_no_result_of_the_old_one(short, tmp_path, stopped):
    train(short, None, run=tmp_path)
    stopped(lambda: train(short, default_topology(), run=tmp_path, force=True), 1)
    assert not (tmp_path / "result.json").exists()
    assert recorded(tmp_path) is not None


def test_what_a_process_that_was_killed_left_behind_is_put_right(assert_same_run, short, straight, tmp_path, stopped):
    stopped(lambda: train(short, default_topology(), run=tmp_path), 1)
    (tmp_path / ".topokit-0123456789abcdef.part").write_bytes(b"half a checkpoint")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "train_loss": 9}\n{"epoch": 3, "tra')
    (tmp_path / "config.json").unlink()
    train(short, default_topology(), run=tmp_path, resume=True)
    assert_same_run(straight[0], tmp_path)


def test_a_run_that_more_processes_started_goes_on_and_says_so(short, straight, tmp_path, monkeypatch, capsys):
    checkpoint = load(straight[0] / "checkpoint.safetensors")
    shutil.copytree(straight[0], tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    three = replace(checkpoint, origin=replace(checkpoint.origin, processes=3))
    monkeypatch.setattr("topokit_train.runs.jobs.load", lambda _: three)
    train(short, default_topology(), run=tmp_path / "run", resume=True)
    assert "started in 3 processes, going on in 1: the last bits may differ" in capsys.readouterr().err


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(assert_survives):
    topology = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"
    assert_survives(2, {"epochs": 40, "batch_size": 300}, topology)


def test_a_finished_run_gives_its_result_again(short, straight):
    folder, result = straight
    before = (folder / "checkpoint.safetensors").read_bytes()
    assert train(short, default_topology(), run=folder, resume=True) == result
    assert (folder / "checkpoint.safetensors").read_bytes() == before


def test_resume_starts_a_run_that_has_no_checkpoint_yet(assert_same_run, short, straight, tmp_path, capsys):
    train(short, default_topology(), run=tmp_path, resume=True)
    assert "there is no checkpoint" in capsys.readouterr().err
    assert_same_run(straight[0], tmp_path)


def test_resume_needs_a_folder(short):
    with pytest.raises(InvalidSpecError, match="resume needs the folder of the run to continue: run DIR"):
        train(short, resume=True)


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"epochs": 4}, "epochs is 4, but the run in .* was started with 3"),
        ({"batch_size": 200}, "batch_size is 200"),
        ({"lr": 0.1}, "lr is 0.1"),
        ({"optimizer": "sgd", "lr": 0.004}, "optimizer is sgd"),
        ({"schedule": "constant"}, "schedule"),
        ({"seed": 1}, "seed is 1"),
        ({"validation": 9}, "validation is 9"),
        ({"kernel": "masked"}, "kernel is masked"),
        ({"device": "cpu"}, "device is cpu"),
        ({"threads": 2}, "threads is 2"),
        ({"dataset": "mnist", "epochs": 3}, "dataset is mnist"),
        ({"model": "mlp"}, "model is mlp"),
    ],
)
def test_resume_with_other_settings_names_the_first_that_differs(short, straight, changed, flag):
    config = TrainConfig(**{**short.to_json(), **changed})
    with pytest.raises(InvalidSpecError, match=flag):
        train(config, default_topology(), run=straight[0], resume=True)


def test_resume_finds_the_data_elsewhere(short, straight, tmp_path):
    config = TrainConfig(**{**short.to_json(), "data_dir": tmp_path})
    assert train(config, default_topology(), run=straight[0], resume=True) == straight[1]
    train(short, default_topology(), run=straight[0], resume=True)


@pytest.mark.parametrize("topology", [None, tk.Regular(like=default_topology(), seed=0)], ids=["dense", "twin"])
def test_resume_with_another_topology_is_refused(short, straight, topology):
    with pytest.raises(InvalidSpecError, match="was started with another topology"):
        train(short, topology, run=straight[0], resume=True)


def test_resume_with_other_data_is_refused_and_with_the_same_in_another_place_is_not(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, shape in zip(FILES, [(8, 28, 28), (8,), (3, 28, 28), (3,)], strict=True):
        header = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
        (folder / name).write_bytes(header + bytes(i % 5 for i in range(int(np.prod(shape)))))
    config = TrainConfig(dataset=f"idx:{folder}", epochs=1)
    train(config, None, run=tmp_path / "run")
    folder = folder.rename(tmp_path / "moved")
    config = replace(config, dataset=f"idx:{folder}")
    train(config, None, run=tmp_path / "run", resume=True)
    with pytest.raises(InvalidSpecError, match=r"dataset is digits, but the run in .* was started with idx"):
        train(replace(config, dataset="digits"), None, run=tmp_path / "run", resume=True)
    content = (folder / FILES[0]).read_bytes()
    (folder / FILES[0]).write_bytes(content[:-1] + b"\x09")
    with pytest.raises(InvalidSpecError, match=r"has changed since the run in .* was started"):
        train(config, None, run=tmp_path / "run", resume=True)


def test_resume_keeps_the_kernels_and_threads_it_was_started_with(short, tmp_path, monkeypatch, threads):
    monkeypatch.setattr("topokit_train.runs.jobs.suitable_threads", lambda *_: 7)
    result = train(short, default_topology(), run=tmp_path)
    taken = load(tmp_path / "checkpoint.safetensors").origin.kernels
    assert taken in ({"fc1": "csr", "fc2": "csr"}, {"fc1": "native", "fc2": "native"})  # native: if it was compiled
    monkeypatch.setattr("topokit_train.runs.jobs.suitable_threads", lambda *_: 8)
    monkeypatch.setattr("topokit_train.kernels.csr._COST", {"cpu": (10**9, 0)})  # auto would take others now
    monkeypatch.setattr("topokit_train.kernels.native._COST", (10**9, 0, 0, 0, 0))
    assert train(short, default_topology(), run=tmp_path, resume=True) == result
    assert threads == [7, 7]


def test_resume_with_another_torch_says_so(short, straight, monkeypatch, capsys):
    monkeypatch.setattr(torch, "__version__", "9.9")
    train(short, default_topology(), run=straight[0], resume=True)
    assert "going on with 9.9: the last bits may differ" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused(short, straight, tmp_path):
    content = (straight[0] / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(content[:-5])
    for action in (lambda: train(short, default_topology(), run=tmp_path, resume=True), lambda: recorded(tmp_path)):
        with pytest.raises(
            FileFormatError, match=r"checkpoint\.safetensors is damaged .* start the run again with force"
        ):
            action()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == content[:-5]


def test_a_full_disk_leaves_the_last_checkpoint(assert_same_run, short, straight, tmp_path, monkeypatch):
    import safetensors.numpy

    pack = safetensors.numpy.save
    calls = []

    def full(tensors, metadata):
        calls.append(None)
        if len(calls) == 4:  # the start, before the first epoch, after the first and the second
            raise OSError(28, os.strerror(28))
        return pack(tensors, metadata)

    monkeypatch.setattr(safetensors.numpy, "save", full)
    with pytest.raises(TopokitError, match="No space left on device"):
        train(short, default_topology(), run=tmp_path)
    monkeypatch.undo()
    assert len(load(tmp_path / "checkpoint.safetensors").metrics) == 1
    assert not list(tmp_path.glob("*.part"))
    train(short, default_topology(), run=tmp_path, resume=True)
    assert_same_run(straight[0], tmp_path)
