"""Commands on data of one's own: trained, continued, swept, evaluated."""

import csv
import json

import pytest

DATA = """
import numpy as np
random = np.random.default_rng(0)
x = random.normal(size=(300, 6))
y = np.tanh(x[:, 0] - x[:, 1])
def waves(): return x[:200], y[:200], x[200:], y[200:]
"""
MINE = """
def loss(outputs, targets): return (outputs - targets).abs().mean()
def mae(outputs, targets): return (outputs - targets).abs().mean()
"""
GRID = """
[defaults]
dataset = "data.py:waves"
epochs = 2
[[runs]]
label = "own"
loss = "mine.py:loss"
metric = "mine.py:mae"
better = "lower"
each.seed = "0-1"
[[runs]]
label = "plain"
topology = "bernoulli widths=6,300,100,1 density=.2"
"""
TRAIN = ("train", "--dataset", "data.py:waves", "--topology", "dense", "--epochs", "2")


@pytest.fixture(autouse=True)
def files(tmp_path):
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "grid.toml").write_text(GRID)


@pytest.fixture
def rows_of(tmp_path):
    def read(table):
        with (tmp_path / table).open(newline="") as file:
            return list(csv.DictReader(file))

    return read


def test_a_regression_is_trained(topokit):
    done = topokit(*TRAIN, "--run", "run", "--json")
    assert done.json["metric"] == "mse"
    assert done.json["better"] == "lower"
    assert done.json["test_accuracy"] is done.json["dead_classes"] is None
    assert [*done.json["test_metrics"]] == ["r2"]
    assert f"test mse {done.json['test_metric']:.4g}" in done.err
    shown = topokit(*TRAIN, "--run", "again").out.split("\n")
    assert [line.split("  ")[0] for line in shown[:2]] == ["test mse", "test r2"]


def test_seeds_are_trained_in_turn(topokit):
    done = topokit(*TRAIN, "--seeds", "0-1", "--run", "both", "--json")
    assert done.err.startswith("only networks with the cross-entropy of classes are trained several at once")
    alone = topokit(*TRAIN, "--seed", "1", "--run", "one", "--json")
    assert done.json["runs"][1]["test_metric"] == alone.json["test_metric"]
    assert done.json["mean"] == pytest.approx(sum(run["test_metric"] for run in done.json["runs"]) / 2)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("data.py", ("[:, 1])", "[:, 2])"), "the dataset data.py:waves has changed since the run in"),
        ("mine.py", ("loss(outputs", "loss( outputs"), "--loss mine.py:loss has changed since the run"),
    ],
)
def test_a_run_goes_on_with_the_same_data_and_functions_only(topokit, tmp_path, file, change, said):
    own = ("--loss", "mine.py:loss", "--metric", "mine.py:mae", "--better", "lower")
    assert topokit(*TRAIN, *own, "--run", "run").code == 0
    assert topokit("train", "--run", "run", "--resume").code == 0
    moved = ("--dataset", tmp_path / "data.py:waves", "--loss", tmp_path / "mine.py:loss")
    assert topokit("train", "--run", "run", "--resume", *moved).code == 0
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(*change))
    refused = topokit("train", "--run", "run", "--resume")
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1


def test_a_sweep_has_the_metrics_in_its_tables(topokit, rows_of, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # files are looked for beside the grid
    done = topokit("sweep", "../grid.toml", "--out", "out", "--workers", "1")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()[:3]]
    assert lines[0][-2:] == ["test", "metric"]
    assert (lines[1][0], lines[1][5], lines[2][0], lines[2][5]) == ("own", "mae", "plain", "mse")
    assert "own, seed 0: mae " in done.err
    rows = rows_of("elsewhere/out/tables/runs.csv")
    assert [(row["metric"], row["better"]) for row in rows] == [("mae", "lower")] * 2 + [("mse", "lower")]
    assert all(float(row["test_metric"]) > 0 for row in rows)
    assert {(row["test_accuracy"], row["dead_classes"]) for row in rows} == {("", "")}
    assert rows[2]["test_metrics"].startswith("r2=")
    epochs = rows_of("elsewhere/out/tables/epochs.csv")
    assert epochs[1]["test_metric"] == rows[0]["test_metric"]
    found = json.loads(topokit("sweep", "../grid.toml", "--out", "out", "--status", "--json").out)
    assert [group["metric"] for group in found["groups"]] == ["mae", "mse"]
    known = topokit("sweep", "../grid.toml", "--out", "two", "--workers", "1", "--known", "out/tables")
    assert known.out.splitlines()[:3] == done.out.splitlines()[:3]


def test_a_runs_name_knows_what_the_functions_and_the_data_are(topokit, rows_of, tmp_path):
    def names():
        assert topokit("sweep", "grid.toml", "--workers", "1").code in (0, 1)
        return [row["run"] for row in rows_of("grid/tables/runs.csv")]

    first = names()
    (tmp_path / "mine.py").write_text(MINE.replace(".mean()", ".square().mean()", 1))
    second = names()
    assert [one == two for one, two in zip(first, second, strict=True)] == [False, False, True]
    (tmp_path / "data.py").write_text(DATA + "# a remark\n")
    assert names() == second
    (tmp_path / "data.py").write_text(DATA.replace("rng(0)", "rng(1)"))
    assert not {*names()} & {*second}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dataset", "data.py:wave"), "data.py has no function wave, but waves"),
        (("--dataset", "data.py:waves", "--pixels", "unit"), "--pixels is for images"),
        (("--dataset", "data.py:waves", "--loss", "mine.py:mse"), "--loss mine.py:mse: mine.py has no function mse"),
        (("--dataset", "digits", "--loss", "mine.py:loss"), "mine.py:loss failed in line 2 of mine.py"),
    ],
)
def test_what_does_not_fit_leaves_nothing(topokit, tmp_path, options, said):
    done = topokit("train", "--topology", "dense", "--run", "run", *options)
    assert done.code in (1, 2)
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "run" / "result.json").exists()


def test_evaluate_prints_metrics_and_classes(topokit):
    assert topokit("train", "--topology", "dense", "--epochs", "1", "--run", "run").code == 0
    done = topokit("evaluate", "run")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["dataset", "digits,", "360", "test", "samples"]
    assert lines[5] == ["class", "samples", "predicted", "recall", "precision"]
    assert len(lines) == 16
    found = topokit("evaluate", "run/checkpoint.safetensors", "--json").json
    assert f"{found['test_metric']:.2%}" == lines[1][2]
    assert sum(one["count"] for one in found["classes"]) == 360


def test_evaluate_imports_no_file_that_is_not_given(topokit):
    assert topokit(*TRAIN, "--run", "run").code == 0
    refused = topokit("evaluate", "run")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "uses your dataset data.py:waves: pass it as --dataset" in refused.err
    done = topokit("evaluate", "run", "--dataset", "data.py:waves", "--metric", "mine.py:mae")
    assert [line.split("  ")[0] for line in done.out.splitlines()] == [
        *("dataset", "test mae", "test mse", "test r2", "inactive units")
    ]
