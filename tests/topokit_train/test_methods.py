"""Methods and callbacks: their hooks, edges that change in mid-run, and runs that go on bit for bit."""

import ast
import copy
import inspect
import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import topokit as tk
from topokit.errors import InvalidSpecError, TopokitError
from topokit.formats import load_all
from topokit_train.config import TrainConfig
from topokit_train.conversion import densify
from topokit_train.fusing import separate
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.linear import SparseLinear
from topokit_train.methods import Callback, Method, read
from topokit_train.runs.checkpoints import load
from topokit_train.runs.jobs import train_together
from topokit_train.runs.loading import load_run
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_all
from topokit_train.training import Trainer
from topokit_train.weights import read_weights

pytestmark = pytest.mark.usefixtures("one_thread")
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
REWIRE = f"{EXAMPLES / 'rewire.py'}:Rewire every=7 fraction=.2"
OPTIMIZERS = [{"optimizer": "adam"}, {"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.9}]
HOOKS = ["prepare", "before_step", "gradients", "after_step", "after_epoch", "end"]


def trainer(digits, method=None, topology=None, **settings):
    config = TrainConfig(**{"epochs": 2, "batch_size": 500, **settings})
    net = topology or default_topology()
    return Trainer(config, net, digits, device=torch.device("cpu"), kernel=config.kernel, method=method)


class Spy(Method):
    def __init__(self):
        self.called = []


for hook in HOOKS:

    def record(self, trainer, *rest, hook=hook):
        self.called.append((hook, len(rest)))
        if hook == "gradients":
            assert all(parameter.grad is not None for parameter in trainer.parameters)
        if hook == "prepare":
            assert not hasattr(trainer, "optimizer")

    setattr(Spy, hook, record)


def test_hooks_are_called_in_order_at_most_four_calls_below_train(tmp_path):
    spy, looker = Spy(), Spy()
    train(TrainConfig(epochs=2, batch_size=800), method=spy, callbacks=[looker], run=tmp_path)
    step = [("before_step", 0), ("gradients", 0), ("after_step", 0)]
    epoch = [*step, *step, ("after_epoch", 1)]
    assert spy.called == [("prepare", 0), *epoch, *epoch, ("end", 1)] == looker.called


@pytest.mark.parametrize("hook", ["before_step", "after_step", "after_epoch"])
def test_four_calls_lie_between_train_and_the_loop(hook, tmp_path):
    seen = {}

    class Deep(Method):
        pass

    def look(*_):
        frames = [frame for frame in inspect.stack()[1:] if "topokit_train" in frame.filename]
        seen["names"] = [frame.function for frame in frames]

    setattr(Deep, hook, look)
    train(TrainConfig(epochs=1, batch_size=800), method=Deep(), run=tmp_path)
    names = seen["names"]
    loop = names.index("run_epoch")
    assert names.index("train") - loop <= 4, names
    assert loop <= 1


def test_no_function_on_that_way_is_long():
    for function in (train, train_all, train_together, Trainer.run_epoch, Trainer.step, Trainer.gradients):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        lines = {line for part in node.body[1:] for one in ast.walk(part) if (line := getattr(one, "lineno", None))}
        assert len(lines) <= 50, function


def ends(layer):
    """Sources and targets of a layer's edges, as tensors."""
    return torch.tensor(layer.sources), torch.tensor(layer.targets)


def layer(shape, seed, density=".4"):
    return tk.Bernoulli(widths=shape, density=density, seed=seed).layer(0)


@pytest.mark.parametrize("kernel", ["csr", "masked", "block"])
def test_a_layer_keeps_the_values_of_edges_that_stay(kernel):
    before, after = layer((12, 8), 0), layer((12, 8), 1)
    part = SparseLinear(before, kernel=kernel, dtype=torch.float64)
    weight, values, bias = part.dense_weight(), part.values, part.bias
    origin = part.rewire(after)
    expected = np.where(after.to_dense().T, weight.numpy() * before.to_dense().T, 0)
    np.testing.assert_array_equal(part.dense_weight().numpy(), expected)
    assert part.values is values
    assert part.bias is bias
    assert bytes(part.digest.tolist()) == tk.topologies.layer_digest(after)
    old, new = (set(zip(one.sources.tolist(), one.targets.tolist(), strict=True)) for one in (before, after))
    assert int((origin >= 0).sum()) == len(old & new) > 0
    x = torch.randn(5, 12, dtype=torch.float64)
    torch.testing.assert_close(part(x), x @ torch.from_numpy(expected).T + bias)
    with pytest.raises(InvalidSpecError, match="the new edges are 12 -> 9"):
        part.rewire(layer((12, 9), 0))


@pytest.mark.parametrize("sources", [4, 4 * 6])  # by channel and by weight
@pytest.mark.parametrize("kernel", ["csr", "masked"])
def test_a_convolution_keeps_them_too(sources, kernel):
    before, after = layer((sources, 6), 0), layer((sources, 6), 1)
    part = SparseConv2d(before, 4, (2, 3), kernel=kernel, dtype=torch.float64)
    weight = part.dense_weight()
    part.rewire(after)
    masks = [np.repeat(one.to_dense().T, 24 // sources, axis=1).reshape(6, 4, 2, 3) for one in (before, after)]
    np.testing.assert_array_equal(part.dense_weight().numpy(), weight.numpy() * masks[0] * masks[1])
    images = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(images, part.dense_weight(), part.bias)
    torch.testing.assert_close(part(images), expected)


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda settings: settings["optimizer"])
def test_moments_of_edges_that_stay_are_carried_over_and_those_of_new_ones_are_zero(digits, settings):
    made = trainer(digits, **settings)
    made.run_epoch()
    part = made.model.fc2
    before, old = part.topology_layer(), {}
    for key, value in made.optimizer.state[part.values].items():
        if value.ndim:
            old[key] = torch.zeros(300, 100)
            old[key][ends(before)] = part.to_canonical(value)
    assert old
    biases = {key: value.clone() for key, value in made.optimizer.state[part.bias].items()}
    after = layer((300, 100), 5, ".2")
    made.rewire({"fc2.weight": after})
    state = made.optimizer.state[part.values]
    stays = torch.from_numpy(before.to_dense()).bool()[ends(after)]
    assert 0 < stays.sum() < after.edges
    for key, dense in old.items():
        found = part.to_canonical(state[key])
        assert torch.equal(found, torch.where(stays, dense[ends(after)], 0))
    assert all(torch.equal(value, made.optimizer.state[part.bias][key]) for key, value in biases.items())
    made.run_epoch()  # the optimizer goes on with them
    assert [net.names for net in made.topologies] == [("fc1.weight", "fc2.weight")]


def test_what_cannot_be_rewired(digits):
    made = trainer(digits)
    with pytest.raises(InvalidSpecError, match=r"no sparse layer is named fc3: (did you mean|known: ).*fc"):
        made.rewire({"fc3": layer((100, 10), 0)})
    stacked = Trainer(TrainConfig(), default_topology(), digits, device=torch.device("cpu"), kernel="csr", seeds=(0, 1))
    with pytest.raises(InvalidSpecError, match="stacked networks share their edges"):
        stacked.rewire({"fc2": layer((300, 100), 0)})


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("model", ["lenet-300-100", "lenet-5-classic"])
def test_dense_gradients_are_those_of_the_dense_model(digits, model):
    seen = []

    class Grow(Method):
        def before_step(self, trainer):
            if trainer.steps_done == 1:
                trainer.want_dense_gradients()

        def gradients(self, trainer):
            seen.append(dict(trainer.dense_gradients))

    nets = default_topology() if model == "lenet-300-100" else tk.Bernoulli(widths=(6, 16), density=".5", seed=0)
    method = Grow()
    made = trainer(digits, method, nets, model=model, kernel="csr" if model == "lenet-300-100" else "masked")
    images, labels = made.feed.batch(torch.arange(20))
    for _ in range(2):
        dense = densify(copy.deepcopy(separate(made.model)))
        cross_entropy(dense(images), labels).backward()
        made.step(images, labels)
        made.steps_done += 1
    assert seen[0] == {}
    assert seen[1].keys() == made.sparse_layers.keys()
    for name, part in made.sparse_layers.items():
        found = seen[1][name]
        assert part.weights < found.numel()
        torch.testing.assert_close(found, dense.get_parameter(f"{name}.weight").grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda settings: settings["optimizer"])
def test_a_run_whose_edges_change_goes_on_bit_for_bit(settings, tmp_path, assert_resumed):
    config, straight = TrainConfig(epochs=4, batch_size=300, method=REWIRE, **settings), tmp_path / "straight"
    assert_resumed(2, config)
    checkpoint = load(straight / "checkpoint.safetensors")
    assert checkpoint.rewired
    assert checkpoint.fingerprints == (tk.fingerprint(default_topology()),)
    assert checkpoint.method == {"replaced": 2 * (4704 + 600)}
    assert (straight / "rewire.txt").read_text() == "10608 edges were replaced\n"
    model = load_run(straight)
    assert model.fc1.edges == default_topology().layer_edges[0]
    start = default_topology().layer(0)
    assert (model.fc1.topology_layer().to_dense() != start.to_dense()).any()
    with pytest.raises(InvalidSpecError, match="was started with another topology"):
        train(config, tk.Bernoulli(widths=(784, 300, 100), density=".1", seed=0), run=straight, resume=True)


def test_a_run_whose_edges_change_survives_three_kills(assert_survives):
    settings = {"epochs": 25, "batch_size": 300, "method": REWIRE}
    assert_survives(3, settings, "bernoulli widths=784,300,100 density=.02 seed=0")


def test_a_method_that_raises_leaves_the_last_checkpoint(tmp_path):
    class Fails(Method):
        def after_step(self, trainer):
            if trainer.steps_done == 5:
                raise RuntimeError("no more")

    with pytest.raises(TopokitError, match=r"^Fails failed in line \d+ of test_methods.py: RuntimeError: no more$"):
        train(TrainConfig(epochs=3, batch_size=500), method=Fails(), run=tmp_path)
    assert len(load(tmp_path / "checkpoint.safetensors").metrics) == 1
    assert not (tmp_path / "result.json").exists()


def test_a_method_that_has_changed_stops_resume(tmp_path):
    own = tmp_path / "own.py"
    text = "from topokit_train import Method\nclass Own(Method):\n    def __init__(self, rate=.5): self.rate = rate\n"
    own.write_text(text)
    config = TrainConfig(epochs=1, batch_size=800, method=f"{own}:Own rate=.2")
    train(config, run=tmp_path / "run")
    train(config, run=tmp_path / "run", resume=True)
    own.write_text(text + "# another byte\n")
    with pytest.raises(InvalidSpecError, match=r"method .*own.py:Own rate=.2 has changed since the run"):
        train(config, run=tmp_path / "run", resume=True)


def test_arguments_have_the_types_of_the_class(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from topokit_train import Callback\n"
        "class Own(Callback):\n"
        "    def __init__(self, times: int, rate=.5, loud=False, word='a'):\n"
        "        self.given = times, rate, loud, word\n"
    )
    made, loaded = read(f"{own}:Own times=3 rate=1 loud=yes word='b c'", "callback", Callback)
    assert made.given == (3, 1.0, True, "b c")
    assert isinstance(made.given[1], float)
    assert len(loaded.version) == 64
    for given, said in [
        ("", "needs times="),
        ("times=x", "times: 'x' is not an integer"),
        ("time=3", "has no argument time: did you mean times?"),
        ("times=3 loud=maybe", "loud: 'maybe' is neither yes nor no"),
        ("times", "times is not key=value"),
    ]:
        with pytest.raises(InvalidSpecError, match=said.replace("?", r"\?")):
            read(f"{own}:Own {given}", "callback", Callback)
    with pytest.raises(InvalidSpecError, match=r"is not a topokit_train.Method, but Own"):
        read(f"{own}:Own times=1", "method", Method)
    with pytest.raises(InvalidSpecError, match=r"callback must be one of tensorboard, .*did you mean tensorboard"):
        read("tensorbord", "callback", Callback)


def test_tensorboard_writes_scalars_degrees_and_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    callback, _ = read("tensorboard", "callback", Callback)
    net = tk.Bernoulli(widths=(784, 300, 100), density=".02", seed=0)
    method = f"{EXAMPLES / 'rewire.py'}:Rewire every=2 fraction=.1"
    train(TrainConfig(epochs=2, batch_size=500, method=method), net, callbacks=[callback], run=tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), {"histograms": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train_loss", "test_accuracy", "lr"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("train_loss")] == [3, 6]
    assert sorted(tags["histograms"]) == [f"fc{i}/{side}_degree" for i in (1, 2) for side in ("in", "out")]
    assert sorted(tags["images"]) == ["fc1/pattern", "fc2/pattern"]
    assert len(events.Histograms("fc1/in_degree")) == 2  # the edges had changed in between


def test_what_the_forward_draws_depends_on_seed_and_epoch(assert_resumed):
    def model(input_shape, outputs):
        del input_shape
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(784, outputs))

    assert_resumed(1, TrainConfig(epochs=3, batch_size=500), None, model=model)


def test_an_mlp_has_the_widths_of_the_edges_that_changed(tmp_path):
    config = TrainConfig(epochs=1, batch_size=300, model="mlp", method=REWIRE.replace("every=7", "every=2"))
    net = tk.Bernoulli(widths=(784, 50, 20), density=".1", seed=0)
    train(config, net, run=tmp_path)
    (found,) = load_all(tmp_path / "checkpoint.safetensors")
    assert found.widths == (784, 50, 20)
    assert found.names == ("fc1.weight", "fc2.weight")
    assert tk.extract(read_weights(tmp_path)).widths == (784, 50, 20)
    assert load_run(tmp_path)(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    train(config, net, run=tmp_path, resume=True)


def test_a_method_object_is_known_by_its_class_and_settings(tmp_path):
    class Own(Method):
        def __init__(self, rate):
            self.rate = rate

    config = TrainConfig(epochs=1, batch_size=800)
    train(config, method=Own(0.1), run=tmp_path)
    train(config, method=Own(0.1), run=tmp_path, resume=True)
    with pytest.raises(InvalidSpecError, match=r"method .*Own has changed since the run"):
        train(config, method=Own(0.2), run=tmp_path, resume=True)
    with pytest.raises(InvalidSpecError, match=r"`?method`? must be a topokit_train.Method object"):
        train(config, method=Own, run=tmp_path / "other")


def test_draws_of_a_step_differ_by_their_keys(digits):
    made = trainer(digits)
    first, same, other = (torch.rand(3, generator=made.generator(*key)) for key in ((), (), (1,)))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    made.steps_done += 1
    assert not torch.equal(first, torch.rand(3, generator=made.generator()))


def test_edges_that_are_chosen_before_training_are_those_of_a_resumed_run(tmp_path, assert_resumed):
    class Early(Method):
        def prepare(self, trainer):
            trainer.rewire({"fc2": layer((300, 100), trainer.seeds[0])})

    assert_resumed(1, TrainConfig(epochs=3, batch_size=500, seed=4), method=Early())
    (net,) = load_all(tmp_path / "stopped" / "checkpoint.safetensors")
    assert (net.layer(1).to_dense() == layer((300, 100), 4).to_dense()).all()


@pytest.mark.parametrize(
    ("hook", "given", "said"),
    [
        ("after_epoch", 5, "after_epoch of Odd must return None, a dict of numbers or a list of 1 Metrics, not 5"),
        ("after_epoch", {"moved": "3"}, "after_epoch of Odd must return finite numbers by name, not 'moved': '3'"),
        ("after_epoch", {"moved": np.nan}, "must return finite numbers by name, not 'moved': nan"),
        ("end", {"accuracy": 1}, "end of Odd returned 'accuracy', which is a metric already: give it another name"),
        ("end", "x", "end of Odd must return None, a dict of numbers or a list of 1 Result, not 'x'"),
        ("state_dict", [1], "state_dict of a method must return a dict, not list"),
    ],
)
def test_hooks_that_return_something_else_are_named(hook, given, said, tmp_path):
    class Odd(Method):
        pass

    setattr(Odd, hook, lambda *_: given)
    with pytest.raises(InvalidSpecError, match=said):
        train(TrainConfig(epochs=1, batch_size=800), method=Odd(), run=tmp_path)


def test_a_dict_of_numbers_is_added_to_the_metrics_of_each_epoch_and_the_result(tmp_path):
    class Counting(Method):
        def after_epoch(self, trainer, _metrics):
            return {"steps": np.int64(trainer.steps_done)}

        def end(self, trainer, _results):
            return {"half": trainer.steps_done / 2}

    result = train(TrainConfig(epochs=2, batch_size=800), method=Counting(), run=tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["test_metrics"] for line in lines] == [{"steps": 2}, {"steps": 4}]
    assert json.loads((tmp_path / "result.json").read_text())["test_metrics"] == {"steps": 4, "half": 2}
    assert result.test_metrics == {"steps": 4, "half": 2}
