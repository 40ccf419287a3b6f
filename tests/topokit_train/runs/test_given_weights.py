"""Training that starts from weights in a file."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.config import TrainConfig
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs.checkpoints import load
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_seeds
from topokit_train.training import Trainer

SLOTS = ("fc1.weight", "fc2.weight", "fc3.weight")


@pytest.fixture
def start(tmp_path):
    """A file of the weights of a dense network."""
    draw = torch.Generator().manual_seed(5)
    shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    weights = {f"{name}.weight": torch.randn(shape, generator=draw) / 20 for name, shape in shapes.items()}
    biases = {f"{name}.bias": torch.randn(shape[0], generator=draw) / 20 for name, shape in shapes.items()}
    save_file(weights | biases | {"other": torch.zeros(3)}, tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def first_checkpoint(monkeypatch, folder, *args, many=None, **settings):
    """The tensors of a run that is stopped before its first step."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run_epoch", stop)
    config = TrainConfig(epochs=1, batch_size=500, **settings)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(config, *args, many, run=folder) if many else train(config, *args, run=folder)
    monkeypatch.undo()
    return load(folder / (f"seed{many[-1]}" if many else "") / "checkpoint.safetensors").tensors


@pytest.mark.parametrize("many", [None, [3, 4]])
@pytest.mark.parametrize(
    "topology", [None, default_topology(), tk.Bernoulli(widths=(784, 300, 100, 10), density=".1", seed=1)]
)
def test_edges_have_the_files_weights(start, tmp_path, monkeypatch, topology, many):
    tensors = first_checkpoint(monkeypatch, tmp_path / "run", topology, many=many, weights=start)
    wanted = load_file(start)
    layers = [] if topology is None else [topology.layer(i) for i in range(len(topology))]
    for i, name in enumerate(SLOTS):
        if i < len(layers):
            values = wanted[name].numpy()[layers[i].indices.astype(int), layers[i].sources.astype(int)]
            np.testing.assert_array_equal(tensors[name.replace("weight", "values")], values)
        else:
            np.testing.assert_array_equal(tensors[name], wanted[name])
        bias = name.replace("weight", "bias")
        np.testing.assert_array_equal(tensors[bias], wanted[bias])


def test_a_lottery_ticket_starts_from_the_first_weights(tmp_path, monkeypatch):
    folder = tmp_path / "pruned"
    train(PruneConfig(epochs=2, batch_size=300, to=0.9, begin=0, end=1, seed=6, rewind="initial"), run=folder)
    net = tk.load(folder / "topology-0.9.safetensors")
    ticket = first_checkpoint(monkeypatch, tmp_path / "ticket", net, weights=folder / "rewind.safetensors", seed=1)
    dense = first_checkpoint(monkeypatch, tmp_path / "dense", None, seed=6)
    for layer, name in zip(net.stream(), SLOTS, strict=True):
        values = dense[name][layer.indices.astype(int), layer.sources.astype(int)]
        np.testing.assert_array_equal(ticket[name.replace("weight", "values")], values)


@pytest.mark.parametrize(
    ("model", "wiring"),
    [
        ("lenet-300-100", default_topology()),
        ("mlp", tk.Bernoulli(widths=(784, 16, 10), density=".1", seed=1)),
        (
            "lenet-5",
            [
                tk.Bernoulli(widths=(20, 50), density=".1", seed=1),
                tk.Bernoulli(widths=(2450, 384), density=".1", seed=2),
            ],
        ),
    ],
)
def test_a_sparse_run_starts_where_another_of_its_wiring_ended(few_digits, tmp_path, monkeypatch, model, wiring):
    train(TrainConfig(model=model, epochs=1, seed=3), wiring, data=few_digits, run=tmp_path / "first")
    ended = tmp_path / "first" / "checkpoint.safetensors"
    first = load(ended).tensors
    state = torch.random.get_rng_state()
    again = first_checkpoint(monkeypatch, tmp_path / "again", wiring, model=model, weights=ended)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = {name for name in first if not name.startswith("optimizer.")}
    assert {name for name in again if not name.startswith("optimizer.")} == weights
    for name in weights:
        np.testing.assert_array_equal(again[name], first[name])


def test_sparse_weights_of_other_edges_are_refused(tmp_path):
    train(TrainConfig(epochs=1, batch_size=500), default_topology(), run=tmp_path / "first")
    path = tmp_path / "first" / "checkpoint.safetensors"
    other = tk.Bernoulli(widths=(784, 300, 100), density=".1", seed=1)
    for wiring, here in ((other, "other edges"), (None, "all edges")):
        with pytest.raises(InvalidSpecError, match=f"fc1 is sparse there, and has {here} here: give the topology"):
            train(TrainConfig(weights=path), wiring, run=tmp_path / "run")


def test_a_run_goes_on_without_the_file(start, tmp_path):
    config = TrainConfig(epochs=1, batch_size=500, weights=start)
    result = train(config, None, run=tmp_path / "run")
    start.unlink()
    assert train(config, None, run=tmp_path / "run", resume=True) == result
    with pytest.raises(InvalidSpecError, match="weights is None, but the run in"):
        train(TrainConfig(epochs=1, batch_size=500), None, run=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda t: t.pop("fc2.bias"),
            FileFormatError,
            r"has no fc2\.bias: weights needs all of a dense lenet-300-100",
        ),
        (
            lambda t: t.update({"fc2.bias": torch.zeros(9)}),
            FileFormatError,
            r"fc2\.bias .* differ: \(9,\) and \(100,\)",
        ),
        (
            lambda t: t["fc1.weight"][3].fill_(torch.nan),
            FileFormatError,
            r"fc1\.weight holds a number that is not finite",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(start, tmp_path, change, error, message):
    tensors = load_file(start)
    change(tensors)
    save_file(tensors, tmp_path / "changed.safetensors")
    with pytest.raises(error, match=message):
        train(TrainConfig(weights=tmp_path / "changed.safetensors"), None, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_cannot_be_read_are_named(start, tmp_path):
    with pytest.raises(TopokitError, match=r"cannot read .*none"):
        train(TrainConfig(weights=tmp_path / "none"), None, run=tmp_path / "run")
    start.write_bytes(start.read_bytes()[:-3])
    with pytest.raises(FileFormatError, match="is damaged"):
        train(TrainConfig(weights=start), None, run=tmp_path / "run")
