"""Grids as tests write them, and what a sweep leaves in a table."""

import csv
import textwrap
from functools import partial

import pytest

from topokit_train.sweeps.grid import read_grid


@pytest.fixture(scope="session")
def runs_in():
    """The runs of a grid that is given as text, and written into a folder."""

    def read(folder, text, **where):
        path = folder / "grid.toml"
        path.write_text(textwrap.dedent(text))
        return read_grid(path, where)

    return read


@pytest.fixture
def runs_of(tmp_path, runs_in):
    """The runs of a grid that is given as text."""
    return partial(runs_in, tmp_path)


@pytest.fixture(scope="session")
def rows_of():
    """The rows of a table, as dictionaries of texts."""

    def read(folder, name):
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read
