"""`topokit train --tune` and `--explain-kernel`."""

import pytest

from topokit.errors import InvalidSpecError
from topokit_train import TrainConfig, explain_kernels
from topokit_train.layers import choice

SHORT = ("train", "--epochs", 1, "--batch-size", 500)


@pytest.fixture
def stopwatch(monkeypatch, tmp_path):
    """band is the fastest of all kernels, whatever the machine says."""
    monkeypatch.setattr(choice, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(choice, "measured", lambda *what: 1e-4 if what[-1] == "band" else 1e-3)


def test_kernels_are_explained_without_training(topokit, tmp_path):
    done = topokit(*SHORT, "--kernel", "csr", "--explain-kernel", "--json")
    assert done.json == {
        "kernels": [{"layer": name, "kernel": "csr", "reason": "asked for"} for name in ("fc1", "fc2")]
    }
    head, *lines = topokit(*SHORT, "--explain-kernel").out.splitlines()
    assert head.split() == ["layer", "kernel", "reason"]
    assert [line.split()[0] for line in lines] == ["fc1", "fc2"]
    assert all("estimated cost of a step at batch 500, over the dense product's: " in line for line in lines)
    assert [*tmp_path.iterdir()] == []
    for option in (["--run", "run"], ["--run", "run", "--resume"], ["--callback", "tensorboard"]):
        refused = topokit(*SHORT, "--explain-kernel", *option)
        assert (refused.code, "--explain-kernel trains nothing: omit --run" in refused.err) == (2, True)


def test_explained_kernels_are_those_of_the_run(topokit):
    kernels = explain_kernels(TrainConfig(epochs=1), "bernoulli widths=784,300,100 density=.1 seed=0", "0-1")
    run = topokit("train", "--epochs", 1, "--topology", "bernoulli widths=784,300,100 density=.1 seed=0", "--json")
    assert {kernel for _, kernel, _ in kernels} == {run.json["kernel"]}
    assert kernels.to_frame().layer.tolist() == ["fc1", "fc2"]
    assert explain_kernels(TrainConfig(), None) == []
    with pytest.raises(InvalidSpecError, match="layer 0 is 3 -> 3, but no remaining weight has that shape"):
        explain_kernels(TrainConfig(), "bernoulli widths=3,3 density=.1 seed=0")


@pytest.mark.usefixtures("stopwatch")
def test_tuning_takes_what_is_fastest_here_and_resuming_keeps_it(topokit, monkeypatch, tmp_path):
    explained = topokit(*SHORT, "--tune", "--explain-kernel", "--json").json["kernels"][0]
    assert explained["kernel"] == "band"
    assert explained["reason"].startswith("measured time of a step at batch 500: band 0.1 ms")
    assert topokit(*SHORT, "--tune", "--run", "run", "--json").json["kernel"] == "band"
    monkeypatch.setattr(choice, "measured", lambda *what: 1e-4 if what[-1] == "csr" else 1e-3)
    (tmp_path / "run" / "result.json").unlink()
    assert topokit("train", "--run", "run", "--resume", "--json").json["kernel"] == "band"


def test_a_kernel_and_tuning_do_not_go_together(topokit):
    refused = topokit(*SHORT, "--tune", "--kernel", "csr")
    assert refused.code == 2
    assert "give --kernel or --tune, not both" in refused.err
