"""A wheel that is built without a compiler is pure Python, and computes the same."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("topokit", "topokit_train", "cli", "native", "pyproject.toml", "README.md", "LICENSE")
TESTS = (
    "topokit/test_circulant.py",
    "topokit/test_native.py",
    "topokit_train/test_challenge_engines.py",
    "topokit_train/test_chain.py",
    "topokit_train/test_native.py",
)
pytestmark = pytest.mark.long


def copied(names, source, target):
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source / name, target)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which topokit is installed without a compiler, from sources with a library of an earlier build."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    copied(SOURCES, ROOT, source)
    (source / "topokit" / "libtopokit.so").write_bytes(b"of an earlier build")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)]
    subprocess.run(command, env={**os.environ, "CC": "false", "CXX": "false"}, check=True)
    return target


def run_with(installed, *arguments, **settings):
    """Run Python with the installed package before all others."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("TOPOKIT_NATIVE", None)
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, **settings)


def test_the_wheel_has_no_library_and_is_for_every_platform(installed):
    (about,) = installed.glob("topokit-*.dist-info/WHEEL")
    assert {"Root-Is-Purelib: true", "Tag: py3-none-any"} <= set(about.read_text().splitlines())
    assert {path.parts[-1] for path in installed.rglob("*") if path.suffix in (".so", ".cpp", ".h")} == set()
    assert (installed / "topokit" / "_native.py").exists()


def test_the_version_says_that_there_is_no_library(installed):
    printed = run_with(installed, installed / "bin" / "topokit", "--version").stdout
    assert printed == f"topokit, version {version('topokit')} (no native library: not compiled)\n"


def test_tests_pass_with_it(installed, tmp_path):
    copied(("tests", "pyproject.toml"), ROOT, tmp_path)
    code = "import topokit, topokit_train; print(topokit.__file__, topokit_train.__file__)"
    assert run_with(installed, "-c", code, cwd=tmp_path).stdout.count(str(installed)) == 2
    done = run_with(installed, "-m", "pytest", *(f"tests/{name}" for name in TESTS), cwd=tmp_path)
    assert not done.returncode, done.stdout + done.stderr
    assert " passed" in done.stdout.splitlines()[-1]
