"""Inactive units and effective sparsity, against slow counts."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

import topokit as tk
from topokit_train.activity import effective_sparsities
from topokit_train.activity import inactive_units as units_of
from topokit_train.config import TrainConfig
from topokit_train.layers.stacks import load_network_states, network_states
from topokit_train.models.networks import MNIST, Shape, build_model, build_stack, model_source
from topokit_train.results import results_of
from topokit_train.runs.topologies import default_topology
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SPARSE = tk.Bernoulli(widths=(784, 300, 100), density=".004", seed=1)


def inactive_units(made):
    return units_of(made.model, lambda: made.scores(*made.feed.test))


def slow_inactive(state, images):
    """Units of each hidden layer of a dense model that are 0 for every image."""
    inactive = {}
    x = images.flatten(1).numpy()
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ state[f"{name}.weight"].numpy().T + state[f"{name}.bias"].numpy(), 0)
        inactive[name] = int((x == 0).all(0).sum())
    return inactive


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seeds", [None, (1, 2)])
@pytest.mark.parametrize("order_seed", [None, 3])
def test_inactive_units_are_0_for_every_test_image(digits, monkeypatch, seeds, order_seed):
    monkeypatch.setattr("topokit_train.training.TEST_BATCH", 100)
    config = TrainConfig(epochs=1, order_seed=order_seed)
    made = Trainer(config, None, digits, device=CPU, kernel="auto", seeds=seeds)
    with torch.no_grad():
        for k, network in enumerate(made.model.fc1.bias.split(300)):
            network[: 3 + k] = -1000
            network[290:] -= torch.linspace(0, 30, 10)
        made.model.fc2.bias[105 if seeds else 5] = -1000
    found = inactive_units(made)
    assert found == [slow_inactive(state, made.feed.test[0]) for state in network_states(made.model)]
    assert found[0]["fc1"] >= 3
    assert found[-1]["fc2"] >= 1
    assert not made.model.fc1._forward_hooks


def test_channels_of_convolutions_are_units(digits):
    made = Trainer(TrainConfig(epochs=1), None, digits, device=CPU, kernel="auto")
    made.model = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(24), nn.Flatten(), nn.Linear(4, 10))
    with torch.no_grad():
        made.model[0].weight[2] = 0
        made.model[0].bias[2] = 0
        made.model[0].bias[[0, 1, 3]] = 1
    assert inactive_units(made) == [{"0": 1}]


def slow_sparsity(weights):
    """Effective sparsity of weights (out, in) or (out, in, rows, columns), over paths of channels; by networkx."""
    graph = nx.DiGraph()
    kept = []
    width = weights[0].shape[1]
    graph.add_nodes_from([(0, node) for node in range(width)])
    for i, weight in enumerate(weights):
        pixels = weight.shape[1] // width  # features of each channel
        graph.add_nodes_from([(i + 1, node) for node in range(len(weight))])
        for place in zip(*np.nonzero(weight), strict=True):
            edge = ((i, place[1] // pixels), (i + 1, place[0]))
            graph.add_edge(*edge)
            kept.append(edge)
        width = len(weight)
    graph.add_edges_from(("in", (0, node)) for node in range(weights[0].shape[1]))
    graph.add_edges_from(((len(weights), node), "out") for node in range(width))
    alive = (nx.descendants(graph, "in") | {"in"}) & (nx.ancestors(graph, "out") | {"out"})
    return 1 - sum(one in alive and two in alive for one, two in kept) / sum(weight.size for weight in weights)


def thinned(module, generator, density):
    with torch.no_grad():
        weight = module.weight
        weight *= torch.rand(weight.shape, generator=generator) < density
    return module


@pytest.mark.parametrize("seed", range(6))
def test_effective_sparsity_of_dense_layers_and_convolutions(seed):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        thinned(nn.Conv2d(2, 5, 2), generator, 0.15),
        thinned(nn.Conv2d(5, 6, (2, 3)), generator, 0.03),
        nn.Flatten(),
        thinned(nn.Linear(24, 9), generator, 0.05),
        thinned(nn.Linear(9, 4), generator, 0.2),
    )
    (found,) = effective_sparsities(model)
    weights = [part.weight.detach().numpy() for part in model if hasattr(part, "weight")]
    assert found["before"] == 0
    assert found["after"] == pytest.approx(slow_sparsity(weights))
    nonzero = sum(np.count_nonzero(weight) for weight in weights)
    assert found["after"] > 1 - nonzero / sum(weight.size for weight in weights)  # some of them are dead


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_effective_sparsity_of_sparse_layers(copies, shared):
    model = build_model("lenet-300-100", SPARSE, MNIST, kernel="csr")
    if copies > 1:
        about = {"shared": shared, "kernel": "csr", "device": "cpu"}
        model = build_stack(model_source("lenet-300-100"), [SPARSE], MNIST, copies, **about)
    states = []
    masks = [layer.to_dense().T for layer in SPARSE.stream()]
    for k in range(copies):
        alone = build_model("lenet-300-100", SPARSE, MNIST, kernel="csr")
        with torch.no_grad():
            alone.fc1.values[k::4] = 0  # other weights of each
        states.append(alone.state_dict())
    load_network_states(model, states)
    found = effective_sparsities(model)
    assert [one["before"] for one in found] == [pytest.approx(slow_sparsity([*masks, np.ones((10, 100))]))] * copies
    for k, one in enumerate(found):
        first = np.zeros((300, 784))
        first[SPARSE.layer(0).indices, SPARSE.layer(0).sources] = states[k]["fc1.values"]
        assert one["after"] == pytest.approx(slow_sparsity([first, masks[1], np.ones((10, 100))]))
        assert one["after"] > one["before"]


@pytest.mark.parametrize("kernel", ["masked", "csr"])
@pytest.mark.parametrize("width", [20, 500])  # by channel: whole filters; and by weight
def test_effective_sparsity_of_sparse_convolutions(width, kernel):
    conv = tk.Bernoulli(widths=(width, 50), density=".01", seed=2)
    linear = tk.Bernoulli(widths=(2450, 384), density=".01", seed=3)
    model = build_model("lenet-5", [conv, linear], Shape((1, 28, 28), 10), kernel=kernel)
    assert model.conv2.by_channel == (width == 20)
    masks = {
        "conv1": np.ones((20, 1, 5, 5)),
        "conv2": conv.layer(0).to_dense().T.reshape(50, 20, -1) * np.ones((50, 20, 25)),
        "fc1": linear.layer(0).to_dense().T,
        "fc2": np.ones((10, 384)),
    }
    (found,) = effective_sparsities(model)
    assert found["before"] == found["after"] == pytest.approx(slow_sparsity(list(masks.values())))
    with torch.no_grad():
        model.fc1.values[::2] = 0
        model.conv1.weight[3:] = 0
    masks["conv1"][3:] = 0
    fc1 = np.zeros((384, 2450))
    fc1[linear.layer(0).indices, linear.layer(0).sources] = model.state_dict()["fc1.values"]
    masks["fc1"] = fc1
    assert effective_sparsities(model)[0]["after"] == pytest.approx(slow_sparsity(list(masks.values())))


def test_layers_that_do_not_chain_have_no_effective_sparsity():
    assert effective_sparsities(nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 2))) == [None]


def test_results_hold_both(digits):
    made = Trainer(TrainConfig(epochs=1), default_topology(), digits, device=CPU, kernel="auto")
    made.run_epoch()
    (result,) = results_of(made, ["here"])
    record = result.to_json()
    assert record["dead_units"] == inactive_units(made)[0]
    assert record["effective_sparsity"]["before"] == pytest.approx(1 - 27_520 / 266_200)


def test_only_layers_before_a_relu_have_inactive_units(digits):
    made = Trainer(TrainConfig(epochs=1), None, digits, device=CPU, kernel="auto")
    first, second, last = nn.Linear(784, 5), nn.Linear(5, 5), nn.Linear(5, 10)
    made.model = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), last)
    assert [*inactive_units(made)[0]] == ["1", "3"]
    made.model = nn.Sequential(nn.Flatten(), first, second, nn.ReLU(), last)
    assert inactive_units(made) == [{}]
