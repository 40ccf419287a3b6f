"""Whatever is killed, and whenever: a sweep ends complete, and its tables are those of one that nobody disturbed."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from distributed import LocalCluster

from topokit_train.sweeps.sweep import Progress, sweep

GRID = """
    [defaults]
    epochs = 1
    batch_size = 500
    model = "mlp"
    [[runs]]
    label = "radix"
    topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }
    each.lr = RATES
    each.seed = "0-5"
    [[runs]]
    label = "bernoulli"
    topology = { family = "bernoulli", widths = [784, 16, 10], density = 0.1, seed = 1 }
    each.lr = RATES
    each.seed = "0-5"
    [[runs]]
    label = "regular"
    topology = { family = "fixed-fan-in", widths = [784, 16, 10], fan_in = 9, seed = 1 }
    each.lr = RATES
    each.seed = "0-5"
    [[runs]]
    label = "pruned"
    model = "lenet-300-100"
    command = "prune"
    each.seed = SEEDS
    [[runs]]
    label = "retrained"
    model = "lenet-300-100"
    topology = { pruned = "pruned", sparsity = 0.9 }
    each.seed = SEEDS
"""
SMALL = """
    [[runs]]
    epochs = 1
    batch_size = 500
    model = "mlp"
    topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }
    each.lr = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008]
    each.seed = "0-1"
"""
MAIN = "from topokit_cli.main import main; main()"
PATIENCE = 300  # seconds for what takes a few on an idle machine
MEASURED = {  # how far columns may be off: networks that go on in a smaller stack add in another order
    **dict.fromkeys(("train_loss", "test_accuracy", "accuracy_before"), 0.02),
    "threshold": 0.001,
    "dead_classes": 1,
    "dead_units": 3,
    **dict.fromkeys(("effective_sparsity_before", "effective_sparsity_after"), 0.01),
}


@pytest.fixture
def started(tmp_path):
    """Start `topokit sweep` on the grid that runs_of wrote; what is left of it is killed after the test."""
    begun = []

    def start(*options):
        command = [sys.executable, "-c", MAIN, "sweep", "grid.toml", "--out", "disturbed", *options]
        with (tmp_path / "said.txt").open("a") as said:
            process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(done, *arguments):
    """Wait until `done(*arguments)` gives something true, and return that."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := done(*arguments):
            return found
        time.sleep(0.01)
    raise AssertionError(f"{done.__name__}{arguments} never came")


def workers_of(process):
    """The worker processes of a sweep that have begun to work."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def finished(folder, wanted):
    """Whether so many runs are finished."""
    return len(list((folder / "runs").glob("*/result.json"))) >= wanted


def tables(folder):
    """The rows of all tables, without the seconds."""
    found = {}
    for name in ("runs", "epochs", "prunings"):
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            found[name] = list(csv.DictReader(file))
        for row in found[name]:
            row.pop("train_seconds", None)
    return found


def assert_same_tables(one, two):
    """Both folders' tables have the same rows in the same order, up to rounding."""
    pairs = zip(tables(one).values(), tables(two).values(), strict=True)
    for ours, theirs in (row for rows in pairs for row in zip(*rows, strict=True)):
        for column, most in MEASURED.items():
            a, b = ours.pop(column, ""), theirs.pop(column, "")
            assert a == b or float(a) == pytest.approx(float(b), abs=most), (column, ours)
        assert ours == theirs


@pytest.mark.parametrize(("count", "kills"), [(20, 2), pytest.param(200, 5, marks=pytest.mark.long)])
def test_runs_survive_kills_of_workers_and_of_the_main_process(runs_of, tmp_path, started, count, kills):
    seeds = list(range(count // 20))
    rates = [(seed + 1) / 1000 for seed in seeds]
    runs = runs_of(GRID.replace("RATES", str(rates)).replace("SEEDS", str(seeds)), threads=1)
    assert len({run.name for run in runs}) == count
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    assert sweep(runs, straight, quiet=True).complete

    chance = random.Random(6)
    moments = sorted(chance.sample(range(1, count // 2), kills))
    victims = ["worker"] * (kills - 1)
    victims.insert(chance.randrange(kills), "main")
    process = started("--workers", "2")
    for moment, victim in zip(moments, victims, strict=True):
        until(finished, disturbed, moment)
        workers = until(workers_of, process)
        if victim == "worker":
            chance.choice(workers).kill()
            continue
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert psutil.wait_procs(workers, timeout=PATIENCE)[1] == [], "orphans go on"
        process = started("--workers", "2")
    said = tmp_path / "said.txt"
    assert process.wait(PATIENCE) == 0, said.read_text()

    found = tables(disturbed)
    assert len(found["runs"]) == len({row["run"] for row in found["runs"]}) == count
    assert len(found["epochs"]) == count
    assert_same_tables(disturbed, straight)
    settings = [json.loads(path.read_text()) for path in (disturbed / "runs").glob("*/config.json")]
    assert {one["threads"] for one in settings} == {1}, "worker processes share the processors"


@pytest.mark.filterwarnings("ignore")  # Dask's own, of a worker that is gone
def test_a_dask_worker_that_is_killed_loses_nothing(runs_of, tmp_path, monkeypatch):
    runs = runs_of(SMALL, threads=1)
    assert sweep(runs, tmp_path / "straight", quiet=True).complete
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        victims = [next(iter(cluster.workers.values())).pid]
        report = Progress.report

        def report_and_kill(*arguments):
            report(*arguments)
            if victims:
                os.kill(victims.pop(), signal.SIGKILL)

        monkeypatch.setattr(Progress, "report", report_and_kill)
        assert sweep(runs, tmp_path / "disturbed", scheduler=cluster.scheduler_address, quiet=True).complete
    assert not victims
    assert_same_tables(tmp_path / "disturbed", tmp_path / "straight")


def test_a_scheduler_that_vanishes_is_told_of_and_another_executor_goes_on(runs_of, tmp_path, started):
    runs = runs_of(SMALL)
    file = tmp_path / "scheduler.json"
    parts = [dask("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file))]
    try:
        address = until(address_in, file)
        parts.append(dask("worker", address, "--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)))
        process = started("--scheduler", address)
        until(finished, tmp_path / "disturbed", 2)
        parts[0].kill()
        assert process.wait(PATIENCE) == 1
    finally:
        for part in parts:
            part.kill()
            part.wait()
    said = (tmp_path / "said.txt").read_text().splitlines()
    assert said[-1] == "topokit: the scheduler is gone; nothing is lost: run the same command again"
    assert not [line for line in said if "Error" in line]
    assert sweep(runs, tmp_path / "disturbed", quiet=True).complete


def dask(part, *options):
    command = [sys.executable, "-m", f"distributed.cli.dask_{part}", "--no-dashboard", *options]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def address_in(path):
    """The scheduler's address; None until the scheduler has written all of it."""
    try:
        return json.loads(path.read_text())["address"]
    except (FileNotFoundError, ValueError):
        return None
