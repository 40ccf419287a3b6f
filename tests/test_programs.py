"""The short programs and the notebook of docs/examples run, and stay short."""

import os
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
LONGER = {"regression", "residual", "rewire", "transformer"}  # tests/cli/test_examples.py runs these
PROGRAMS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in LONGER)
LINES = 15


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_runs(path, tmp_path, monkeypatch, capsys):
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= LINES
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip() or path.stem == "plots"


def test_there_are_nine_programs_and_a_notebook():
    assert len(PROGRAMS) == 9
    assert len(list(FOLDER.glob("*.ipynb"))) == 1


def test_the_notebook_runs_and_shows_tables_and_pictures(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(FOLDER / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    html = [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert len(html) == 5
    assert [("<img" in one) for one in html] == [False, True, False, False, False]  # of the small network alone
    assert all("<table" in one for one in html)
