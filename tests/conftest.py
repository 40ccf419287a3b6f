"""Fixtures that many tests share."""

import gc
import importlib
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest


def pytest_configure():
    gc.disable()  # until all tests are collected: they stay, and looking through them again and again takes seconds
    os.fsync = lambda _: None  # only a loss of power would show that a file was not flushed


def pytest_collection_finish():
    gc.freeze()
    gc.set_threshold(50_000)  # by default, looking through what torch and others made takes a twentieth of all time
    gc.enable()


@pytest.fixture(autouse=True)
def _handlers():
    """The handlers of signals are as before the test: a command changes them until its process ends."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def tmp_path(tmp_path_factory):
    """A fresh folder; pytest's own has the test's name, so that a message about a file holds the words of that name."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture
def free_memory(monkeypatch):
    """Call as free_memory(size): so many bytes are free from now on."""

    def set_free(size):
        from topokit import csr

        monkeypatch.setattr(csr, "NOT_ASKED", 0)
        monkeypatch.setattr(csr.psutil, "virtual_memory", lambda: SimpleNamespace(available=size))

    return set_free


@pytest.fixture(scope="session")
def is_same():
    """A function of two texts: whether they are equal up to the last digit of their numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "docs")
        return importlib.import_module("make_families").is_same


@pytest.fixture(scope="session")
def mnist_dir():
    """The folder in $TOPOKIT_DATA_DIR that holds MNIST; the test is skipped where the variable is not set.

    Where it is set, MNIST must be there: a check that was asked for does not vanish without a word.
    """
    root = os.environ.get("TOPOKIT_DATA_DIR")
    if not root:
        pytest.skip("needs MNIST: set TOPOKIT_DATA_DIR to a folder that holds mnist/")
    folder = Path(root)
    assert (folder / "mnist" / "train-images-idx3-ubyte.gz").exists(), f"TOPOKIT_DATA_DIR={root} holds no mnist/"
    return folder


@pytest.fixture(scope="session")
def cifar10_dir():
    """The folder in $TOPOKIT_DATA_DIR, if it holds CIFAR-10; the test is skipped where it does not."""
    folder = Path(os.environ.get("TOPOKIT_DATA_DIR", "."))
    if not any((folder / name).exists() for name in ("cifar10", "cifar-10-batches-bin", "cifar-10-binary.tar.gz")):
        pytest.skip("needs CIFAR-10: set TOPOKIT_DATA_DIR to a folder that holds cifar10/")
    return folder


@pytest.fixture(scope="session")
def golden_dir():
    """The folder in $TOPOKIT_GOLDEN_DIR with official files; the test is skipped where the variable is not set."""
    root = os.environ.get("TOPOKIT_GOLDEN_DIR")
    if not root:
        pytest.skip("needs official files: set TOPOKIT_GOLDEN_DIR to a folder that holds graphchallenge/")
    folder = Path(root)
    assert (folder / "graphchallenge").is_dir(), f"TOPOKIT_GOLDEN_DIR={root} holds no graphchallenge/"
    return folder
