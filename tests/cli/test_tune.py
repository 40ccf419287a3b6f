"""`topokit train --tune` and `--explain-kernel`."""

import pytest

from topokit_train.layers import choice

SHORT = ("train", "--epochs", 1, "--batch-size", 500)


@pytest.fixture
def stopwatch(monkeypatch, tmp_path):
    """band is the fastest of all kernels, whatever the machine says."""
    monkeypatch.setattr(choice, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(choice, "measured", lambda *what: 1e-4 if what[-1] == "band" else 1e-3)


def test_kernels_are_explained(topokit):
    done = topokit(*SHORT, "--kernel", "csr", "--explain-kernel", "--json")
    assert done.json["kernel"] == "csr"
    assert done.err.splitlines()[:2] == ["fc1: kernel csr, asked for", "fc2: kernel csr, asked for"]
    said = topokit(*SHORT, "--explain-kernel").err.splitlines()
    assert all("estimated cost of a step at batch 500, over the dense product's: " in line for line in said[:2])
    assert "kernel" not in topokit(*SHORT).err


@pytest.mark.usefixtures("stopwatch")
def test_tuning_takes_what_is_fastest_here_and_resuming_keeps_it(topokit):
    done = topokit(*SHORT, "--tune", "--explain-kernel", "--run", "run", "--json")
    assert done.json["kernel"] == "band"
    assert "fc1: kernel band, measured time of a step at batch 500: band 0.1 ms" in done.err
    again = topokit("train", "--run", "run", "--resume", "--explain-kernel", "--json")
    assert again.json["kernel"] == "band"
    assert "fc1: kernel band, the run was started with it" in again.err


def test_a_kernel_and_tuning_do_not_go_together(topokit):
    refused = topokit(*SHORT, "--tune", "--kernel", "csr")
    assert refused.code == 2
    assert "give --kernel or --tune, not both" in refused.err
