"""The paper's recipe: what it trains, step by step, against slow replays of its formulas; and each switch alone."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import topokit as tk
from topokit_train.config import TrainConfig
from topokit_train.initialisation import draw_truncated_normal
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import network_states
from topokit_train.models.networks import Shape, build_model
from topokit_train.optimisation import make_optimizer, make_scheduler
from topokit_train.runs.checkpoints import load
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train_seeds
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
LAYERS = ("fc1", "fc2", "fc3")
TOPOLOGIES = pytest.mark.parametrize("topology", [None, default_topology()], ids=["dense", "sparse"])


def trainer(dataset, topology=None, seeds=None, **settings):
    config = TrainConfig(**{"epochs": 3, **settings})
    return Trainer(config, topology, dataset, device=CPU, kernel=config.kernel, seeds=seeds)


def dense_state(state, topology):
    """Each layer's (weight, mask, bias) as float64 arrays, of one network's state."""
    layers = []
    for i, name in enumerate(LAYERS):
        bias = state[f"{name}.bias"].double().numpy().copy()
        if f"{name}.weight" in state:
            weight = state[f"{name}.weight"].double().numpy().copy()
            layers.append((weight, np.ones_like(weight), bias))
        else:
            mask = topology.layer(i).to_dense().T.astype(float)
            weight = np.zeros_like(mask)
            weight[topology.layer(i).indices, topology.layer(i).sources] = state[f"{name}.values"].numpy()
            layers.append((weight, mask, bias))
    return layers


def replay(layers, images, labels, steps, batch, *, relu=True, lr=0.2, l2=0.004):
    """The paper's training, as its formulas say, in float64: plain SGD on the images in their order."""
    weights, masks, biases = (list(parts) for parts in zip(*layers, strict=True))
    starts = [start for _ in range(steps) for start in range(0, len(images), batch)][:steps]
    for start in starts:
        x = images[start : start + batch].reshape(-1, 784)
        activations, logits = [x], x
        for weight, bias in zip(weights, biases, strict=True):
            logits = activations[-1] @ weight.T + bias
            activations.append(np.maximum(logits, 0))
        outputs = activations[-1] if relu else logits
        exponentials = np.exp(outputs - outputs.max(1, keepdims=True))
        gradient = exponentials / exponentials.sum(1, keepdims=True)
        gradient[np.arange(len(x)), labels[start : start + batch]] -= 1
        gradient /= len(x)
        if relu:
            gradient = gradient * (activations[-1] > 0)
        for i in reversed(range(len(weights))):
            of_weight = (gradient.T @ activations[i] + l2 * weights[i]) * masks[i]
            of_bias = gradient.sum(0)
            gradient = gradient @ weights[i] * (activations[i] > 0)
            weights[i] = weights[i] - lr * of_weight
            biases[i] = biases[i] - lr * of_bias
    return list(zip(weights, masks, biases, strict=True))


@pytest.mark.usefixtures("float64")
@TOPOLOGIES
@pytest.mark.parametrize("relu", [True, False])
def test_the_paper_is_replayed(digits, topology, relu):
    made = trainer(digits, topology, recipe="paper", epochs=2, relu_logits=relu, validation=937)
    with torch.no_grad():
        made.model.fc3.bias -= torch.linspace(0, 0.4, 10)  # some logits below 0
    start = dense_state(made.model.state_dict(), topology)
    made.run_epoch()
    made.run_epoch()
    found = dense_state(made.model.state_dict(), topology)
    wanted, others = (
        replay(start, made.feed.inputs.of_tests(made.feed.images).numpy(), digits.train_targets, 10, 100, relu=choice)
        for choice in (relu, not relu)
    )
    for (weight, _, bias), (slow, _, slow_bias), (before, _, _) in zip(found, wanted, start, strict=True):
        np.testing.assert_allclose(weight, slow, rtol=0, atol=1e-12)
        np.testing.assert_allclose(bias, slow_bias, rtol=0, atol=1e-12)
        assert abs(weight - before).max() > 0.001
    assert abs(found[2][0] - others[2][0]).max() > 0.0002


@pytest.mark.usefixtures("float64")
@TOPOLOGIES
@pytest.mark.parametrize("settings", [{"recipe": "paper"}, {"l2": 0.1, "relu_logits": True}])
@pytest.mark.parametrize("order_seed", [None, 5])
def test_stacked_networks_train_as_they_would_alone(digits, topology, settings, order_seed):
    settings = {**settings, "batch_size": 300, "order_seed": order_seed}
    stack = trainer(digits, topology, seeds=(3, 8), **settings)
    assert stack.feed.shared == (order_seed is not None or "recipe" in settings)
    together = [stack.run_epoch() for _ in range(2)]
    for k, seed in enumerate((3, 8)):
        alone = trainer(digits, topology, seed=seed, **settings)
        for epoch in together:
            (metrics,) = alone.run_epoch()
            assert epoch[k].test_accuracy == metrics.test_accuracy
            assert epoch[k].train_loss == pytest.approx(metrics.train_loss, rel=1e-5)
        for name, tensor in alone.model.state_dict().items():
            torch.testing.assert_close(network_states(stack.model)[k][name], tensor, rtol=0, atol=1e-7, msg=name)


@pytest.mark.parametrize("kernel", [None, *KERNELS])
def test_one_seed_draws_one_truncated_network_under_every_kernel(digits, kernel):
    topology = default_topology() if kernel != "band" else tk.RadixNet(radices=[(28, 28)])
    model = "lenet-300-100" if kernel != "band" else "mlp"
    settings = {"init": "truncated-normal", "model": model, "seed": 4}
    wanted = trainer(digits, topology, kernel="masked", **settings).model.state_dict()
    made = trainer(digits, topology, kernel=kernel or "auto", **settings)
    assert all(torch.equal(made.model.state_dict()[name], tensor) for name, tensor in wanted.items())
    stack = trainer(digits, topology, kernel=kernel or "auto", seeds=(2, 4), **settings)
    assert all(torch.equal(network_states(stack.model)[1][name], tensor) for name, tensor in wanted.items())


def drawn(model, seed=0):
    draw_truncated_normal(model, torch.Generator().manual_seed(seed))
    return model


def test_truncated_normal_weights_and_biases():
    model = nn.Sequential(nn.Conv2d(20, 50, 5), nn.Flatten(), nn.Linear(450, 100), nn.Linear(100, 10, bias=False))
    drawn(model)
    for module, deviation, bias in ((model[0], 0.05, 0), (model[2], 0.04, 0.1)):
        values = module.weight.detach().flatten().double().numpy()
        assert np.abs(values).max() <= 2 * deviation
        law = scipy.stats.truncnorm(-2, 2, scale=deviation)
        assert scipy.stats.kstest(values, law.cdf).pvalue > 0.01
        assert torch.equal(module.bias, torch.full_like(module.bias, bias))
    assert 0 < model[3].weight.abs().max() <= 0.08


def test_truncated_normal_weights_are_the_same_however_sparse():
    sparse = drawn(build_model("lenet-300-100", default_topology(), Shape((1, 28, 28), 10)))
    values = sparse.fc1.values.detach()
    assert values.abs().max() <= 0.08
    assert values[values != 0].std().item() == pytest.approx(0.04 * scipy.stats.truncnorm(-2, 2).std(), rel=0.02)
    assert torch.equal(sparse.fc1.bias, torch.full((300,), 0.1))


@pytest.mark.parametrize("kernel", ["masked", "csr"])
def test_sparse_convolutions_have_the_deviation_of_convolutions(kernel):
    wiring = tk.Bernoulli(widths=(20, 50), density=".3", seed=2)
    made = drawn(build_model("lenet-5", wiring, Shape((1, 28, 28), 10), kernel=kernel))
    state = drawn(build_model("lenet-5", wiring, Shape((1, 28, 28), 10))).state_dict()
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in state.items())
    assert 0.08 < state["conv2.values"].abs().max() <= 0.1
    assert not state["conv2.bias"].any()
    penalised = make_optimizer(TrainConfig(l2=1.0), made).param_groups[0]["params"]
    assert {id(parameter) for parameter in penalised} == {id(made.fc1.weight), id(made.fc2.weight)}


def penalised_loss(model, x, y, l2):
    """The loss with its penalty written out, of a model of nn.Conv2d, nn.Linear and SparseLinear."""
    weights = [part.weight for part in model.modules() if isinstance(part, nn.Linear)]
    weights += [part.values for part in model.modules() if isinstance(part, SparseLinear)]
    return cross_entropy(model(x), y) + l2 / 2 * sum((weight**2).sum() for weight in weights)


def small_model():
    torch.manual_seed(0)
    edges = tk.Bernoulli(widths=(27, 8), density=".4", seed=1).layer(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), SparseLinear(edges, kernel="csr"), nn.ReLU(), nn.Linear(8, 4)
    ).double()


@pytest.mark.parametrize("settings", [{"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "adam"}])
def test_l2_is_that_term_of_the_loss(settings):
    x = torch.randn(6, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.arange(6) % 4
    one, two = small_model(), small_model()
    config = TrainConfig(l2=0.3, lr=0.05, **settings)
    ours = make_optimizer(config, one)
    theirs = (
        torch.optim.SGD(two.parameters(), lr=0.05, momentum=0.5)
        if config.optimizer == "sgd"
        else torch.optim.Adam(two.parameters(), lr=0.05)
    )
    for _ in range(5):
        ours.zero_grad()
        cross_entropy(one(x), y).backward()
        ours.step()
        theirs.zero_grad()
        penalised_loss(two, x, y, 0.3).backward()
        theirs.step()
    for (name, tensor), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=0, atol=1e-9, msg=name)


def test_losses_are_told_without_the_penalty(digits):
    one, two = (trainer(digits, l2=l2, batch_size=1437) for l2 in (0.0, 1.0))
    assert one.run_epoch()[0].train_loss == two.run_epoch()[0].train_loss
    assert one.run_epoch()[0].train_loss != two.run_epoch()[0].train_loss


def test_the_rate_is_halved_at_steps_10000_and_20000():
    config = TrainConfig(recipe="paper")
    optimizer = make_optimizer(config, nn.Linear(1, 1))
    scheduler = make_scheduler(config, optimizer, 30_000)
    rates = []
    for _ in range(20_002):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [step for step, (one, two) in enumerate(pairwise(rates), 1) if one != two] == [10_000, 20_000]
    assert (rates[0], rates[10_000], rates[20_000]) == pytest.approx((0.2, 0.1, 0.05))
    assert {group["lr"] for group in optimizer.param_groups} == {rates[-1]}


def test_relu_logits_are_never_negative(digits):
    made = trainer(digits, relu_logits=True)
    linear = made.model(made.feed.test[0])
    assert linear.min() < 0
    assert torch.equal(made.logits(made.feed.test[0]), linear.clamp(min=0))
    assert torch.equal(trainer(digits).logits(made.feed.test[0]), linear)
    with torch.no_grad():
        made.model.fc3.bias -= 1000
    assert made.dead_classes() == [list(range(1, 10))]
    loss = made.step(*made.feed.batch(torch.arange(50)))
    assert loss.item() == pytest.approx(math.log(10))
    assert all(parameter.grad.abs().max() == 0 for parameter in made.model.parameters())


def test_without_shuffling_images_come_as_they_are(digits):
    made = trainer(digits, shuffle=False)
    assert made.feed.order(made.epochs_done).tolist() == list(range(1437))
    made.run_epoch()
    assert made.feed.order(made.epochs_done).tolist() == list(range(1437))
    assert trainer(digits, seeds=(1, 2), shuffle=False).feed.order(0).shape == (1437,)


def test_pixels_from_0_to_1(digits):
    made = trainer(digits, pixels="unit", validation=30)
    np.testing.assert_allclose(made.feed.batch(torch.arange(1407))[0], digits.train_inputs[:-30] / 255, atol=1e-6)
    np.testing.assert_allclose(made.feed.held_out[0], digits.train_inputs[-30:] / 255, atol=1e-6)
    np.testing.assert_allclose(made.feed.test[0], digits.test_inputs / 255, atol=1e-6)


def test_pixels_by_image(digits):
    made = trainer(digits, pixels="per-image")
    wanted = [(image - image.mean()) / image.std() for image in digits.test_inputs.astype(float)]
    np.testing.assert_allclose(made.feed.test[0], wanted, atol=1e-5)


@pytest.mark.parametrize("settings", [{"recipe": "paper"}, {"recipe": "paper", "optimizer": "adam"}, {"l2": 0.01}])
def test_a_run_goes_on_bit_for_bit(assert_resumed, settings):
    assert_resumed(2, TrainConfig(**settings, epochs=3, batch_size=300), default_topology())


def test_stacked_runs_go_on_bit_for_bit(tmp_path, stopped):
    config = TrainConfig(recipe="paper", momentum=0.5, epochs=3, batch_size=300)
    train_seeds(config, default_topology(), [0, 1], run=tmp_path / "straight")
    stopped(lambda: train_seeds(config, default_topology(), [0, 1], run=tmp_path / "broken"), 2)
    train_seeds(config, default_topology(), [0, 1], run=tmp_path / "broken", resume=True)
    for seed in ("seed0", "seed1"):
        one, two = (load(tmp_path / run / seed / "checkpoint.safetensors") for run in ("straight", "broken"))
        assert all(array.tobytes() == two.tensors[name].tobytes() for name, array in one.tensors.items())
