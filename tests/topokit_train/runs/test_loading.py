"""A run's network, out of its folder, and as a dense one."""

import copy

import pytest
import torch
from torch import nn

import topokit as tk
from topokit.errors import TopokitError
from topokit_train import TrainConfig, densify, load_run, train
from topokit_train.datasets import load_dataset
from topokit_train.feeding.feed import Feed
from topokit_train.models.networks import Shape, build_model
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train_seeds

RUNS = {
    "sparse": (TrainConfig(epochs=1, batch_size=500), default_topology()),
    "dense": (TrainConfig(epochs=1, batch_size=500), None),
    "paper": (TrainConfig(epochs=2, recipe="paper", lr=0.05), default_topology()),
    "mlp": (
        TrainConfig(model="mlp", epochs=1, batch_size=500),
        tk.Bernoulli(widths=(784, 16, 10), density=".3", seed=1),
    ),
    "pruned": (PruneConfig(epochs=1, batch_size=500, to=0.9), None),
    "convolutions": (
        TrainConfig(model="lenet-5", epochs=1, batch_size=500),
        (
            tk.Bernoulli(widths=(500, 50), density=".1", seed=1),
            tk.Bernoulli(widths=(2450, 384, 10), density=".1", seed=2),
        ),
    ),
}


ONE_IMAGE = 1.5 / 360  # that another number of threads, or another kernel, may put into another class


def feed_of(config):
    return Feed(config, load_dataset("digits"), (config.seed,), torch.device("cpu"))


def accuracy(model, config):
    feed = feed_of(config)
    images, labels = feed.test
    with torch.inference_mode():
        return (model(feed.inputs.of_tests(images)).argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize("kind", RUNS)
def test_it_is_the_network_that_was_trained(kind, tmp_path):
    config, wiring = RUNS[kind]
    result = train(config, wiring, run=tmp_path / "run")
    state = torch.random.get_rng_state()
    model = load_run(tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert accuracy(model, config) == pytest.approx(result.test_accuracy, abs=ONE_IMAGE)
    model, images = model.double(), feed_of(config).test[0][:50].double()
    dense = build_model(config.model, wiring if kind == "mlp" else None, Shape((1, 28, 28), 10))
    if kind == "mlp":
        dense = nn.ModuleDict({"fc1": nn.Linear(784, 16), "fc2": nn.Linear(16, 10)})
        dense.forward = lambda images: dense["fc2"](dense["fc1"](images.flatten(1)).relu())
    dense.double().load_state_dict(densify(copy.deepcopy(model)).state_dict())
    logits = dense(images)
    torch.testing.assert_close(logits.relu() if kind == "paper" else logits, model(images))
    assert (model(images) < 0).any() != (kind == "paper")


def test_each_of_several_seeds_has_its_own_network(tmp_path):
    config = TrainConfig(epochs=1, batch_size=500)
    results = train_seeds(config, default_topology(), [3, 5], run=tmp_path / "runs")
    for result in results:
        model = load_run(tmp_path / "runs" / f"seed{result.seed}")
        assert accuracy(model, config) == pytest.approx(result.test_accuracy, abs=ONE_IMAGE)


def test_a_run_and_its_images_may_have_been_moved(tmp_path, make_idx):
    make_idx(tmp_path / "data", 1)
    config = TrainConfig(dataset=f"idx:{tmp_path / 'data'}", epochs=1, batch_size=20)
    train(config, None, run=tmp_path / "run")
    images = torch.ones(3, 1, 28, 28)
    logits = load_run(tmp_path / "run")(images)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(TopokitError, match=r"there is no folder .*data: give"):
        load_run(tmp_path / "run")
    assert torch.equal(load_run(tmp_path / "run", data_dir=tmp_path / "moved")(images), logits)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(TopokitError, match=r"holds no checkpoint\.safetensors: give the folder of a run"):
        load_run(tmp_path)
