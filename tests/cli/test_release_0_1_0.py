"""Runs, sweeps and checkpoints that topokit 0.1.0 wrote: recognised, and continued."""

import json
import shutil
from pathlib import Path

import pytest

import topokit_train
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.sweep import sweep

DATA = Path(__file__).parents[1] / "data" / "0.1.0"


@pytest.fixture
def old(tmp_path):
    return shutil.copytree(DATA, tmp_path / "old")


def test_a_grids_runs_have_the_names_that_they_had(old):
    recorded = json.loads((old / "names.json").read_text())
    runs = read_grid(old / "names.toml")
    assert [run.name for run in runs] == recorded["names"]
    assert [[one.title for one in run.topologies] for run in runs] == recorded["titles"]


def test_a_sweep_is_recognised_and_its_unfinished_run_continued(old):
    runs = read_grid(old / "grid.toml")
    folders = {folder.name for folder in (old / "sweep" / "runs").iterdir()}
    assert {run.name for run in runs} == folders
    before = sweep(runs, old / "sweep", status=True).states
    assert (before["finished"], before["waiting"]) == (4, 1)
    finished = {name: (old / "sweep" / "runs" / name / "result.json") for name in folders}
    written = {name: path.read_bytes() for name, path in finished.items() if path.exists()}
    assert sweep(runs, old / "sweep", quiet=True).complete
    assert {name: path.read_bytes() for name, path in finished.items() if name in written} == written
    lines = (old / "sweep" / "runs" / "4a7030a6b9900151" / "metrics.jsonl").read_text().splitlines()
    first = (DATA / "sweep" / "runs" / "4a7030a6b9900151" / "metrics.jsonl").read_text().splitlines()
    assert (len(lines), len(first)) == (2, 1)
    assert json.loads(first[0]).items() <= json.loads(lines[0]).items()
    assert {folder.name for folder in (old / "sweep" / "runs").iterdir()} == folders


def test_a_run_is_continued_from_the_command_line(old, topokit):
    done = topokit("train", "--run", old / "run", "--resume")
    assert done.code == 0, done.err
    lines = (old / "run" / "metrics.jsonl").read_text().splitlines()
    before = (DATA / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(before[0]).items() <= json.loads(lines[0]).items()
    topokit_train.load_run(old / "run")


def test_a_run_is_continued_with_the_same_topology_in_words_and_refused_with_another(old, topokit):
    words = "bernoulli widths=784,4 density=.01 seed=7"
    refused = topokit("train", "--topology", words.replace("7", "8", 1), "--run", old / "run", "--resume")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    other = topokit("train", "--topology", words.replace("seed=7", "seed=8"), "--run", old / "run", "--resume")
    assert (other.code, "started with another topology" in other.err) == (2, True)
    assert topokit("train", "--topology", words, "--run", old / "run", "--resume").code == 0


def test_a_checkpoint_is_extracted_and_described_as_before(old, topokit):
    checkpoint = old / "run" / "checkpoint.safetensors"
    assert topokit("extract", checkpoint, "-o", old / "out.safetensors").code == 0
    assert topokit("info", checkpoint, "--json").json["edges"] == 37
