"""Runs that other tables tell of: not done again, and told of all the same."""

import csv
import json

import pytest

from topokit.errors import FileFormatError, NotFoundError
from topokit_train.sweeps.known import read_known
from topokit_train.sweeps.sweep import sweep

SPARSE = """
    [defaults]
    epochs = 1
    batch_size = 500
    [[runs]]
    label = "sparse"
    tags = { arm = "radix" }
    model = "mlp"
    topology = { radices = [[4, 4]], kron = [49, 1, 1], crop = [784, 16, 10] }
    each.seed = "0-2"
"""
PRUNED = """
    [[runs]]
    label = "pruned"
    command = "prune"
    to = [0.5, 0.9]
"""
RETRAINED = """
    [[runs]]
    label = "retrained"
    topology = { pruned = "pruned", sparsity = 0.9 }
"""
NAMES = ("runs", "epochs", "prunings")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, runs_in):
    """(the runs of the whole grid, the folder in which one sweep did them)."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    runs = runs_in(out.parent, SPARSE + PRUNED + RETRAINED, threads=1)
    assert sweep(runs, out, quiet=True).complete
    return runs, out


def rows_without_times(out, name, rows_of):
    return [{key: cell for key, cell in row.items() if key != "train_seconds"} for row in rows_of(out, name)]


def folders_of_runs(out):
    return {path.name for path in (out / "runs").iterdir()}


@pytest.mark.parametrize("first", [SPARSE, SPARSE + PRUNED, PRUNED + RETRAINED], ids=["not pruned", "pruned", "both"])
def test_two_sweeps_that_share_the_work_give_the_tables_of_one(undisturbed, runs_of, rows_of, tmp_path, first):
    runs, out = undisturbed
    defaults = "" if first.startswith(SPARSE) else "[defaults]\nepochs = 1\nbatch_size = 500\n"
    done = runs_of(defaults + first, threads=1)
    sweep(done, tmp_path / "one", quiet=True)
    known = read_known([tmp_path / "one" / "tables"])
    found = sweep(runs, tmp_path / "two", known=known, quiet=True)
    assert found.complete
    for name in NAMES:
        assert rows_without_times(tmp_path / "two", name, rows_of) == rows_without_times(out, name, rows_of)
    left = {run.name for run in runs} - {run.name for run in done}
    waits_for_the_pruned = {run.name for run in runs if run.label == "retrained"} & left
    again = {run.name for run in runs if run.label == "pruned" and waits_for_the_pruned}
    assert folders_of_runs(tmp_path / "two") == left | again
    lines = [json.loads(line) for line in (tmp_path / "two" / "tables" / "runs.jsonl").read_text().splitlines()]
    assert {line["run"] for line in lines} == left | again


def test_where_all_is_known_nothing_is_done_and_the_tables_are_the_same(undisturbed, tmp_path):
    runs, out = undisturbed
    known = read_known([out / "tables"])
    assert sweep(runs, tmp_path / "copy", known=known, status=True).complete
    assert not (tmp_path / "copy").exists()
    found = sweep(runs, tmp_path / "copy", known=known, quiet=True)
    assert found == sweep(runs, out, status=True)
    assert folders_of_runs(tmp_path / "copy") == set()
    for name in NAMES:
        table = f"tables/{name}.csv"
        assert (tmp_path / "copy" / table).read_bytes() == (out / table).read_bytes()


def test_what_is_known_and_not_asked_for_is_left_out(undisturbed, runs_of, rows_of, tmp_path):
    known = read_known([undisturbed[1] / "tables"])
    assert sweep(runs_of(SPARSE, threads=1), tmp_path / "out", known=known, quiet=True).complete
    assert {row["label"] for row in rows_of(tmp_path / "out", "runs")} == {"sparse"}


def changed(folder, name, change, without=None):
    """Change the rows of a table, or leave out a column."""
    path = folder / f"{name}.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in rows[0] if column != without]
    rows = change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of the tables, to be changed."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.csv").write_bytes((undisturbed[1] / "tables" / f"{name}.csv").read_bytes())
    return folder


def test_tables_of_before_there_was_a_column_for_axes_are_read(undisturbed, copied, tmp_path):
    changed(
        copied, "runs", lambda rows: [{k: v for k, v in row.items() if k != "axes"} for row in rows], without="axes"
    )
    assert "axes" not in (copied / "runs.csv").read_text()
    assert sweep(undisturbed[0], tmp_path / "out", known=read_known([copied]), quiet=True).complete
    again, before = (folder / "tables" / "runs.csv" for folder in (tmp_path / "out", undisturbed[1]))
    assert again.read_bytes() == before.read_bytes()


@pytest.mark.parametrize("state", ["failed", "waiting", "running"])
def test_only_finished_runs_are_known(undisturbed, copied, state):
    changed(copied, "runs", lambda rows: [rows[0] | {"state": state, "test_accuracy": ""}, *rows[1:]])
    assert set(read_known([copied])) == {run.name for run in undisturbed[0][1:]}


def test_the_folder_itself_is_believed_before_tables_and_the_first_tables_before_others(undisturbed, copied, tmp_path):
    runs, out = undisturbed
    changed(
        copied, "runs", lambda rows: [row | dict.fromkeys(("test_accuracy", "test_metric"), "0.25") for row in rows]
    )
    both = read_known([copied, out / "tables"])
    assert {run.row["test_accuracy"] for run in both.values()} == {"0.25"}
    assert sweep(runs, tmp_path / "nothing", known=both, status=True).groups[0].mean == 0.25
    assert sweep(runs, out, known=both, status=True) == sweep(runs, out, status=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("runs", lambda rows: [row | {"test_accuracy": ""} for row in rows], "finished, but its test_accuracy is ''"),
        ("runs", lambda rows: [row | {"test_accuracy": "98"} for row in rows], "but its test_accuracy is '98'"),
        ("runs", lambda rows: [row | {"test_accuracy": "nan"} for row in rows], "but its test_accuracy is 'nan'"),
        ("epochs", lambda rows: rows[1:], "has nothing of run .*, which runs.csv has"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(copied, name, change, message):
    changed(copied, name, change)
    with pytest.raises(FileFormatError, match=message):
        read_known([copied])


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_needed_whole(copied, name):
    (copied / f"{name}.csv").unlink()
    with pytest.raises(NotFoundError, match=f"{name}.csv is missing: give the folder"):
        read_known([copied])
