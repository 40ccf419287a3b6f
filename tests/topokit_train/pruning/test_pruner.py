"""Pruning while training: what is zero after each step, and what is saved of it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import topokit as tk
from topokit.errors import InvalidSpecError, TopokitError
from topokit_train.layers.stacks import network_states
from topokit_train.pruning.masks import Masks
from topokit_train.pruning.pruner import Pruner
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
SLOTS = {"fc1.weight": 235_200, "fc2.weight": 30_000, "fc3.weight": 1_000}
TOTAL = 266_200


def zeros(trainer):
    """Slot -> how many zeros each network has."""
    states = network_states(trainer.model)
    return {name: [int((state[name] == 0).sum()) for state in states] for name in SLOTS}


def watch(trainer, look, *, before_pruning=False):
    """Call a function after each step, and after what the pruner does then."""
    hooks = trainer._hooks["after_step"]
    hooks.insert(0 if before_pruning else len(hooks), lambda _: look())


def run(trainer):
    for _ in range(trainer.config.epochs):
        trainer.run_epoch()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_after_each_step_exactly_the_scheduled_weights_are_zero(pruning, optimizer):
    trainer, pruner = pruning(3, 8, optimizer=optimizer, to=(0.5, 0.97))
    gone = {name: torch.zeros(2, size, dtype=torch.bool) for name, size in SLOTS.items()}

    def look():
        asked = pruner.schedule.sparsity(trainer.steps_done)
        for name, counts in zeros(trainer).items():
            assert counts == [round(asked * SLOTS[name])] * 2
            now = dict(trainer.model.named_parameters())[name].detach().view(2, -1) == 0
            assert not (gone[name] & ~now).any(), "a pruned weight came back"
            gone[name] = now

    watch(trainer, look)
    run(trainer)
    assert trainer.steps_done == 15


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_each_epoch_tells_the_largest_magnitude_that_its_last_pruning_took(pruning, scope):
    trainer, _pruner = pruning(3, 8, to=(0.5, 0.97), scope=scope, begin=0.4, end=0.8)  # after steps 7 to 12 of 15
    expected, weights = [None, None], {}
    step = trainer.step

    def spy(images, labels):
        losses = step(images, labels)
        states = network_states(trainer.model)
        weights["now"] = [{name: state[name].clone() for name in SLOTS} for state in states]
        return losses

    def look():
        for k, state in enumerate(network_states(trainer.model)):
            gone = [weights["now"][k][name][state[name] == 0].abs() for name in SLOTS]
            if 6 < trainer.steps_done <= 12:  # weights pruned before were held at zero, and moved by one step at most
                expected[k] = max(float(values.max()) for values in gone)

    trainer.step = spy
    watch(trainer, look)
    told = []
    for _ in range(3):
        told.append(trainer.run_epoch())
        assert told[-1] == [history[-1] for history in trainer.histories]
        assert [one.threshold for one in told[-1]] == expected
    assert [one.threshold for one in told[0]] == [None, None]
    assert told[1] != told[2]


def test_one_time_trains_dense_and_prunes_after_the_last_step(pruning, digits):
    trainer, pruner = pruning(1, method="one-time", to=(0.5, 0.9))
    dense = Trainer(trainer.config, None, digits, device=torch.device("cpu"), kernel="auto", seeds=(1,))

    def look():
        assert sum(map(sum, zeros(trainer).values())) == (round(0.9 * TOTAL) if trainer.steps_done == 15 else 0)

    watch(trainer, look)
    run(trainer)
    for _ in range(3):
        dense.run_epoch()
    for name, size in SLOTS.items():
        before = dense.model.state_dict()[name].flatten().numpy()
        expected = before.copy()
        expected[np.argsort(abs(before), kind="stable")[: size * 9 // 10]] = 0
        np.testing.assert_array_equal(trainer.model.state_dict()[name].flatten().numpy(), expected)
    half, most = pruner.topologies[0]
    assert [(one["target"], one["step"]) for one in (half, most)] == [(0.5, 15), (0.9, 15)]
    assert half["accuracy_before"] == most["accuracy_before"] == dense.histories[0][-1].test_accuracy
    assert most["test_accuracy"] == trainer.histories[0][-1].test_accuracy


def test_what_is_saved_is_what_is_left_at_that_moment(pruning, monkeypatch):
    trainer, _pruner = pruning(3, 8, to=(0.5, 0.9))
    moments = []
    save = Pruner._save_topologies

    def spy(self, stage, before):
        moments.append(
            [{name: (state[name] != 0).numpy() for name in SLOTS} for state in network_states(trainer.model)]
        )
        save(self, stage, before)

    monkeypatch.setattr(Pruner, "_save_topologies", spy)
    run(trainer)
    assert len(moments) == 2
    for moment, target in zip(moments, (0.5, 0.9), strict=True):
        for k, patterns in enumerate(moment):
            net = tk.load(trainer.folders[k] / f"topology-{target}.safetensors")
            assert net.widths == (784, 300, 100, 10)
            assert net.edges == round(TOTAL * (1 - target))
            for name, mask in tk.masks(net, list(SLOTS)).items():
                np.testing.assert_array_equal(mask, patterns[name])
    first, second = (tk.load(trainer.folders[k] / "topology-0.5.safetensors") for k in range(2))
    assert tk.fingerprint(first) != tk.fingerprint(second)


def test_all_layers_together_have_the_wanted_sparsity(pruning):
    trainer, pruner = pruning(2, 5, scope="global", to=(0.95,))
    run(trainer)
    counts = zeros(trainer)
    assert [sum(of_slot[k] for of_slot in counts.values()) for k in range(2)] == [round(TOTAL * 0.95)] * 2
    assert counts["fc1.weight"][0] > 0.95 * 235_200 > 0.95 * 1_000 > counts["fc3.weight"][0]
    (saved,) = pruner.topologies[1]
    assert saved["sparsity"] == 0.95
    assert saved["layer_sparsity"] == {name: counts[name][1] / size for name, size in SLOTS.items()}


@pytest.mark.parametrize("name", ["fc3", "fc3.weight"])
def test_a_kept_slot_stays_dense_and_out_of_the_topology(pruning, name):
    trainer, pruner = pruning(keep=(name,), to=(0.9,))
    run(trainer)
    assert zeros(trainer)["fc3.weight"] == [0]
    assert tk.load(trainer.folders[0] / "topology-0.9.safetensors").widths == (784, 300, 100)
    assert pruner.topologies[0][0]["sparsity"] == 0.9


def test_a_kept_slot_in_between_is_a_complete_layer(pruning):
    trainer, _pruner = pruning(keep=("fc2",), to=(0.9,))
    run(trainer)
    assert tk.load(trainer.folders[0] / "topology-0.9.safetensors").layer_edges == (23_520, 30_000, 100)


@pytest.mark.parametrize("biases", [False, True])
def test_one_threshold_over_everything(pruning, biases):
    trainer, pruner = pruning(4, 6, method="one-time", threshold=0.06, biases=biases)
    before = []

    def spy():
        if trainer.steps_done == 15:
            before.extend({n: t.clone() for n, t in state.items()} for state in network_states(trainer.model))

    watch(trainer, spy, before_pruning=True)
    run(trainer)
    for k, state in enumerate(network_states(trainer.model)):
        for name, tensor in state.items():
            goes = (before[k][name].abs() < 0.06) & torch.tensor(biases or name in SLOTS)
            assert goes.any() == (biases or name in SLOTS)
            assert torch.equal(tensor, before[k][name].masked_fill(goes, 0))
        (saved,) = pruner.topologies[k]
        assert (saved["target"], saved["file"]) == (None, "topology.safetensors")
        assert saved["edges"] == sum(int((state[name] != 0).sum()) for name in SLOTS)
        assert tk.load(trainer.folders[k] / saved["file"]).edges == saved["edges"]


@pytest.mark.usefixtures("float64")
def test_each_seed_is_pruned_as_it_would_be_alone(pruning):
    settings = {"to": (0.5, 0.9), "order_seed": 7}
    together, stacked = pruning(5, 0, **settings)
    run(together)
    for k, seed in enumerate((5, 0)):
        alone, pruner = pruning(seed, **settings)
        run(alone)
        for name in SLOTS:
            one, two = alone.model.state_dict()[name], network_states(together.model)[k][name]
            assert torch.equal(one == 0, two == 0)
            torch.testing.assert_close(one, two, rtol=0, atol=1e-9)
        assert pruner.topologies[0] == stacked.topologies[k]


@pytest.mark.parametrize(("rewind", "epochs"), [("initial", 0), ("1", 1)])
def test_weights_to_rewind_to(pruning, rewind, epochs):
    trainer, _pruner = pruning(4, 6, rewind=rewind, begin=0.4)
    for _ in range(epochs):
        trainer.run_epoch()
    then = [{name: tensor.clone().numpy() for name, tensor in one.items()} for one in network_states(trainer.model)]
    trainer.run_epoch()
    for folder, state in zip(trainer.folders, then, strict=True):
        saved = load_file(folder / "rewind.safetensors")
        assert saved.keys() == state.keys()
        assert all(np.array_equal(saved[name], state[name]) for name in state)


def test_what_pruning_saves_takes_no_training_time(pruning, monkeypatch):
    trainer, _ = pruning(to=(0.9,))
    clock = iter(range(1000))
    monkeypatch.setattr("topokit_train.training.now", lambda _: next(clock))
    seconds = [trainer.run_epoch()[0].seconds for _ in range(3)]
    # ticks of an epoch without a pause; each of the two pauses in which step 10 is tested and saved takes one off
    assert seconds == [1, 5 - 2, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": ("fc4",)}, "keep fc4 is not a weight of the model: it has fc1.weight, fc2.weight, fc3.weight"),
        ({"keep": ("fc1", "fc2", "fc3")}, "keep leaves nothing to prune"),
        ({"to": (0.9996,)}, "to 0.9996 leaves nothing of fc3.weight, which has 1,000 weights: give less, or keep"),
        ({"rewind": "1"}, "rewind 1 is step 5, but pruning begins after step 3: give at most 0 epochs, or initial"),
        ({"method": "one-time", "rewind": "3"}, "rewind 3 is step 15, but pruning begins after step 14"),
    ],
)
def test_what_must_fail_fails_before_the_first_step(pruning, settings, message):
    with pytest.raises(InvalidSpecError, match=message):
        pruning(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "one-time", "threshold": 9},
            r"threshold 9 leaves nothing of fc1.weight of seed 3, whose largest weight is 0\.\d+ after step 15",
        ),
        (
            {"scope": "global", "to": (0.5, 0.99999)},
            "to 0.99999 leaves nothing of fc1.weight of seed 3, whose largest weight is .* or keep fc1",
        ),
    ],
)
def test_a_layer_left_empty_is_named_and_no_topology_of_that_step_written(pruning, settings, message):
    trainer, _pruner = pruning(3, 8, **settings)
    with torch.no_grad():
        trainer.model.fc1.weight.mul_(1e-3 if "scope" in settings else 1)
    with pytest.raises(TopokitError, match=message):
        run(trainer)
    assert not any((folder / "topology.safetensors").exists() for folder in trainer.folders)
    assert not any((folder / "topology-0.99999.safetensors").exists() for folder in trainer.folders)


def test_a_weight_that_is_no_number_is_named(pruning):
    trainer, _pruner = pruning(3, 8)

    def spoil():
        with torch.no_grad():
            trainer.model.fc2.weight[100, 0] *= torch.nan if trainer.steps_done == 4 else 1

    watch(trainer, spoil, before_pruning=True)
    with pytest.raises(
        TopokitError, match=r"fc2\.weight has a weight that is not a finite number, after step 4 of seed 8"
    ):
        trainer.run_epoch()


def test_convolutions_are_pruned_too():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 5), torch.nn.Flatten(), torch.nn.Linear(12, 4), torch.nn.BatchNorm1d(4)
    )
    masks = Masks(model.to(memory_format=torch.channels_last))
    assert masks.shapes == {"0.weight": (3, 2, 5, 5), "2.weight": (4, 12)}
    goes = masks.magnitudes()["0.weight"] < 0.05
    masks.set(masks.kept | {"0.weight": ~goes})
    assert np.array_equal(model[0].weight == 0, goes.reshape(3, 2, 5, 5))
    assert np.array_equal(masks.of_shapes()[0]["0.weight"], (model[0].weight != 0).numpy())
