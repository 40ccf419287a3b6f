"""The examples in docs/examples: trained from the command line, killed, resumed, swept and loaded again."""

import json
from pathlib import Path

import pytest
import torch

from topokit_train.datasets import load_dataset
from topokit_train.runs.checkpoints import load
from topokit_train.runs.loading import load_run
from topokit_train.sweeps.folder import SweepFolder

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TEXT = "the quick brown fox jumps over the lazy dog; " * 60
RUNS = {
    "regression": {
        "dataset": f"{EXAMPLES / 'regression.py'}:data",
        "model": f"{EXAMPLES / 'regression.py'}:perceptron",
        "topology": "2: bernoulli density=.2 seed=0",
    },
    "residual": {
        "model": f"{EXAMPLES / 'residual.py'}:residual",
        "topology": "blocks.*: bernoulli density=.2 seed=0",
    },
    "transformer": {
        "dataset": "text:book.txt block=32",
        "model": f"{EXAMPLES / 'transformer.py'}:transformer",
        "topology": "layers.*: bernoulli density=.2 seed=0",
    },
    "rewire": {
        "method": f"{EXAMPLES / 'rewire.py'}:Rewire every=5 fraction=.2",
        "topology": "bernoulli widths=784,300,100 density=.02 seed=0",
    },
}
SHORT = {"epochs": 2, "batch_size": 500, "threads": 1}


@pytest.fixture
def flags(tmp_path, monkeypatch):
    """A function that returns the flags of an example's run; the text that one of them reads is there."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TEXT)

    def make(name, **others):
        settings = SHORT | ({"batch_size": 16} if name == "transformer" else {}) | RUNS[name] | others
        return [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]

    return make


def same(one, two):
    """Whether two runs hold the same weights, moments, edges and metrics, bit for bit."""
    a, b = (load(Path(run) / "checkpoint.safetensors") for run in (one, two))
    assert a.tensors.keys() == b.tensors.keys()
    assert all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)
    assert (a.fingerprints, a.method, a.scheduler) == (b.fingerprints, b.method, b.scheduler)
    return [one.train_loss for one in a.metrics] == [one.train_loss for one in b.metrics]


@pytest.mark.parametrize("name", RUNS)
def test_an_example_is_trained_resumed_and_loaded(name, flags, topokit, monkeypatch):
    monkeypatch.setattr("topokit_train.runs.jobs.INTERVAL", 0)  # a checkpoint after each epoch
    assert topokit("train", *flags(name), "--run", "straight").code == 0
    interrupt = Path("stop.py")
    interrupt.write_text(
        "from topokit_train import Callback\n"
        "class Stop(Callback):\n"
        "    def after_step(self, trainer):\n"
        "        if trainer.epochs_done == 1:\n"
        "            raise KeyboardInterrupt\n"
    )
    assert topokit("train", *flags(name), "--run", "stopped", "--callback", "stop.py:Stop").code == 130
    assert len(load(Path("stopped/checkpoint.safetensors")).metrics) == 1
    assert topokit("train", "--run", "stopped", "--resume").code == 0
    assert same("straight", "stopped")
    result = json.loads(Path("straight/result.json").read_text())
    assert result["parameters"]["nonzero"] < result["parameters"]["total"]
    source = {"model": RUNS[name]["model"]} if "model" in RUNS[name] else {}
    given = RUNS[name].get("dataset", "digits")
    dataset = load_dataset(given)
    model = load_run("straight", **source, data=dataset)
    inputs = torch.from_numpy(dataset.test_inputs[:4])
    outputs = model(inputs if name == "transformer" else inputs.float())
    assert outputs.isfinite().all()
    assert len(outputs) == 4


@pytest.mark.parametrize("name", RUNS)
def test_an_example_is_swept_over_three_seeds(name, flags, topokit):
    flags(name)
    settings = {**RUNS[name], **SHORT, "epochs": 1, "topology": RUNS[name]["topology"].removesuffix(" seed=0")}
    del settings["threads"]
    Path("grid.toml").write_text(
        "[[runs]]\nlabel = 'example'\neach.seed = '0-2'\n"
        + "".join(f"{key} = {value!r}\n" for key, value in settings.items())
    )
    done = topokit("sweep", "grid.toml", "--out", "sweep", "--workers", "1", "--threads", "1")
    assert done.code == 0, done.err
    folder = SweepFolder(Path("sweep"), make=False)
    checkpoints = [load(path / "checkpoint.safetensors") for path in folder.runs.iterdir()]
    assert len(checkpoints) == 3
    assert len({checkpoint.fingerprints for checkpoint in checkpoints}) == 3  # each seed draws its own edges
