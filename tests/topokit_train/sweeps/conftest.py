"""Grids as tests write them, and what a sweep leaves in a table."""

import csv
import textwrap
from functools import partial
from math import prod

import pytest

from topokit_train.datasets.idx import FILES
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
def make_idx():
    """Write an IDX folder of a few images, all as bright as is said."""

    def make(folder, brightness):
        folder.mkdir(exist_ok=True)
        for name, shape in zip(FILES, [(40, 28, 28), (40,), (20, 28, 28), (20,)], strict=True):
            header = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
            values = [brightness] * prod(shape) if len(shape) > 1 else [i % 10 for i in range(*shape)]
            (folder / name).write_bytes(header + bytes(values))

    return make


@pytest.fixture(scope="session")
def rows_of():
    """The rows of a table, as dictionaries of texts."""

    def read(folder, name):
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read
