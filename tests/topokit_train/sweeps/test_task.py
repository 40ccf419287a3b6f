"""Tasks: a run that cannot be done stops no other, and a start is counted by who holds the run alone."""

import json
import shutil
import threading
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import safetensors.numpy

from topokit.errors import TopokitError
from topokit_train.models.networks import Shape, build_model
from topokit_train.runs.checkpoints import load
from topokit_train.runs.folder import RunBusyError, RunFolder
from topokit_train.sweeps import execution
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.sweep import sweep
from topokit_train.sweeps.task import Task, tasks_of
from topokit_train.training import Trainer

SEEDS = "[[runs]]\nepochs = 2\nbatch_size = 500\nmodel = 'mlp'\n" + (
    "topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }\neach.seed = '0-2'\n"
)


@pytest.fixture
def begun(monkeypatch):
    """Lets epoch 2 fail wherever seed 1 is; the epochs that are begun, as (seeds, epochs done before)."""
    seen, run_epoch = [], Trainer.run_epoch

    def failing(self, *arguments):
        seen.append((self.seeds, self.epochs_done))
        if 1 in self.seeds and self.epochs_done == 1:
            raise TopokitError(f"the loss is nan in epoch 2 of seed {self.seeds[0]}")
        return run_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "run_epoch", failing)
    return seen


def test_seeds_of_a_stack_that_fails_go_on_alone_from_where_they_stood(runs_of, tmp_path, begun):
    runs = runs_of(SEEDS, threads=1)
    found = sweep(runs, tmp_path / "out", quiet=True)
    assert [(one.seed, one.error) for one in found.troubles] == [(1, "the loss is nan in epoch 2 of seed 1")]
    assert found.states["finished"] == 2
    assert begun == [((0, 1, 2), 0), ((0, 1, 2), 1), ((0,), 1), ((1,), 1), ((2,), 1)]
    folder = SweepFolder(tmp_path / "out")
    assert [len(load(folder.run(run.name) / "checkpoint.safetensors").metrics) for run in runs] == [2, 1, 2]
    assert not (folder.run(runs[0].name) / "error.json").exists()
    begun.clear()
    assert sweep(runs, tmp_path / "out", quiet=True, retry=True).states["failed"] == 1
    assert begun == [((1,), 1)]


def test_a_damaged_checkpoint_fails_its_own_run_alone(runs_of, tmp_path):
    runs = runs_of(SEEDS, threads=1)
    folder = SweepFolder(tmp_path / "out").run(runs[2].name)
    folder.mkdir()
    (folder / "checkpoint.safetensors").write_bytes(b"damaged")
    found = sweep(runs, tmp_path / "out", quiet=True)
    assert found.states["finished"] == 2
    (trouble,) = found.troubles
    assert (trouble.seed, "is damaged" in trouble.error) == (2, True)
    assert sweep(runs, tmp_path / "out", quiet=True, retry=True).complete


@pytest.mark.parametrize("change", ["damaged", "later"])
def test_only_a_damaged_checkpoint_is_thrown_away(runs_of, tmp_path, change):
    runs = runs_of(SEEDS, threads=1)[:1]
    sweep(runs, tmp_path / "out", quiet=True)
    folder = SweepFolder(tmp_path / "out").run(runs[0].name)
    (folder / "result.json").unlink()
    checkpoint = folder / "checkpoint.safetensors"
    content = checkpoint.read_bytes()
    later = content.replace(b'"topokit.schema":"1"', b'"topokit.schema":"9"')
    assert later != content
    checkpoint.write_bytes(content[:-100] if change == "damaged" else later)
    assert sweep(runs, tmp_path / "out", quiet=True).states["failed"] == 1
    again = sweep(runs, tmp_path / "out", quiet=True, retry=True)
    assert again.complete == (change == "damaged")
    assert change == "damaged" or checkpoint.read_bytes() == later


def test_a_seed_that_died_too_often_leaves_the_others_a_stack(runs_of, tmp_path):
    runs = runs_of(SEEDS, threads=1)
    folder = SweepFolder(tmp_path / "out")
    folder.run(runs[0].name).mkdir()
    (folder.run(runs[0].name) / "starts").write_text("0\n" * 4)
    found = sweep(runs, tmp_path / "out", quiet=True)
    assert [(one.seed, one.error[:24]) for one in found.troubles] == [(0, "its process died 4 times")]
    assert [folder.result(run.name)["stacked"] for run in runs[1:]] == [2, 2]


@pytest.fixture
def interrupted(monkeypatch):
    """Ends runs after their last epoch, until `monkeypatch` is undone."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("topokit_train.runs.jobs.results_of", interrupt)


@pytest.mark.usefixtures("interrupted")
def test_a_grid_that_was_moved_goes_on_with_seeds_of_which_some_are_begun(tmp_path, monkeypatch, make_idx):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    make_idx(one / "data", 1)
    state = build_model("lenet-300-100", None, Shape((1, 28, 28), 10)).state_dict()
    arrays = {name: np.full(tensor.shape, 0.01, np.float32) for name, tensor in state.items()}
    (one / "weights").write_bytes(safetensors.numpy.save(arrays))
    grid = "[[runs]]\nepochs = 1\ndataset = 'idx:data'\nweights = 'weights'\neach.seed = "
    (one / "grid.toml").write_text(f"{grid} [0, 1]")
    with pytest.raises(KeyboardInterrupt):
        sweep(read_grid(one / "grid.toml"), one / "out", quiet=True)
    monkeypatch.undo()
    shutil.move(one, two)
    (two / "grid.toml").write_text(f"{grid} [0, 1, 2, 3]")
    runs = read_grid(two / "grid.toml")
    assert sweep(runs, two / "out", quiet=True).complete
    assert [SweepFolder(two / "out").result(run.name)["stacked"] for run in runs] == [2, 2, 2, 2]


@pytest.mark.usefixtures("interrupted")
def test_images_that_change_while_a_sweep_is_under_way_fail_its_runs(runs_of, tmp_path, monkeypatch, make_idx):
    make_idx(tmp_path / "data", 1)
    runs = runs_of("[[runs]]\nepochs = 1\ndataset = 'idx:data'\neach.seed = [0, 1]")
    with pytest.raises(KeyboardInterrupt):
        sweep(runs[:1], tmp_path / "out", quiet=True)
    monkeypatch.undo()
    make_idx(tmp_path / "data", 2)
    found = sweep(runs, tmp_path / "out", quiet=True)
    assert [one.error.partition("/data ")[2] for one in found.troubles] == [
        "has changed since the sweep started: restore it"
    ] * 2
    make_idx(tmp_path / "data", 1)
    assert sweep(runs, tmp_path / "out", quiet=True, retry=True).complete


def test_programs_that_begin_at_once_count_one_start(runs_of, tmp_path):
    runs = runs_of(SEEDS, threads=1)
    folder = SweepFolder(tmp_path / "out")
    (task,) = tasks_of(runs, folder)
    together = threading.Barrier(8)

    def program():
        together.wait()
        with suppress(RunBusyError):
            task()

    programs = [threading.Thread(target=program) for _ in range(8)]
    for one in programs:
        one.start()
    for one in programs:
        one.join()
    places = [folder.run(run.name) for run in runs]
    assert [folder.state(run.name) for run in runs] == [State.FINISHED] * 3
    assert [(place / "starts").read_text() for place in places] == ["0\n"] * 3
    assert [json.loads((place / "run.json").read_text()) for place in places] == [run.identity for run in runs]
    assert not [place for place in places if (place / "error.json").exists()]


def test_a_run_that_ended_while_its_folder_was_waited_for_is_left_alone(runs_of, tmp_path, monkeypatch):
    runs = runs_of(SEEDS, threads=1)
    folder = SweepFolder(tmp_path / "out")
    task = Task(runs, folder)
    opened = RunFolder.__init__

    def late(self, path, name):
        monkeypatch.setattr(RunFolder, "__init__", opened)
        task()
        opened(self, path, name)

    monkeypatch.setattr(RunFolder, "__init__", late)
    task()
    assert [(folder.run(run.name) / "starts").read_text() for run in runs] == ["0\n"] * 3


def test_locks_are_taken_in_one_order_whatever_the_grid_says(runs_of, tmp_path, monkeypatch):
    runs, asked, opened = runs_of(SEEDS), [], RunFolder.__init__

    def noted(self, path, name):
        asked.append(name)
        opened(self, path, name)

    monkeypatch.setattr(RunFolder, "__init__", noted)
    for order in (runs, runs[::-1]):
        with ExitStack() as held:
            found = Task(order, SweepFolder(tmp_path / "out"))._hold(held)
            assert [run.name for run, _ in found] == [run.name for run in order]
    assert asked == sorted(run.name for run in runs) * 2


def test_who_comes_too_late_again_and_again_pauses(runs_of, tmp_path, monkeypatch):
    runs, pauses, task = runs_of(SEEDS), [], Task.__call__

    def late(self):
        if len(pauses) < 3:
            raise RunBusyError("another process does it")
        task(self)

    monkeypatch.setattr(Task, "__call__", late)
    monkeypatch.setattr(execution.time, "sleep", pauses.append)
    assert sweep(runs, tmp_path / "out", quiet=True).complete
    assert pauses == [execution.PAUSE] * 3
