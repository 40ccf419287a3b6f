"""The locks name what `make` installs, on machines with and without CUDA."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted((ROOT / "locks").iterdir())


def name(requirement):
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_there_is_a_lock_for_each_python():
    assert [path.name for path in LOCKS] == [f"python3.{minor}.txt" for minor in (11, 12, 13)]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_one_release_of_every_direct_dependency_and_nothing_of_cuda(path):
    lines = path.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    extras = [group for extra, group in PROJECT["optional-dependencies"].items() if extra != "test-models"]
    direct = {name(one) for group in (PROJECT["dependencies"], *extras) for one in group} - {"topokit"}
    locked = [name(line) for line in lines]
    assert direct <= set(locked)
    assert len(locked) == len(set(locked))
    assert [one for one in locked if one.startswith(("cuda-", "nvidia-", "triton"))] == []
