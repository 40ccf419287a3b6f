"""Reading a study's tables, and what is said of damaged ones."""

import json

import pytest

from topokit.errors import FileFormatError, NotFoundError
from topokit_train.studies.tables import read_tables


def test_values_come_back_with_their_types(study, tmp_path):
    run = study.add(
        0.9712,
        3,
        [(0.5, 0.25, ""), (0.75, 0.5, 0.125)],
        [(0.5, 0.9, 0.8)],
        experiment="iterative",
        density="0.05",
        times="",
        error="a, b\nc",
    )
    tables = read_tables(study.write(tmp_path))
    (row,) = tables.finished.itertuples()
    assert (row.run, row.seed, row.test_accuracy, row.density, row.x) == (run, 3, 0.9712, 0.05, 0.05)
    assert (row.error, row.validation, row.dead_classes) == ("a, b\nc", 5000, 0)
    epochs = tables.epochs[["run", "epoch", "test_accuracy", "threshold"]].astype(object)
    assert epochs.where(epochs.notna(), None).to_numpy().tolist() == [[run, 1, 0.5, None], [run, 2, 0.75, 0.125]]
    columns = ["target", "density", "accuracy_before", "test_accuracy"]
    assert tables.prunings[columns].to_numpy().tolist() == [[0.5, 0.5, 0.9, 0.8]]


def test_runs_that_failed_or_wait_are_not_finished(study, tmp_path):
    study.add("", state="failed", experiment="same-size")
    study.add("", state="waiting", experiment="same-size")
    assert read_tables(study.write(tmp_path)).finished.empty


def test_prunings_may_be_missing(study, tmp_path):
    (study.write(tmp_path) / "prunings.csv").unlink()
    assert read_tables(tmp_path).prunings.empty


@pytest.mark.parametrize("name", ["runs.csv", "epochs.csv", "study.json"])
def test_a_missing_file_is_named(study, tmp_path, name):
    (study.write(tmp_path) / name).unlink()
    with pytest.raises((FileFormatError, NotFoundError), match=f"{name} (is missing: give the folder|cannot be read)"):
        read_tables(tmp_path)


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("runs.csv", "recipe,", "recipes,", "runs.csv has no column recipe: write the tables again"),
        ("epochs.csv", ",threshold", ",level", "epochs.csv has no column threshold"),
        ("runs.csv", "finished", "done", "run r00000 is 'done', not one of finished, failed, running, waiting"),
        ("runs.csv", "0.97", "high", "row 2: test_accuracy must be a number, not 'high'"),
        ("runs.csv", ",10,", ",,", "row 2: epochs must be an integer, not ''"),
        ("runs.csv", "r00000,", "", "row 2: not as many cells as columns"),
        ("runs.csv", "r00000,", "r00000,,", "row 2: not as many cells as columns"),
        ("epochs.csv", "r00000,1", "r00000,1.5", "row 2: epoch must be an integer, not '1.5'"),
        ("study.json", "{", "", "study.json cannot be read"),
        ("study.json", '{"study"', '{"format": 2, "study"', "study.json has format 2, but this release reads format 1"),
    ],
)
def test_damaged_tables_are_refused_with_the_place(study, tmp_path, name, old, new, message):
    study.add(0.97, 0, [(0.97, "", "")], experiment="same-size")
    study.write(tmp_path)
    replaced(tmp_path / name, old, new)
    with pytest.raises(FileFormatError, match=message):
        read_tables(tmp_path)


def test_a_study_must_be_an_object(study, tmp_path):
    (study.write(tmp_path) / "study.json").write_text(json.dumps([1]))
    with pytest.raises(FileFormatError, match="is not a JSON object"):
        read_tables(tmp_path)


def test_bytes_that_are_no_text_are_refused(study, tmp_path):
    (study.write(tmp_path) / "runs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match=r"runs\.csv is not a table"):
        read_tables(tmp_path)
