"""Models of users: functions in files, functions and modules in Python, and what is wrong with them."""

import copy
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from topokit_cli.main import topokit
from torch import nn

from topokit.errors import InvalidSpecError, TopokitError
from topokit_train.chain import _Chain
from topokit_train.config import TrainConfig
from topokit_train.conversion import sparsify
from topokit_train.functions import short_name
from topokit_train.fusing import FusedSequential, fuse, separate
from topokit_train.layers.sparse import SparseModule
from topokit_train.methods import Method
from topokit_train.models.networks import MNIST, build_model, model_source, under_seed
from topokit_train.runs.checkpoints import load
from topokit_train.runs.loading import load_run
from topokit_train.runs.topologies import resolve
from topokit_train.runs.train import train, train_seeds
from topokit_train.sweeps.grid import read_grid

pytestmark = pytest.mark.usefixtures("one_thread")
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PATH = Path(__file__).parent / "conversion" / "test_ways.py"
WAYS = runpy.run_path(str(PATH))
RESIDUAL = f"{EXAMPLES / 'residual.py'}:residual"
QUICK = {"epochs": 1, "batch_size": 800}


def small(input_shape, classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(input_shape[1] * input_shape[2], 30), nn.ReLU(), nn.Linear(30, classes)
    )


@pytest.fixture
def file(tmp_path):
    """A function that writes a file of a user's."""

    def write(text, name="own.py"):
        (tmp_path / name).write_text(f"import torch\nfrom torch import nn\n{text}\n")
        return f"{tmp_path / name}"

    return write


@pytest.mark.parametrize("seed", range(20))
def test_a_file_gives_the_layers_that_sparsify_gives(seed, tmp_path, file):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model, _ = WAYS["random_model"](rng)
    nets, _ = WAYS["random_topologies"](model, rng)
    own = file(
        "import numpy, runpy\ndef net():\n"
        f"    torch.manual_seed({seed})\n"
        f"    return runpy.run_path({str(PATH)!r})['random_model'](numpy.random.default_rng({seed}))[0]"
    )
    texts = []
    for net in nets:
        net.save(tmp_path / f"{net.names[0]}.safetensors")
        texts.append(f"{net.names[0]}: {tmp_path / net.names[0]}.safetensors")
    (tmp_path / "grid.toml").write_text(f"[[runs]]\nmodel = 'own.py:net'\ntopology = {texts}\n")
    wanted = sparsify(copy.deepcopy(model), nets, init="scale")
    source = model_source(f"{own}:net")
    (run,) = read_grid(tmp_path / "grid.toml")
    assert run.config.model == f"{own}:net"
    for found in (resolve(texts, lambda: source.weights(MNIST)), [n for w in run.topologies for n in w.open(tmp_path)]):
        built = build_model(source, found, MNIST, init="own")
        parts = {name: part for name, part in built.named_modules() if isinstance(part, SparseModule)}
        assert parts.keys() == {name for name, part in wanted.named_modules() if isinstance(part, SparseModule)}
        assert parts
        for name, part in parts.items():
            assert torch.equal(part.dense_weight(), wanted.get_submodule(name).dense_weight())


def test_a_file_is_trained_from_the_command_line_and_loaded_again(tmp_path):
    run = tmp_path / "run"
    command = ["train", "--model", RESIDUAL, "--topology", "blocks.*: bernoulli density=.2 seed=0", "--json"]
    done = CliRunner().invoke(topokit, [*command, "--epochs", "1", "--batch-size", "800", "--run", str(run)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["parameters"]["nonzero"] < result["parameters"]["total"] == 9866
    checkpoint = load(run / "checkpoint.safetensors")
    assert checkpoint.origin.config.init == "own"
    assert len(checkpoint.origin.versions["model"]) == 64
    with pytest.raises(InvalidSpecError, match=r"uses your model .*residual.py:residual: pass it as model"):
        load_run(run)
    model = load_run(run, model=RESIDUAL)
    assert model.blocks[0].conv1.edges == checkpoint.tensors["blocks.0.conv1.values"].size
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_function_draws_under_the_seed_of_the_run_and_seeds_are_stacked(tmp_path, monkeypatch):
    before = torch.get_rng_state()
    drawn = []
    monkeypatch.setattr("topokit_train.training.Trainer.run_epoch", lambda self: drawn.append(self) or stop())

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TrainConfig(**QUICK, seed=3), None, model=small, run=tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    with under_seed(3):
        expected = small((1, 28, 28), 10)
    state = drawn[0].model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    monkeypatch.undo()
    results = train_seeds(TrainConfig(**QUICK), None, [3, 4], model=small, run=tmp_path / "two")
    assert [result.stacked for result in results] == [2, 2]
    alone = train(TrainConfig(**QUICK, seed=3), None, model=small, run=tmp_path / "alone")
    assert alone.model.endswith("test_own_models:small")


def test_a_module_keeps_its_weights_and_is_trained_itself(tmp_path):
    torch.manual_seed(0)
    model = small((1, 28, 28), 10)
    before = copy.deepcopy(model.state_dict())
    train(TrainConfig(**QUICK, lr=1e-9, schedule="constant"), None, model=model, run=tmp_path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)
        assert name.endswith("bias") or not torch.equal(value, before[name])
    assert type(model) is nn.Sequential
    again = load_run(tmp_path, model=small((1, 28, 28), 10))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    with pytest.raises(InvalidSpecError, match="a module has one set of weights: give one seed"):
        train_seeds(TrainConfig(**QUICK), None, [0, 1], model=model)


def test_a_changed_file_stops_resume(tmp_path, file):
    text = "def net(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))"
    config = TrainConfig(**QUICK, model=f"{file(text)}:net")
    train(config, None, run=tmp_path / "run")
    file(text + "\n# one more line")
    with pytest.raises(InvalidSpecError, match=r"model .*own.py:net has changed since the run"):
        train(config, None, run=tmp_path / "run", resume=True)


TUPLE = """
class net(nn.Linear):
    def __init__(self): super().__init__(784, 10)
    def forward(self, x): return super().forward(x.flatten(1)), x
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(): pass", "own.py has no function net, but other"),
        ("def nets(): pass", "own.py has no function net, but nets"),
        ("net = 3", "own.py has no function net"),
        (f"{''.join(f'def of_{k}(): 0{chr(10)}' for k in range(14))}", "but of_0, .*, of_7 and 2 more"),
        ("def net(: pass", "importing .*own.py failed.*SyntaxError"),
        ("1 / 0", "importing .*own.py failed in line 3 of own.py: ZeroDivisionError: division by zero"),
        ("def net(depth): pass", "net needs depth, but it is called with input_shape, outputs, classes"),
        ("def net(): return 3", "net returned int: it must return an nn.Module"),
        ("def net(): raise KeyError('x')", "net failed in line 3 of own.py: KeyError: 'x'"),
        ("def net(): return nn.Linear(784, 10, device='meta')", "net returned a model on the meta device"),
        ("def net(): return nn.Linear(7, 10)", "net failed: RuntimeError: .*shapes cannot be multiplied"),
        ("def net(): return nn.Sequential(nn.Flatten(), nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 10))", "shapes can"),
        (TUPLE, "the model gives tuple: its forward"),
        ("def net(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10).double())", "float64: return model.float"),
        ("def net(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 9))", "outputs of shape .*let its last layer"),
        ("def net(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).requires_grad_(False)", "are frozen"),
        ("def net(a, /): return nn.Linear(784, 10)", "net needs a, but it is called with"),
        ("import sys\ndef net(): sys.exit(0)", "net failed in line 4 of own.py: SystemExit: 0"),
    ],
)
def test_what_is_wrong_with_a_model_leaves_no_run(text, said, tmp_path, file):
    run = tmp_path / "run"
    with pytest.raises(TopokitError, match=said) as caught:
        train(TrainConfig(**QUICK, model=f"{file(text)}:net"), None, run=run)
    assert "\n" not in str(caught.value)
    assert not run.exists()


def test_names_of_models():
    with pytest.raises(InvalidSpecError, match=r"model must be one of lenet-300-100, .*did you mean lenet-5"):
        TrainConfig(model="lenet-6")
    with pytest.raises(TopokitError, match=r"cannot read .*nothing.py: No such file"):
        model_source("nothing.py:net")
    with pytest.raises(InvalidSpecError, match="importing topokit_nothing failed"):
        model_source("topokit_nothing:net")
    with pytest.raises(InvalidSpecError, match="init own is for a user's model"):
        TrainConfig(init="own")
    assert short_name("/a/b/net.py:f x=/c/d") == "net.py:f x=/c/d"


def test_only_linear_layers_and_relu_without_hooks_are_fused(monkeypatch):
    steps = []
    apply = _Chain.apply
    monkeypatch.setattr(_Chain, "apply", lambda form, *rest: steps.append(len(form)) or apply(form, *rest))
    model = nn.Sequential(
        nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 3), nn.ReLU()
    ).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    expected = model(x)
    assert not steps
    assert type(fuse(model)) is FusedSequential
    torch.testing.assert_close(model(x), expected)
    assert steps == [2, 2]
    seen = []
    model[2].register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(model(x), expected)
    assert (steps, seen) == ([2, 2, 1, 2], [1])
    torch.testing.assert_close(model(x[None]), expected[None])  # of three dimensions: not fused
    assert len(steps) == 4
    assert type(separate(model)) is nn.Sequential


def test_a_child_may_be_called_layer_but_not_optimizer(tmp_path, file):
    text = (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.NAME = nn.Linear(784, 10)\n"
        "    def forward(self, x):\n"
        "        return self.NAME(x.flatten(1))"
    )
    path = file(text.replace("NAME", "layer"))
    train(TrainConfig(**QUICK, model=f"{path}:Net"), None, run=tmp_path / "run")
    assert load_run(tmp_path / "run", model=f"{path}:Net").layer.weight.shape == (10, 784)
    path = file(text.replace("NAME", "optimizer"), "other.py")
    with pytest.raises(InvalidSpecError, match="has a child named optimizer, which checkpoints use: rename it"):
        train(TrainConfig(**QUICK, model=f"{path}:Net"), None, run=tmp_path / "other")


def test_data_from_python_set_the_settings_that_depend_on_them(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8)), rng.integers(0, 10, 60)
    result = train(TrainConfig(), None, data=(x[:40], y[:40], x[40:], y[40:]), run=tmp_path / "ten")
    assert result.epochs == 10
    assert train(TrainConfig(epochs=3), None, data=(x[:40], y[:40], x[40:], y[40:]), run=tmp_path / "3").epochs == 3


def test_files_of_equal_content_are_two_modules(tmp_path, file):
    text = "from pathlib import Path\ndef net():\n    return nn.Linear(1, len(Path(__file__).parent.name))"
    for name in ("a", "bcd"):
        (tmp_path / name).mkdir()
        file(text, f"{name}/own.py")
    sizes = [model_source(f"{tmp_path / name}/own.py:net").module_for(MNIST).out_features for name in ("a", "bcd")]
    assert sizes == [1, 3]
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_rehearsal_changes_nothing(tmp_path):
    def normed(input_shape, outputs):
        del input_shape
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Dropout(), nn.Linear(784, outputs))

    one = train(TrainConfig(**QUICK), None, model=normed, run=tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("topokit_train.training.Trainer.rehearse", lambda _: None)
        two = train(TrainConfig(**QUICK), None, model=normed, run=tmp_path / "two")
    first, second = (load(Path(result.run) / "checkpoint.safetensors").tensors for result in (one, two))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert int(first["1.num_batches_tracked"]) == 2


def test_the_folder_of_an_own_models_run_does_not_call_it_dense(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    net = "bernoulli widths=784,30 density=.1 seed=0"
    model = sparsify(nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10)), net)
    assert train(TrainConfig(**QUICK), model=model).run == "runs/Sequential-digits-own-seed0"
    said = capsys.readouterr().err
    assert "Sequential keeps the layers that it has, as no other topology is given" in said
    assert train(TrainConfig(**QUICK), None, model=model).run == "runs/Sequential-digits-own-seed0-2"
    assert train(TrainConfig(**QUICK), "dense", model=small).run == "runs/small-digits-dense-seed0"


@pytest.mark.parametrize("sparse", [False, True])
def test_a_model_without_flatten_is_refused_in_one_line(sparse, tmp_path):
    model = nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))
    if sparse:
        sparsify(model, "bernoulli widths=784,30 density=.1 seed=0")
    said = r"Sequential gets inputs of the shape 1 x 28 x 28, but reads 784 numbers in a row: put nn.Flatten\(\) first$"
    with pytest.raises(InvalidSpecError, match=said):
        train(TrainConfig(**QUICK), None, model=model, run=tmp_path / "run")
    assert not list(tmp_path.glob("run/*"))


def test_the_error_of_a_model_that_reads_other_widths_is_not_that_of_flat_inputs(tmp_path):
    for model in (nn.Sequential(nn.Linear(99, 10)), nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.Linear(29, 10))):
        with pytest.raises(TopokitError, match="mat1 and mat2 shapes cannot be multiplied"):
            train(TrainConfig(**QUICK), None, model=model, run=tmp_path / "run")


def test_an_error_after_the_model_is_not_that_of_flat_inputs(tmp_path):
    class Broken(Method):
        def gradients(self, trainer):
            del trainer
            raise ValueError("a fault in gradients")

    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(TopokitError, match="a fault in gradients"):
        train(TrainConfig(**QUICK), None, model=model, method=Broken(), run=tmp_path / "run")
    short = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
    with pytest.raises(TopokitError) as error:
        train(TrainConfig(**QUICK), None, model=short, run=tmp_path / "run")
    assert "Flatten" not in str(error.value)
