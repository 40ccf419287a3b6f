"""Grids as tests write them, and what a sweep leaves in a table."""

import csv
import textwrap

import pytest

from topokit_train.sweeps.grid import read_grid


@pytest.fixture
def runs_of(tmp_path):
    """The runs of a grid that is given as text."""

    def read(text, **where):
        path = tmp_path / "grid.toml"
        path.write_text(textwrap.dedent(text))
        return read_grid(path, where)

    return read


@pytest.fixture(scope="session")
def rows_of():
    """The rows of a table, as dictionaries of texts."""

    def read(folder, name):
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read
