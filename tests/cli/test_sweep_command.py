"""`topokit sweep`: what it prints, what it leaves, and its exit codes."""

import json
import textwrap

import pytest

from topokit.errors import TopokitError

GRID = """
    [defaults]
    epochs = 1
    batch_size = 500
    [[runs]]
    label = "radix"
    model = "mlp"
    topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }
    each.lr = [0.01, 0.02]
    each.seed = "0-1"
    [[runs]]
    label = "dense"
"""
ONE_FAILS = GRID + "    model = 'mlp'\n"  # which needs a topology


@pytest.fixture
def grid(tmp_path):
    def write(text=GRID):
        (tmp_path / "grid.toml").write_text(textwrap.dedent(text))

    write()
    return write


@pytest.mark.usefixtures("grid")
def test_a_sweep_says_how_far_it_is_and_what_came_out(topokit, tmp_path):
    before = topokit("sweep", "grid.toml", "--status")
    assert before.code == 1
    assert not (tmp_path / "grid").exists()
    assert before.out.splitlines()[0].split() == [
        *("label", "axes", "finished", "failed", "running", "waiting", "test", "accuracy")
    ]
    assert before.out.splitlines()[1].split() == ["radix", "lr=0.01", "0", "0", "0", "2", "-"]
    assert before.out.splitlines()[-1] == "0 of 5 runs are finished"

    done = topokit("sweep", "grid.toml", "--workers", 1)
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:6] == ["radix", "lr=0.01", "2", "0", "0", "0"]
    assert "±" in done.out.splitlines()[1]
    assert "±" not in done.out.splitlines()[3]
    assert done.out.splitlines()[-1] == "5 of 5 runs are finished; their tables are in grid/tables"
    assert [line[:5] for line in done.err.splitlines()] == [f"[{k}/5]" for k in range(1, 6)]
    assert done.err.startswith("[1/5] radix, lr=0.01, seed 0: ")
    assert sorted(path.name for path in (tmp_path / "grid").iterdir()) == ["runs", "sweep.json", "tables"]

    again = topokit("sweep", "grid.toml", "--workers", 1)
    assert (again.code, again.out) == (0, done.out)
    assert again.err == "5 of 5 runs are there already, 0 of them failed\n"
    after = topokit("sweep", "grid.toml", "--status")
    assert (after.code, after.out) == (0, done.out)


@pytest.mark.usefixtures("grid")
def test_json(topokit):
    found = topokit("sweep", "grid.toml", "--out", "here", "--workers", 1, "--json").json
    assert set(found) == {"out", "tables", "states", "groups", "troubles"}
    assert (found["out"], found["tables"]) == ("here", "here/tables")
    assert found["states"] == {"finished": 5, "failed": 0, "running": 0, "waiting": 0}
    assert found["groups"][1]["axes"] == "lr=0.02"
    assert topokit("sweep", "grid.toml", "--out", "here", "--status", "--json").json == found


def test_a_dataset_that_is_not_there_is_told_of_before_anything_is_done(topokit, grid, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise TopokitError("no network")

    monkeypatch.setattr("topokit_train.datasets.published.Published._download", unreachable)
    monkeypatch.delenv("TOPOKIT_DATA_DIR", raising=False)
    grid(GRID + "    dataset = 'fashion-mnist'\n")
    refused = topokit("sweep", "grid.toml", "--workers", 1)
    assert (refused.code, refused.out) == (1, "")
    assert "no network" in refused.err
    assert not (tmp_path / "grid").exists()


def test_a_grid_whose_images_are_not_there_cannot_be_read(topokit, grid, tmp_path):
    grid(GRID + "    dataset = 'idx:nowhere'\n")
    for options in (("--workers", 1), ("--status",)):
        refused = topokit("sweep", "grid.toml", *options)
        assert (refused.code, refused.out) == (2, "")
        assert f"there is no folder {tmp_path / 'nowhere'}: give the one" in refused.err
    assert not (tmp_path / "grid").exists()


def test_a_device_that_is_not_there_is_told_of_before_anything_is_done(topokit, grid, tmp_path):
    grid()
    refused = topokit("sweep", "grid.toml", "--workers", 1, "--device", "cuda:99")
    assert (refused.code, refused.out) == (2, "")
    assert "--device cuda:99 does not exist: this machine has" in refused.err
    assert not (tmp_path / "grid").exists()


def test_failures_are_told_of_and_are_exit_1(topokit, grid):
    grid(ONE_FAILS)
    done = topokit("sweep", "grid.toml", "--workers", 1)
    assert done.code == 1
    why = "failed: the model mlp has the widths of a topology: give one; for dense layers, one of density 1, such as "
    why += "'bernoulli widths=784,300,100,10 density=1 seed=0'"
    (trouble,) = (line for line in done.out.splitlines() if "mlp" in line)
    assert trouble.endswith(f"dense, seed 0: {why}")
    assert "--retry does the failed runs once more" in done.out
    assert f"[5/5] dense, seed 0: {why}" in done.err
    report = json.loads(topokit("sweep", "grid.toml", "--status", "--json").out)
    assert [one["label"] for one in report["troubles"]] == ["dense"]
    assert topokit("sweep", "grid.toml", "--workers", 1).err == "5 of 5 runs are there already, 1 of them failed\n"
    assert f"[5/5] dense, seed 0: {why}" in topokit("sweep", "grid.toml", "--workers", 1, "--retry").err


@pytest.mark.usefixtures("grid")
def test_a_scheduler_that_does_not_answer_is_named(topokit, monkeypatch):
    monkeypatch.setattr("topokit.executors.PATIENCE", 1)
    refused = topokit("sweep", "grid.toml", "--scheduler", "tcp://127.0.0.1:1")
    assert (refused.code, refused.out) == (1, "")
    assert "no Dask scheduler answers at" in refused.err
    assert "give --workers or" in topokit("sweep", "grid.toml", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1").err
