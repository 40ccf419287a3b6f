"""Models: their slots, what fills them, and the first weights."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import topokit as tk
from topokit.errors import InvalidSpecError, TopokitError
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.models import MODELS
from topokit_train.models.networks import (
    MNIST,
    Shape,
    as_sequence,
    build_model,
    count_parameters,
    model_source,
    weights_on_images,
)
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train

NET = tk.RadixNet(radices=[(4, 4)], kron=(2, 3, 1))  # 32-48-16


TOPOLOGIES = {
    "lenet-5-x2": [tk.Bernoulli(widths=widths, density=".05", seed=0) for widths in ((700, 71), (3479, 543))],
    "lenet-5-x10": [tk.Bernoulli(widths=widths, density=".01", seed=0) for widths in ((1575, 158), (7742, 1214))],
    "lenet-5": [tk.Bernoulli(widths=widths, density=".1", seed=0) for widths in ((500, 50), (2450, 384))],
    "lenet-5-classic": [tk.Bernoulli(widths=widths, density=".1", seed=0) for widths in ((150, 16), (400, 120, 84))],
}

IMAGES = (Shape((1, 28, 28), 7), torch.randn(5, 1, 28, 28))
INPUTS = {}  # of the models that do not take images: name -> a Shape, and a batch of inputs


def build(name, topology, seed=0, data=MNIST, **options):
    return build_model(name, topology, data, generator=torch.Generator().manual_seed(seed), **options)


def shapes(name, data=MNIST, topology=None):
    weights = model_source(name).weights(data, as_sequence(topology))
    return {key: weight.shape for key, weight in weights.items()}


def test_lenet_300_100_has_its_published_shape():
    model = build("lenet-300-100", None)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == {
        "fc1.weight": (300, 784),
        "fc1.bias": (300,),
        "fc2.weight": (100, 300),
        "fc2.bias": (100,),
        "fc3.weight": (10, 100),
        "fc3.bias": (10,),
    }


@pytest.mark.parametrize("missing", ["net.safetensors", Path("net.safetensors"), ["net.safetensors"], [[1]]])
def test_a_topology_that_does_not_exist_is_refused(missing):
    with pytest.raises(TopokitError, match=r"no file|No such file|must be a topology, not "):
        build_model("lenet-300-100", missing, Shape((1, 28, 28), 10))


def test_an_mlp_has_the_widths_of_its_topology():
    assert shapes("mlp", Shape((1, 4, 8), 16), NET) == {
        "fc1.weight": (48, 32),
        "fc2.weight": (16, 48),
    }
    assert shapes("mlp", Shape((1, 4, 8), 10), NET) == {
        "fc1.weight": (48, 32),
        "fc2.weight": (16, 48),
        "fc3.weight": (10, 16),
    }


@pytest.mark.parametrize(
    ("name", "topology", "image", "message"),
    [
        ("mlp", None, (1, 4, 8), "the model mlp has the widths of a topology: give one"),
        ("mlp", NET, (1, 5, 6), "32 inputs and an image 30 pixels: crop=30,48,16 fits"),
        ("mlp", NET, (2, 4, 5), "32 inputs and an image 40 pixels: make it wider"),
        ("lenet-300-100", tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (1, 28, 28), "crop=784,300,100 fits"),
    ],
)
def test_a_topology_that_does_not_fit(name, topology, image, message):
    with pytest.raises(InvalidSpecError, match=message):
        build(name, topology, data=Shape(image, 10))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_maps_its_inputs_to_logits_and_learns_every_parameter(name):
    data, inputs = INPUTS.get(name, IMAGES)
    topologies = TOPOLOGIES.get(name, [default_topology()] if name not in INPUTS else [])
    model = build(name, topologies, data=data)
    logits = model(inputs)
    assert (len(logits), logits.shape[-1]) == (len(inputs), data.classes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    sparse = sum(net.edges - sum(a * b for a, b in pairwise(net.widths)) for net in topologies)
    total = sum(parameter.numel() for parameter in model_source(name).module_for(data, topologies).parameters())
    assert count_parameters(model) == {"total": total, "nonzero": total + sparse}


def test_lenet_300_100_of_seven_classes_has_266307_parameters():
    assert count_parameters(build("lenet-300-100", None, data=IMAGES[0])) == {"total": 266_307, "nonzero": 266_307}


def test_a_model_with_embeddings_norms_and_attention_can_be_built_in(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "examples")
    monkeypatch.setitem(MODELS.places, "transformer", "transformer:transformer")
    (tmp_path / "text.txt").write_text("to be or not to be, " * 100)
    dataset = load_dataset(f"text:{tmp_path / 'text.txt'} block=8")
    mapped = {"layers.*": "bernoulli density=.5 seed=0"}
    for nets in (None, mapped):
        settings = {"model": "transformer", "dataset": dataset.name, "epochs": 3, "batch_size": 10, "lr": 0.01}
        result = train(TrainConfig(**settings), nets, run=tmp_path / f"run{bool(nets)}", data=dataset)
        assert result.test_metrics["perplexity"] < 3  # 8 for the 8 characters at random
    states = [build_model("transformer", None, dataset, seed=seed).state_dict() for seed in (0, 0, 1)]
    for name in ("token.weight", "layers.1.self_attn.in_proj_weight"):
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[0][name], states[2][name])
    assert (states[0]["norm.weight"] == 1).all()


def test_a_model_that_refuses_images_has_no_weights_on_them(monkeypatch):
    assert weights_on_images("lenet-5")["conv1.weight"].shape == (20, 1, 5, 5)

    def refuse(input_shape):
        raise InvalidSpecError(f"not {input_shape}")

    monkeypatch.setattr("topokit_train.models.perceptron.mlp", refuse)
    assert weights_on_images("mlp") == {}


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.ones(3))


def tied():
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    return nn.Sequential(one, two)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.Sequential(Shift()), "the module 0 has parameters .* give Shift a method reset_parameters"),
        (tied, r"0\.weight and 1\.weight are one parameter"),
    ],
)
def test_a_built_in_model_whose_first_weights_would_be_wrong_is_refused(model, message, monkeypatch):
    monkeypatch.setattr("topokit_train.models.perceptron.mlp", model)
    with pytest.raises(InvalidSpecError, match=message):
        build("mlp", None)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_the_main_job_stores_27930_numbers(kernel):
    model = build("lenet-300-100", default_topology(), kernel=kernel)
    assert count_parameters(model) == {"total": 266_610, "nonzero": 27_930}
    assert [type(part) for part in model.children() if hasattr(part, "bias")] == [SparseLinear, SparseLinear, nn.Linear]


def test_a_layer_fills_the_slot_of_its_shape_and_the_others_stay_dense():
    second = tk.Bernoulli(widths=(300, 100), density=".1", seed=0)
    model = build("lenet-300-100", second, kernel={"fc2": "masked"})
    assert [type(part) for part in model.children() if hasattr(part, "bias")] == [nn.Linear, SparseLinear, nn.Linear]
    assert model.fc2.kernel == "masked"
    assert (model.fc2.topology_layer().to_dense() == second.layer(0).to_dense()).all()


def test_the_module_is_relu_between_the_layers_and_none_at_the_end():
    topology = default_topology()
    model = build("lenet-300-100", topology, kernel="masked")
    with torch.no_grad():
        for part in (model.fc1, model.fc2, model.fc3):
            part.bias.normal_(generator=torch.Generator().manual_seed(3))
        x = images = torch.randn(6, 28, 28)
        x = x.reshape(6, 784)
        for part in (model.fc1, model.fc2):
            x = torch.clamp(x @ part.dense_weight().T + part.bias, min=0)
        x = x @ model.fc3.weight.T + model.fc3.bias
        assert (x < 0).any()
        torch.testing.assert_close(model(images), x)


def test_a_seed_gives_one_network_under_every_kernel():
    states = [
        build("lenet-300-100", default_topology(), seed, kernel=kernel).state_dict()
        for seed, kernel in ((0, "csr"), (0, "masked"), (1, "csr"))
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["fc3.weight"], states[2]["fc3.weight"])


def test_dense_weights_are_drawn_by_their_fan_in_and_from_nothing_but_the_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = build("lenet-300-100", None)
    assert torch.equal(torch.get_rng_state(), before)
    for part in (model.fc1, model.fc2, model.fc3):
        assert part.weight.std().item() == pytest.approx((2 / part.in_features) ** 0.5, rel=0.05)
        assert part.weight.mean().item() == pytest.approx(0, abs=0.02)
        assert not part.bias.any()
