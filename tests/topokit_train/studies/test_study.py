"""Studies: their grids, the smallest one from the command to a report, and the report of the committed tables."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import matplotlib
import pytest
from topokit_cli.main import main

import topokit_train
from topokit.errors import MissingDependencyError
from topokit.placement.placing import place
from topokit_train.datasets import digits
from topokit_train.models.networks import Shape, model_source
from topokit_train.studies import STUDIES
from topokit_train.sweeps.tables import _training_images

STUDY = STUDIES["training-behavior"]
SMALLEST = Path(__file__).with_name("smallest.toml")
BOUND = 180  # seconds, of the whole command, on two cores that have nothing else to do
TOPOKIT = Path(sys.executable).with_name("topokit")
DENSE = {  # weights of the layers that become sparse, of the dense network that bigger ones are compared with
    ("mlp", "mnist"): 784 * 300 + 300 * 100,
    ("mlp", "digits"): 784 * 300 + 300 * 100,
    **{(f"lenet-5-x{times}", "mnist"): 500 * 50 + 2450 * 384 for times in (2, 10)},
    **{(f"lenet-5-x{times}", "cifar10"): 500 * 50 + 1800 * 384 for times in (2, 10)},
}
COMMITTED = Path(__file__).parents[3] / "docs" / "study"
DRAWN_BY = "3.11.2"  # the release of matplotlib that drew the committed figures, and is in locks/


@contextmanager
def sizes_forgotten():
    """Inside, tables count the images of these datasets anew; other tests are not to see their number."""
    _training_images.cache_clear()
    yield
    _training_images.cache_clear()


def study(*arguments, cwd="."):
    """Run the command in this process: another one would import torch again.

    Its smallest budget has fewer runs, of every eighth image.
    """
    command = ["topokit", "study", "training-behavior", *map(str, arguments)]
    with (
        sizes_forgotten(),
        patch.dict(STUDY.grids, smoke=SMALLEST),
        patch.object(digits, "load", few_images),
        patch.object(sys, "argv", command),
        chdir(cwd),
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as exit_,
    ):
        main()
    return SimpleNamespace(returncode=exit_.value.code, stdout=out.getvalue(), stderr=err.getvalue())


@cache
def few_images(_folder=Path(), _data_dir=None, load=digits.load):
    """Every eighth of the digits."""
    images = load(Path(), None)
    parts = ("train_inputs", "train_targets", "test_inputs", "test_targets")
    return replace(images, **{name: getattr(images, name)[::8] for name in parts})


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of the smallest budget's study, and what the command said."""
    out = tmp_path_factory.mktemp("study") / "smoke"
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("TOPOKIT_DATA_DIR", raising=False)
        patched.setenv("XDG_CACHE_HOME", str(out))
        run = study("--out", out, "--workers", 1, "--json")
    assert run.returncode == 0, run.stderr
    return out, json.loads(run.stdout)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_smallest_budget_needs_no_data(smoke):
    out, told = smoke
    assert told["states"] == {"finished": 28, "failed": 0, "running": 0, "waiting": 0}
    assert {row["dataset"] for row in rows(out / "tables" / "runs.csv")} == {"digits"}
    assert {row["state"] for row in rows(out / "tables" / "runs.csv")} == {"finished"}


@pytest.mark.long
def test_the_smallest_budget_is_done_in_three_minutes(tmp_path):
    start = time.monotonic()
    subprocess.run([TOPOKIT, "study", "training-behavior", "--out", tmp_path / "smoke"], check=True)
    assert time.monotonic() - start < BOUND
    states = {row["run"]: row["state"] for row in rows(tmp_path / "smoke" / "tables" / "runs.csv")}
    assert states == {run.name: "finished" for run in STUDY.plan("smoke")}


def test_its_report_is_drawn_by_a_browser_that_asks_nobody(smoke, browse):
    page = smoke[0] / "report.html"
    found, asked = browse(page, 1280)
    assert len(found["sizes"]) == page.read_text().count("<figure>") > 8
    assert all(across > 200 and up > 150 for across, up in found["sizes"])
    assert (found["fetched"], asked, found["spills"]) == ([], set(), [])


def test_every_experiment_of_it_is_in_the_report(smoke):
    experiments = {"one-time", "iterative", "retrained", "same-size", "same-edges"}
    assert {row["experiment"] for row in rows(smoke[0] / "tables" / "runs.csv")} == experiments
    assert {row["experiment"] for row in rows(smoke[0] / "numbers" / "means.csv")} >= experiments - {
        "one-time",
        "iterative",
    }


def test_a_second_call_has_nothing_to_do(smoke):
    out, told = smoke
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    run = study("--out", out, "--json")
    assert run.returncode == 0
    assert json.loads(run.stdout) == told
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before


def test_the_tables_alone_give_the_same_report(smoke, tmp_path):
    out = smoke[0]
    run = study("--tables", out / "tables", "--out", tmp_path / "again")
    assert run.returncode == 0, run.stderr
    assert same_files(tmp_path / "again", out)


def test_known_tables_spare_all_runs_and_say_where_they_were_done(smoke, tmp_path):
    tables, out = smoke[0] / "tables", tmp_path / "out"
    for known in (tables, out / "tables"):  # the second time from those that the first time gave
        run = study("--known", known, "--out", out, "--json")
        assert run.returncode == 0, run.stderr
        assert list((out / "runs").iterdir()) == []
        for name in ("runs.csv", "epochs.csv", "prunings.csv"):
            assert (out / "tables" / name).read_bytes() == (tables / name).read_bytes()
    about, first = (json.loads((folder / "study.json").read_text()) for folder in (out / "tables", tables))
    assert (about["seconds"], "started" in about) == (0, False)
    assert about["earlier"][0] == first
    told = [line for line in (smoke[0] / "report.md").read_text().splitlines() if line.startswith("| ")]
    assert told == [line for line in (out / "report.md").read_text().splitlines() if line.startswith("| ")]


def test_a_damaged_known_table_stops_a_study_before_a_run(smoke, tmp_path):
    known = shutil.copytree(smoke[0] / "tables", tmp_path / "known")
    (known / "study.json").write_text("{")
    run = study("--known", known, "--out", tmp_path / "out")
    assert (run.returncode, (tmp_path / "out").exists()) == (1, False)
    assert "study.json cannot be read" in run.stderr
    run = study("--tables", known, "--known", known, "--out", tmp_path / "out")
    assert (run.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "--tables runs nothing: omit --known" in run.stderr


def same_files(one, other):
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert "report.html" in names
    assert [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()] == []
    return names


def test_the_committed_report_is_that_of_the_committed_tables(report, is_same):
    """Without its figures."""

    def text(path):
        return re.sub(r"<svg.*?</svg>", "<svg/>", path.read_text(), flags=re.DOTALL)

    names = [path.relative_to(report) for path in report.rglob("*") if path.is_file() and path.suffix != ".svg"]
    assert Path("report.html") in names
    assert [name for name in names if not is_same(text(report / name), text(COMMITTED / name))] == []


@pytest.mark.skipif(
    matplotlib.__version__ != DRAWN_BY,
    reason=f"the committed figures are by matplotlib {DRAWN_BY}; {matplotlib.__version__} draws other bytes",
)
def test_the_committed_figures_are_those_of_the_committed_tables(report, is_same):
    names = [path.relative_to(report) for path in report.rglob("*.svg")]
    assert names
    assert [name for name in names if not is_same((report / name).read_text(), (COMMITTED / name).read_text())] == []


def test_no_committed_run_has_left_its_grid():
    committed = {row["run"] for row in rows(COMMITTED / "tables" / "runs.csv")}
    budget = json.loads((COMMITTED / "tables" / "study.json").read_text())["budget"]
    assert committed <= {run.name for run in STUDY.plan(budget)}


@pytest.mark.parametrize("package", ["jinja2", "pandas"])
def test_what_the_report_needs_is_asked_for_before_a_run(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=package):
        topokit_train.study("training-behavior", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("budget", STUDY.grids)
def test_every_budget_has_runs_whose_topologies_fit(budget):
    images = {"mnist": (1, 28, 28), "digits": (1, 28, 28), "cifar10": (3, 24, 24)}
    for run in {run.stack: run for run in STUDY.plan(budget)}.values():
        nets = [net for one in run.topologies if not one.pruned for net in one.open(Path())]
        weights = model_source(run.config.model).weights(Shape(images[run.config.dataset], 10), nets)
        assert len(place(nets, weights)) == sum(map(len, nets)), run.label


@pytest.mark.parametrize("budget", STUDY.grids)
def test_every_arm_has_as_many_edges_as_the_one_that_it_is_compared_with(budget):
    """Regular twins to the edge, random ones to five standard deviations, bigger networks to two per cent."""
    edges = {}
    for run in STUDY.plan(budget):
        if run.topologies and not run.needs and run.config.seed == 0:
            nets = [net for one in run.topologies for net in one.open(Path())]
            place = (run.tags["experiment"], run.config.model, run.config.dataset, run.config.recipe)
            key = (*place, run.tags.get("density"), run.tags.get("times"))
            edges.setdefault(key, {})[run.tags["arm"]] = sum(net.edges for net in nets)
    assert edges
    for (experiment, model, dataset, *_, times), arms in edges.items():
        radix = arms.get("radix", arms.get("radix-split"))
        if radix:
            assert arms.get("regular", radix) == radix
            assert abs(arms["random"] - radix) < 5 * radix**0.5
        if experiment == "same-edges" and times:
            assert abs(arms["random"] / DENSE[model, dataset] - 1) < 0.02
