"""Stacked networks are the networks that their seeds give alone, up to rounding."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch

import topokit as tk
from topokit.edges import validate
from topokit.errors import InvalidSpecError, OutputExistsError, TopokitError
from topokit_train.config import TrainConfig
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import (
    StackedLinear,
    StackedSparse,
    joined,
    load_network_states,
    network_states,
    parameters_of,
    split,
    stacked_layer,
)
from topokit_train.models.networks import (
    MNIST,
    Shape,
    as_sequence,
    build_model,
    build_stack,
    count_parameters,
    model_source,
)
from topokit_train.runs.checkpoints import load
from topokit_train.runs.resuming import recorded_seeds
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_seeds
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

IRREGULAR = tk.Bernoulli(widths=(784, 300, 100), density=".05", seed=1)
CPU = torch.device("cpu")
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
TOPOLOGIES = pytest.mark.parametrize(
    "topology", [None, default_topology(), IRREGULAR], ids=["dense", "radix", "irregular"]
)


def trainer(digits, topology, seeds, **settings):
    config = TrainConfig(epochs=3, batch_size=300, **settings, seed=seeds[0])
    return Trainer(config, topology, digits, device=CPU, kernel=config.kernel, seeds=seeds)


@SHARED
def test_a_stacked_layer_is_its_copies_side_by_side(shared):
    layer = tk.Bernoulli(widths=(7, 5), density=".4", seed=3).layer(0)
    stacked = stacked_layer(layer, 3, shared=shared)
    validate(stacked.indptr, stacked.indices, stacked.shape)
    dense = layer.to_dense()
    expected = np.concatenate([dense] * 3, axis=1) if shared else np.kron(np.eye(3, dtype=bool), dense)
    np.testing.assert_array_equal(stacked.to_dense(), expected)


def test_a_stack_draws_nothing():
    state = torch.random.get_rng_state()
    StackedSparse(IRREGULAR.layer(1), 3, shared=False, kernel="csr", device=CPU)
    assert torch.equal(torch.random.get_rng_state(), state)


@SHARED
@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_each_copy_multiplies_with_its_own_values(shared, kernel):
    layer = tk.RadixNet(radices=[(3, 4)], kron=(2, 3, 1)).layer(0)
    single = [SparseLinear(layer, kernel=kernel, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    stack = StackedSparse(layer, 3, shared=shared, kernel=kernel, device="cpu")
    load_network_states(stack, [one.state_dict() for one in single])
    x = torch.randn(5, 24) if shared else torch.randn(5, 3, 24)
    expected = [one(x if shared else x[:, k]) for k, one in enumerate(single)]
    torch.testing.assert_close(stack(x.flatten(1)).reshape(5, 3, 36), torch.stack(expected, 1))


@SHARED
def test_dense_copies_multiply_with_their_own_weights(shared):
    stack = StackedLinear(3, 4, 6, shared=shared, device="cpu")
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 4) if shared else torch.randn(5, 3, 4)
    parts = zip(*(split(stack, name, parameter) for name, parameter in stack.named_parameters()), strict=True)
    expected = [torch.nn.functional.linear(x if shared else x[:, k], *part) for k, part in enumerate(parts)]
    torch.testing.assert_close(stack(x.flatten(1)).reshape(5, 3, 6), torch.stack(expected, 1))


@SHARED
@TOPOLOGIES
def test_states_come_back_as_they_went_in(topology, shared):
    models = [
        build_model("lenet-300-100", topology, Shape((1, 28, 28), 10), generator=torch.Generator().manual_seed(k))
        for k in range(3)
    ]
    states = [model.state_dict() for model in models]
    about = {"shared": shared, "kernel": "auto", "device": "cpu"}
    stack = build_stack(model_source("lenet-300-100"), as_sequence(topology), MNIST, 3, **about)
    load_network_states(stack, states)
    for state, found in zip(states, network_states(stack), strict=True):
        assert state.keys() == found.keys()
        assert all(torch.equal(state[name], found[name]) for name in state)
    assert count_parameters(stack) == count_parameters(models[0])
    for name, parameter, module in parameters_of(stack):
        tensor = torch.randn_like(parameter)
        held = tensor * (parameter != 0) if name.endswith("values") else tensor  # a band has empty slots
        assert torch.equal(joined(module, name, list(split(module, name, held))), held)


@pytest.mark.usefixtures("float64")
@SHARED
@TOPOLOGIES
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_each_seed_trains_as_it_would_alone(digits, topology, shared, optimizer):
    seeds, settings = (5, 0, 3), {"optimizer": optimizer, "order_seed": 7 if shared else None, "validation": 737}
    stacked = trainer(digits, topology, seeds, **settings)
    together = [stacked.run_epoch() for _ in range(2)]
    states = network_states(stacked.model)
    for k, seed in enumerate(seeds):
        alone = trainer(digits, topology, (seed,), **settings)
        for epoch in together:
            (metrics,) = alone.run_epoch()
            assert epoch[k].train_loss == pytest.approx(metrics.train_loss, rel=1e-6)
            ours, theirs = (dataclasses.replace(one, train_loss=0, seconds=0) for one in (epoch[k], metrics))
            assert ours == theirs
        for name, tensor in alone.model.state_dict().items():
            torch.testing.assert_close(states[k][name], tensor, rtol=0, atol=1e-9, msg=f"{name} of seed {seed}")


def test_only_a_common_order_seed_gives_common_batches(digits):
    own, common = (trainer(digits, None, (1, 2), order_seed=seed) for seed in (None, 4))
    assert own.feed.order(0).shape == (1437, 2)
    assert not torch.equal(*own.feed.order(0).unbind(1))
    assert torch.equal(common.feed.order(0), trainer(digits, None, (9,), order_seed=4).feed.order(0))
    assert torch.equal(own.feed.order(0)[:, 1], trainer(digits, None, (2,)).feed.order(0))


@pytest.mark.usefixtures("float64")
def test_dead_classes_are_those_of_each_network(digits):
    made = trainer(digits, None, (1, 2))
    with torch.no_grad():
        made.model.fc3.weight[10:20] = 0
        made.model.fc3.bias[10:20] = torch.eye(10)[4]
    dead = made.dead_classes()
    assert dead[1] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert dead[0] == trainer(digits, None, (1,)).dead_classes()[0]


def test_a_loss_that_is_no_number_names_its_seed(digits):
    made = trainer(digits, None, (1, 2))
    with torch.no_grad():
        made.model.fc1.bias[300:600] = torch.nan
    with pytest.raises(TopokitError, match="of seed 2: give a smaller lr"):
        made.run_epoch()


@pytest.fixture
def settings():
    return TrainConfig(epochs=3, batch_size=300)


@pytest.mark.usefixtures("float64")
def test_every_seed_has_a_run_of_its_own(settings, tmp_path):
    results = train_seeds(settings, default_topology(), [4, 2], run=tmp_path / "runs")
    assert [(result.seed, result.stacked, result.run) for result in results] == [
        (seed, 2, str(tmp_path / "runs" / f"seed{seed}")) for seed in (4, 2)
    ]
    assert recorded_seeds(tmp_path / "runs") == [2, 4]
    for result in results:
        folder = tmp_path / "runs" / f"seed{result.seed}"
        alone = train(
            TrainConfig(**{**settings.to_json(), "seed": result.seed}),
            default_topology(),
            run=tmp_path / f"{result.seed}",
        )
        assert result.test_accuracy == alone.test_accuracy
        assert result.parameters == alone.parameters
        assert json.loads((folder / "result.json").read_text()) == result.to_json()
        one, two = (load(path / "checkpoint.safetensors") for path in (folder, tmp_path / f"{result.seed}"))
        assert one.origin.config == two.origin.config
        assert one.tensors.keys() == two.tensors.keys()
        for name, array in one.tensors.items():
            np.testing.assert_allclose(array, two.tensors[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("uneven", [False, True])
def test_runs_go_on_from_where_each_stood(settings, tmp_path, stopped, uneven, capsys):
    last = tmp_path / "runs" / "seed0" / "checkpoint.safetensors"
    for epochs in (1, 2):
        again = {"run": tmp_path / "runs", "resume": epochs == 2}
        stopped(partial(train_seeds, settings, default_topology(), [4, 2, 0], **again), epochs)
        assert f"continue with --run {tmp_path / 'runs'} --seeds 4,2,0 --resume" in capsys.readouterr().err
        if epochs == 1:
            before = last.read_bytes()
    if uneven:  # as if it had been killed between two checkpoints
        last.write_bytes(before)
    results = train_seeds(settings, default_topology(), [4, 2, 0], run=tmp_path / "runs", resume=True)
    assert [(result.seed, result.stacked) for result in results] == [
        (4, 3 - uneven),
        (2, 3 - uneven),
        (0, 1 if uneven else 3),
    ]
    straight = train_seeds(settings, default_topology(), [4, 2, 0], run=tmp_path / "straight")
    for one, two in zip(results, straight, strict=True):
        a, b = (load(tmp_path / name / f"seed{one.seed}" / "checkpoint.safetensors") for name in ("runs", "straight"))
        assert len(a.metrics) == len(b.metrics) == 3
        for name, array in a.tensors.items():
            if uneven:
                np.testing.assert_allclose(array, b.tensors[name], rtol=0, atol=1e-9, err_msg=name)
            else:
                assert array.tobytes() == b.tensors[name].tobytes(), name
        assert one.test_accuracy == two.test_accuracy


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_must_be_different_numbers(settings, tmp_path, seeds):
    with pytest.raises(InvalidSpecError, match="seeds must be different numbers, at least one"):
        train_seeds(settings, None, seeds, run=tmp_path / "runs")


def test_other_runs_are_not_replaced(settings, tmp_path):
    train_seeds(settings, None, [1], run=tmp_path)
    with pytest.raises(OutputExistsError, match="seed1 holds"):
        train_seeds(settings, None, [0, 1], run=tmp_path)
    assert not (tmp_path / "seed0").exists()


def test_nothing_is_left_of_a_run_that_could_not_start(settings, tmp_path):
    with pytest.raises(TopokitError, match="layer 0 is 4 -> 4"):
        train_seeds(settings, tk.RadixNet(radices=[(2, 2)]), [0, 1], run=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []
