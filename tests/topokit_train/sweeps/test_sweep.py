"""What becomes of a sweep's runs: done once, gone on with, failed, waited for; and the tables of it."""

import errno
import fcntl
import json
import threading
import time
from concurrent.futures import Executor, Future
from contextlib import ExitStack, nullcontext

import pytest

from topokit.errors import FileFormatError, TopokitError
from topokit_train.runs.folder import RunFolder
from topokit_train.runs.train import train, train_all
from topokit_train.sweeps.execution import carry_out
from topokit_train.sweeps.folder import State, SweepFolder, count_start
from topokit_train.sweeps.summary import summary_of
from topokit_train.sweeps.sweep import sweep
from topokit_train.sweeps.tables import write_tables
from topokit_train.sweeps.task import LARGEST_STACK, DiskError, Task, tasks_of

GRID = """
    [defaults]
    epochs = 1
    batch_size = 500
    [[runs]]
    label = "sparse"
    tags = { arm = "radix" }
    model = "mlp"
    topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }
    each.seed = "0-2"
    [[runs]]
    label = "pruned"
    command = "prune"
    to = [0.5, 0.9]
    [[runs]]
    label = "retrained"
    topology = { pruned = "pruned" }
    each.topology.sparsity = [0.5, 0.9]
    [[runs]]
    label = "again"
    model = "mlp"
    topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }
    seed = 2
"""
ONE = "[[runs]]\nepochs = 1\nbatch_size = 500\nmodel = 'mlp'\n" + (
    "topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }\n"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("topokit_train.sweeps.execution.PAUSE", 0.01)


@pytest.fixture
def broken(monkeypatch):
    """Lets every run of these models fail: a set to add to and to remove from."""

    models = set()

    def breaking(configs, *args, **more):
        if configs[0].model in models:
            raise ValueError("broken on purpose")
        return train_all(configs, *args, **more)

    monkeypatch.setattr("topokit_train.runs.train.train_all", breaking)
    return models


@pytest.fixture(scope="module")
def tabled(tmp_path_factory, runs_in):
    """The runs of GRID, the last one with validation, their summary, and the folder of the sweep."""
    out = tmp_path_factory.mktemp("tabled") / "out"
    runs = runs_in(out.parent, GRID + "\n    validation = 37\n", threads=1)
    return runs, sweep(runs, out, quiet=True), out


def test_all_runs_are_done_and_tabled(tabled, rows_of):
    runs, found, out = tabled
    assert found.complete
    assert found.tables == out / "tables"
    assert found.states == {"finished": 7, "failed": 0, "running": 0, "waiting": 0}
    assert [(group.label, group.axes, group.runs, group.finished) for group in found.groups] == [
        ("sparse", "", 3, 3),
        ("pruned", "", 1, 1),
        ("retrained", "topology.sparsity=0.5", 1, 1),
        ("retrained", "topology.sparsity=0.9", 1, 1),
        ("again", "", 1, 1),
    ]
    rows = rows_of(out, "runs")
    assert [(row["run"], row["label"], row["seed"]) for row in rows] == [
        (run.name, run.label, str(run.config.seed)) for run in runs
    ]
    results = [json.loads((out / "runs" / run.name / "result.json").read_text()) for run in runs]
    for row, result in zip(rows, results, strict=True):
        assert row["state"] == "finished"
        assert float(row["test_accuracy"]) == result["test_accuracy"]
        assert float(row["train_seconds"]) == result["train_seconds"]
        assert int(row["total_parameters"]) == result["parameters"]["total"]
        assert int(row["nonzero_parameters"]) == result["parameters"]["nonzero"]
        assert int(row["dead_classes"]) == len(result["dead_classes"])
        assert int(row["dead_units"]) == sum(result["dead_units"].values())
        assert float(row["effective_sparsity_after"]) == result["effective_sparsity"]["after"]
        assert (row["error"], row["validation_accuracy"] == "") == ("", row["label"] != "again")
    mean = sum(result["test_accuracy"] for result in results[:3]) / 3
    assert found.groups[0].mean == pytest.approx(mean)
    assert found.groups[1].ci95 is None


def test_columns_say_what_was_run(tabled, rows_of):
    runs, _, out = tabled
    rows = rows_of(out, "runs")
    assert [row["arm"] for row in rows] == ["radix"] * 3 + [""] * 4
    assert [row["command"] for row in rows] == ["train"] * 3 + ["prune"] + ["train"] * 3
    sparse, pruned, retrained = rows[0], rows[3], rows[5]
    assert (sparse["topology"], sparse["widths"]) == ("radix-net-4.4-kron-49.1.1-crop-784.16.10", "784-16-10")
    assert (sparse["edges"], sparse["relu_logits"], sparse["optimizer"]) == (str(784 * 4 + 10 * 4), "false", "adam")
    assert float(sparse["topology_density"]) == pytest.approx((784 * 4 + 10 * 4) / (784 * 16 + 16 * 10))
    assert (pruned["topology"], pruned["widths"], pruned["to"]) == ("dense", "", "0.5;0.9")
    assert (pruned["method"], sparse["method"], sparse["to"]) == ("gradual", "", "")
    assert (retrained["pruned_from"], retrained["pruned_sparsity"]) == (pruned["run"], "0.9")
    assert (retrained["widths"], retrained["edges"]) == ("784-300-100-10", "26620")
    assert rows[6]["validation"] == "37"
    assert 0 <= float(rows[6]["validation_accuracy"]) <= 1

    epochs = rows_of(out, "epochs")
    assert [row["run"] for row in epochs] == [run.name for run in runs]
    assert [row["test_accuracy"] for row in epochs] == [row["test_accuracy"] for row in rows]
    assert [row["sparsity"] for row in epochs] == ["", "", "", "0.9", "", "", ""]
    prunings = rows_of(out, "prunings")
    assert [(row["run"], row["target"], row["edges"], row["epoch"]) for row in prunings] == [
        (pruned["run"], "0.5", "133100", "1"),
        (pruned["run"], "0.9", "26620", "1"),
    ]
    lines = [json.loads(line) for line in (out / "tables" / "runs.jsonl").read_text().splitlines()]
    assert [(line["run"], line["settings"]["seed"], line["result"]["test_accuracy"]) for line in lines] == [
        (row["run"], int(row["seed"]), float(row["test_accuracy"])) for row in rows
    ]
    assert lines[0]["tags"] == {"arm": "radix"}


def test_each_run_is_told_apart_by_its_axes(runs_of, rows_of, tmp_path):
    axes = "each.momentum = [0.5, 0.9]\neach.topology.crop_keep = ['first', 'last']\neach.seed = [0, 1]\n"
    runs = runs_of(ONE + "optimizer = 'sgd'\n" + axes, threads=1)
    write_tables(runs, SweepFolder(tmp_path / "out"))
    rows = rows_of(tmp_path / "out", "runs")
    assert len({(row["label"], row["axes"], row["seed"]) for row in rows}) == len(runs) == 8
    assert rows[0]["axes"] == "momentum=0.5, topology.crop_keep=first"
    lines = [json.loads(line) for line in (tmp_path / "out" / "tables" / "runs.jsonl").read_text().splitlines()]
    assert [line["axes"] for line in lines] == [row["axes"] for row in rows]


def test_a_run_that_failed_is_named_by_its_axes_too(runs_of, tmp_path, broken):
    broken.add("mlp")
    found = sweep(runs_of(ONE + "each.lr = [0.1, 0.2]\n", threads=1), tmp_path / "out", quiet=True)
    lines = str(found).splitlines()[-2:]
    assert [line.partition(":")[0].split("  ")[1] for line in lines] == [
        "runs-1, lr=0.1, seed 0",
        "runs-1, lr=0.2, seed 0",
    ]
    assert [one["axes"] for one in found.to_json()["troubles"]] == ["lr=0.1", "lr=0.2"]


def test_the_epoch_of_a_pruning_is_the_one_that_its_step_is_in(runs_of, rows_of, tmp_path):
    runs = runs_of("""
        [[runs]]
        command = "prune"
        epochs = 3
        batch_size = 500
        validation = 500  # 937 images, 2 steps an epoch
        to = [0.1, 0.9]
        begin = 0.0
        end = 0.6
        every = 0.2
    """)
    sweep(runs, tmp_path / "out", quiet=True)
    assert [(row["step"], row["epoch"]) for row in rows_of(tmp_path / "out", "prunings")] == [("1", "1"), ("4", "2")]


def test_images_that_are_not_at_hand_are_asked_for_once(runs_of, rows_of, tmp_path, monkeypatch):
    asked = []

    def unreachable(published, *_):
        asked.append(published.name)
        raise TopokitError("no network")

    monkeypatch.setattr("topokit_train.datasets.published.Published._download", unreachable)
    (run,) = runs_of("[[runs]]\ncommand = 'prune'\ndataset = 'mnist'", data_dir=str(tmp_path))
    folder = SweepFolder(tmp_path / "out")
    folder.run(run.name).mkdir()
    result = dict.fromkeys(("test_accuracy", "train_seconds", "effective_sparsity"))
    result |= {"parameters": {"total": 2, "nonzero": 1}, "dead_classes": [], "dead_units": {}}
    result |= {"topologies": [{"target": target, "step": 1} for target in (0.5, 0.9)]}
    (folder.run(run.name) / "result.json").write_text(json.dumps(result))
    (folder.run(run.name) / "metrics.jsonl").write_text('{"validation_accuracy": null}\n')
    for _ in range(2):
        write_tables([run], folder)
    assert [(row["target"], row["epoch"]) for row in rows_of(tmp_path / "out", "prunings")] == [
        ("0.5", ""),
        ("0.9", ""),
    ]
    assert asked == ["mnist"]


def test_a_run_of_a_sweep_is_the_run_that_train_does(runs_of, tmp_path, assert_same_run):
    runs = runs_of(ONE, threads=1)
    sweep(runs, tmp_path / "out", quiet=True)
    folder = tmp_path / "out" / "runs" / runs[0].name
    train(runs[0].config, runs[0].topologies[0].open(tmp_path), run=tmp_path / "alone")
    for file in ("run.json", "log.txt", "starts"):
        (folder / file).unlink()
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"run": str(folder)}))
    assert_same_run(folder, tmp_path / "alone")


def test_a_run_goes_on_with_the_threads_that_it_was_begun_with(runs_of, tmp_path, monkeypatch):
    from topokit_train.runs import jobs

    monkeypatch.setattr(jobs, "results_of", interrupted)
    text = ONE.replace("epochs = 1", "epochs = 2")
    with pytest.raises(KeyboardInterrupt):
        sweep(runs_of(text, threads=1, device="cpu"), tmp_path / "out", quiet=True)
    monkeypatch.undo()
    assert sweep(runs_of(text, threads=2), tmp_path / "out", quiet=True).complete


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_a_failed_run_is_told_of_and_done_again_on_request(runs_of, rows_of, tmp_path, broken, capsys):
    runs, out = runs_of(GRID), tmp_path / "out"
    broken.add("lenet-300-100")
    found = sweep(runs, out)
    assert found.states == {"finished": 3, "failed": 1, "running": 0, "waiting": 2}
    assert not found.complete
    assert [(trouble.label, trouble.error, trouble.needs) for trouble in found.troubles] == [
        ("pruned", "broken on purpose", None),
        ("retrained", None, runs[3].name),
        ("retrained", None, runs[3].name),
    ]
    assert f"[4/6] pruned, seed 0: failed: broken on purpose ({runs[3].name})" in capsys.readouterr().err
    assert [row["state"] for row in rows_of(out, "runs")[3:6]] == ["failed", "waiting", "waiting"]
    assert rows_of(out, "runs")[3]["error"] == "broken on purpose"
    broken.clear()
    assert sweep(runs, out).states["failed"] == 1
    assert "4 of 6 runs are there already, 1 of them failed" in capsys.readouterr().err
    assert sweep(runs, out, retry=True).complete


class DeathError(BaseException):
    """Nothing of this program outlives it, as if its process were killed."""


@pytest.fixture
def deadly(monkeypatch):
    """Ends the process of every run, as far as a test can."""

    def die(*_, **__):
        raise DeathError

    monkeypatch.setattr("topokit_train.runs.train.train_all", die)


@pytest.mark.usefixtures("deadly")
def test_a_run_whose_process_dies_again_and_again_is_failed(runs_of, tmp_path):
    runs = runs_of(ONE)
    for _ in range(4):
        with pytest.raises(DeathError):
            sweep(runs, tmp_path / "out", quiet=True)
    found = sweep(runs, tmp_path / "out", quiet=True)
    assert found.troubles[0].error == "its process died 4 times without an epoch's progress: killed, or out of memory"
    with pytest.raises(DeathError):
        sweep(runs, tmp_path / "out", retry=True, quiet=True)


@pytest.mark.usefixtures("deadly")
def test_deaths_with_progress_between_them_are_no_failure(runs_of, tmp_path):
    runs = runs_of(ONE)
    metrics = tmp_path / "out" / "runs" / runs[0].name / "metrics.jsonl"
    for death in range(9):
        with pytest.raises(DeathError):
            sweep(runs, tmp_path / "out", quiet=True)
        metrics.write_text("{}\n" * (death // 3))


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_and_reworded(*_, **__):
    try:
        full()
    except OSError as error:
        raise TopokitError("cannot write") from error


@pytest.mark.parametrize(
    ("end", "error"), [(interrupted, KeyboardInterrupt), (full, DiskError), (full_and_reworded, DiskError)]
)
def test_what_ends_runs_from_outside_is_not_held_against_them(runs_of, tmp_path, monkeypatch, end, error):
    runs = runs_of(ONE)
    with monkeypatch.context() as patched:
        patched.setattr("topokit_train.runs.jobs.save", end)  # the first checkpoint
        for _ in range(6):
            with pytest.raises(error, match=None if end is interrupted else "device.; nothing is lost: make room, and"):
                sweep(runs, tmp_path / "out", quiet=True)
    assert summary_of(runs, SweepFolder(tmp_path / "out")).states["waiting"] == 1
    assert (tmp_path / "out" / "runs" / runs[0].name / "starts").read_text() == ""
    assert sweep(runs, tmp_path / "out", quiet=True).complete


def test_ctrl_c_is_not_held_against_runs_that_a_clusters_workers_go_on_with(runs_of, tmp_path, monkeypatch):
    runs, folder = runs_of(ONE), SweepFolder(tmp_path / "out")
    path = folder.run(runs[0].name)
    path.mkdir()
    with ExitStack() as held:

        class Cluster(Executor):
            def submit(self, _task):
                held.enter_context(RunFolder(path, "run"))
                count_start(path)
                return Future()

        monkeypatch.setattr("topokit_train.sweeps.execution.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carry_out(runs, folder, lambda: nullcontext(Cluster()), print)
        assert folder.state(runs[0].name) is State.RUNNING
    assert folder.starts(runs) == 0


def test_stacks_hold_seeds_and_are_no_larger_than_they_should_be(runs_of, tmp_path):
    runs = runs_of("[[runs]]\neach.lr = [0.1, 0.2]\neach.seed = '0-16'")
    tasks = tasks_of(runs, SweepFolder(tmp_path / "out"))
    assert [len(task.runs) for task in tasks] == [LARGEST_STACK, 1] * 2
    assert all(len({run.config.lr for run in task.runs}) == 1 for task in tasks)


def test_what_another_program_does_is_waited_for(runs_of, tmp_path, capsys):
    runs = runs_of(ONE)
    folder = SweepFolder(tmp_path / "out").run(runs[0].name)
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert SweepFolder(tmp_path / "out").state(runs[0].name) is State.RUNNING
        thread = threading.Thread(target=sweep, args=(runs, tmp_path / "out"))
        thread.start()
        said = ""
        while thread.is_alive() and "waiting for it" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert thread.is_alive()
        assert not (folder / "starts").exists()
    thread.join()
    assert (folder / "result.json").exists()
    said += capsys.readouterr().err
    assert said.count(f"another program does runs-1, seed 0: waiting for it ({runs[0].name})") == 1
    assert "[1/1] runs-1, seed 0: " in said


def test_a_task_leaves_alone_what_has_ended_meanwhile(runs_of, tmp_path):
    runs = runs_of(ONE + "each.seed = '0-1'")
    folder = SweepFolder(tmp_path / "out")
    task = Task(tuple(runs), folder)
    sweep(runs[:1], tmp_path / "out", quiet=True)
    task()
    task()
    assert [(folder.run(run.name) / "starts").read_text() for run in runs] == ["0\n", "0\n"]
    assert folder.state(runs[1].name) is State.FINISHED


def test_looking_makes_nothing(runs_of, tmp_path):
    found = summary_of(runs_of(ONE), SweepFolder(tmp_path / "out", make=False))
    assert found.states["waiting"] == 1
    assert not (tmp_path / "out").exists()


def test_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "letter.txt").touch()
    for make in (True, False):
        with pytest.raises(FileFormatError, match=r"is not of a sweep: it contains letter.txt. Choose another out"):
            SweepFolder(tmp_path, make=make)
    with pytest.raises(TopokitError, match=r"cannot write .*: there is no folder .*: create it first"):
        SweepFolder(tmp_path / "a" / "b")
    about = tmp_path / "out" / "sweep.json"
    SweepFolder(about.parent)
    about.write_text(json.dumps(json.loads(about.read_text()) | {"schema": 2, "topokit": "9.0"}))
    with pytest.raises(FileFormatError, match=r"was written by topokit 9\.0, in format 2; this .* format 1"):
        SweepFolder(about.parent)
    about.write_text("{}")
    with pytest.raises(FileFormatError, match="is not of a sweep"):
        SweepFolder(about.parent)
    about.write_text("[")
    with pytest.raises(FileFormatError, match="cannot be read"):
        SweepFolder(about.parent)
