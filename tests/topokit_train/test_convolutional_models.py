"""LeNet-5: its slots for any image, its function as it is mostly written, and what fills it."""

import json
from math import prod

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch.nn import functional

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats import load_all
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.machine import cpu_threads
from topokit_train.models.networks import MNIST, Shape, build_model, build_stack, model_source
from topokit_train.runs.checkpoints import load
from topokit_train.runs.jobs import Setup, suitable_threads
from topokit_train.runs.resuming import recorded_seeds
from topokit_train.runs.train import train, train_seeds

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGE = (1, 8, 8)
CONV2 = tk.Bernoulli(widths=(500, 50), density=".1", seed=1)
FC1 = tk.Bernoulli(widths=(200, 384), density=".1", seed=2)  # of images of 8 x 8 pixels: 50 channels of 2 x 2
CHANNELS = tk.Bernoulli(widths=(1, 20, 50), density=".5", seed=3)
QUICK = {"model": "lenet-5", "epochs": 2, "batch_size": 20, "lr": 0.002}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The digits as published, 8 x 8 pixels, few of them, are what every dataset is."""
    from topokit_train.datasets.digits import read

    pixels, labels = read()
    images = (pixels[:, None] * 15).astype(np.uint8)
    data = Dataset(
        name="digits",
        train_inputs=images[:100],
        train_targets=labels[:100],
        test_inputs=images[100:140],
        test_targets=labels[100:140],
        classes=10,
    )
    monkeypatch.setattr("topokit_train.runs.train.load_dataset", lambda *_: data)
    return data


def shapes(model, image):
    weights = model_source(model).weights(Shape(image, 10))
    return {name.removesuffix(".weight"): weight.shape for name, weight in weights.items()}


def test_the_published_shapes():
    paper = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (384, 2450), "fc2": (10, 384)}
    assert shapes("lenet-5", (1, 28, 28)) == paper
    colours = {"conv1": (20, 3, 5, 5), "fc1": (384, 1800)}
    assert shapes("lenet-5", (3, 24, 24)) == paper | colours
    assert shapes("lenet-5-classic", (1, 28, 28)) == {
        "conv1": (6, 1, 5, 5),
        "conv2": (16, 6, 5, 5),
        "fc1": (120, 400),
        "fc2": (84, 120),
        "fc3": (10, 84),
    }


@pytest.mark.parametrize(("times", "image"), [(2, (1, 28, 28)), (2, (3, 24, 24)), (10, (1, 28, 28)), (10, (3, 24, 24))])
def test_bigger_ones_have_so_many_times_the_weights_in_the_layers_that_become_sparse(times, image):
    small, big = (
        sum(prod(shapes(model, image)[layer]) for layer in ("conv2", "fc1"))
        for model in ("lenet-5", f"lenet-5-x{times}")
    )
    assert big / small == pytest.approx(times, rel=0.005)


@pytest.mark.parametrize("image", [(1, 1, 1), (3, 1, 1), (1, 8, 8), (1, 5, 28), (2, 7, 9), (3, 25, 24)], ids=str)
def test_images_of_any_size(image):
    model = build_model("lenet-5", (), Shape(image, 7))
    assert model(torch.randn(3, *image)).shape == (3, 7)


def test_images_that_are_too_small_say_how_large_they_must_be():
    for image in [(1, 11, 12), (1, 8, 8), (1, 28, 3)]:
        with pytest.raises(InvalidSpecError, match=r"does not fit images of .* give images of 12 x 12 or more"):
            model_source("lenet-5-classic").weights(Shape(image, 10))
    model = build_model("lenet-5-classic", (), Shape((3, 12, 12), 10))
    assert model(torch.randn(2, 3, 12, 12)).shape == (2, 10)


def same_pool(x, size):
    """TensorFlow's max pool of stride 2 with padding SAME: what is missing is added evenly, an odd pixel at the end."""
    rows, columns = [max((-(-n // 2) - 1) * 2 + size - n, 0) for n in x.shape[2:]]
    margins = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return functional.max_pool2d(functional.pad(x, margins, value=-float("inf")), size, 2)


@pytest.mark.parametrize(("image", "size"), [((1, 8, 8), 2), ((1, 7, 5), 2), ((3, 24, 24), 3), ((3, 9, 8), 3)], ids=str)
def test_lenet_5_is_the_papers_function(image, size):
    model = build_model("lenet-5", (), Shape(image, 10), generator=torch.Generator().manual_seed(0)).double()
    images = torch.randn(3, *image, dtype=torch.float64)
    state = model.state_dict()

    def norm(x):
        return functional.local_response_norm(x, 9, alpha=0.001, beta=0.75, k=1)

    x = functional.conv2d(images, state["conv1.weight"], state["conv1.bias"], padding=2).relu()
    x = norm(same_pool(x, size))
    x = norm(functional.conv2d(x, state["conv2.weight"], state["conv2.bias"], padding=2).relu())
    x = same_pool(x, size).flatten(1)
    x = (x @ state["fc1.weight"].T + state["fc1.bias"]).relu()
    torch.testing.assert_close(model(images), x @ state["fc2.weight"].T + state["fc2.bias"])


def test_the_classic_is_relu_and_pool_behind_each_convolution():
    model = build_model("lenet-5-classic", (), Shape((1, 28, 28), 10)).double()
    images, state = torch.randn(3, 1, 28, 28, dtype=torch.float64), model.state_dict()
    x = images
    for name, padding in (("conv1", 2), ("conv2", 0)):
        convolved = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)
        x = functional.max_pool2d(convolved.relu(), 2)
    x = x.flatten(1)
    for name in ("fc1", "fc2"):
        x = (x @ state[f"{name}.weight"].T + state[f"{name}.bias"]).relu()
    torch.testing.assert_close(model(images), x @ state["fc3.weight"].T + state["fc3.bias"])


def test_each_topology_fills_the_slots_that_it_fits():
    model = build_model("lenet-5", [FC1, CONV2], Shape(IMAGE, 10))
    kinds = {name: type(part).__name__ for name, part in model.named_children()}
    assert kinds["conv1"] == "Conv2d"
    assert (kinds["conv2"], kinds["fc1"], kinds["fc2"]) == ("SparseConv2d", "SparseLinear", "Linear")
    assert (model.conv2.topology_layer().to_dense() == CONV2.layer(0).to_dense()).all()
    filters = build_model("lenet-5", CHANNELS, Shape(IMAGE, 10))
    assert isinstance(filters.conv1, SparseConv2d)
    assert filters.conv2.by_channel
    assert filters.conv2.weights == 25 * CHANNELS.layer_edges[1]


def test_convolutions_are_not_stacked():
    with pytest.raises(
        InvalidSpecError, match=r"lenet-5: only an nn.Sequential of nn.Flatten, nn.Linear and nn.ReLU is trained"
    ):
        build_stack(model_source("lenet-5"), (), MNIST, 2, shared=True, kernel="csr", device="cpu")


@pytest.mark.parametrize("kernel", ["masked", "csr", "block"])
def test_what_was_trained_is_what_was_given(kernel, tmp_path):
    result = train(TrainConfig(**QUICK, kernel=kernel), [CONV2, FC1], run=tmp_path)
    assert result.kernel == kernel
    assert result.parameters["total"] - result.parameters["nonzero"] == 500 * 50 + 200 * 384 - CONV2.edges - FC1.edges
    path = tmp_path / "checkpoint.safetensors"
    assert [tk.fingerprint(net) for net in load_all(path)] == [tk.fingerprint(net) for net in (CONV2, FC1)]
    assert [net.recipe for net in load_all(path)] == [CONV2.recipe, FC1.recipe]
    assert load(path).fingerprints == (tk.fingerprint(CONV2), tk.fingerprint(FC1))
    with pytest.raises(FileFormatError, match=r"holds 2 topologies: .* chain=0 \(500-50\); chain=1 \(200-384\)"):
        tk.load(path)


@pytest.mark.parametrize("wiring", [CHANNELS, [CONV2, FC1]], ids=["one", "two"])
def test_a_run_goes_on_as_if_it_had_not_stopped(wiring, tmp_path, stopped, assert_same_run):
    config = TrainConfig(**QUICK)
    train(config, wiring, run=tmp_path / "straight")
    stopped(lambda: train(config, wiring, run=tmp_path / "stopped"), 1)
    train(config, run=tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    with pytest.raises(InvalidSpecError, match="was started with another topology"):
        train(config, FC1, run=tmp_path / "stopped", resume=True)


def test_seeds_are_trained_in_turn_and_that_is_said(tmp_path, capsys):
    results = train_seeds(TrainConfig(**QUICK), [CONV2], [3, 1], run=tmp_path)
    assert [result.stacked for result in results] == [1, 1]
    assert [result.seed for result in results] == [3, 1]
    said = "lenet-5: only perceptrons are trained several at once, so the seeds are trained in turn"
    assert said in capsys.readouterr().err
    alone = train(TrainConfig(**QUICK, seed=1), [CONV2], run=tmp_path / "alone")
    assert alone.test_accuracy == results[1].test_accuracy
    assert recorded_seeds(tmp_path) == [1, 3]


def test_stopped_seeds_say_how_to_go_on_with_all_of_them(tmp_path, capsys, stopped):
    stopped(lambda: train_seeds(TrainConfig(**QUICK), None, [3, 1], run=tmp_path), 0)
    assert f"continue with --run {tmp_path} --seeds 3,1 --resume" in capsys.readouterr().err


def test_without_a_topology_a_convolutional_model_is_dense_and_that_is_said(tmp_path, capsys):
    config = TrainConfig(**QUICK | {"epochs": 1})
    result = train(config, run=tmp_path / "default")
    assert "lenet-5: dense, as no topology is given" in capsys.readouterr().err
    assert result.parameters["nonzero"] == result.parameters["total"]
    assert load(tmp_path / "default" / "checkpoint.safetensors").fingerprints == ()
    train(config, "dense", run=tmp_path / "dense")
    assert "no topology" not in capsys.readouterr().err


def test_a_convolution_counts_at_each_of_its_places(small):
    few, many = TrainConfig(model="lenet-5", batch_size=1), TrainConfig(model="lenet-5", batch_size=100)
    with cpu_threads(2):
        assert suitable_threads(Setup(model_source(few.model), (), lambda: small), few) == 1
        # 100 * (64 * (500 + 25,000) + 200 * 384 + 3,840) is above 10^8; with the weights alone it were a tenth of that
        assert suitable_threads(Setup(model_source(many.model), (), lambda: small), many) == 2


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("[]", "must be a JSON list of descriptions"),
        ("{", "is damaged: Expecting property name"),
        ('[{"widths": 3}]', "must be a JSON list of descriptions"),
        ("[{}, {}]", "widths must be a JSON list"),
    ],
)
def test_damaged_descriptions_of_topologies_are_refused(broken, said, tmp_path):
    train(TrainConfig(**QUICK), [CONV2, FC1], run=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    with safe_open(path, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata | {"topologies": broken})
    with pytest.raises(FileFormatError, match=said):
        load_all(path)
    with pytest.raises(FileFormatError, match="do not match their SHA-256"):
        load(path)
    assert json.loads(metadata["topologies"])[0]["fingerprint"] == tk.fingerprint(CONV2)
