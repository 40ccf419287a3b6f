"""Weights out of every kind of file, with files that are hostile; nothing in them is ever run."""

import os
import pickle
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

import topokit as tk
from topokit.errors import (
    FileFormatError,
    InvalidSpecError,
    MissingDependencyError,
    NotFoundError,
    TooLargeError,
    TopokitError,
)
from topokit.extraction import Rule, select
from topokit.families.bernoulli import Bernoulli
from topokit.formats import as_tensors
from topokit_train import TrainConfig, densify, load_run, read_weights, sparsify, train
from topokit_train.kernels import KERNELS
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs.topologies import default_topology
from topokit_train.weights import READERS


def seeded(seed):
    torch.manual_seed(seed)
    return seed


class Perceptron(nn.Module):
    def __init__(self, seed=0):
        seeded(seed)
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 9), nn.Linear(9, 4)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())


class LeNet(nn.Module):
    """A small LeNet-5: its layers chain by channel and not by weight."""

    def __init__(self, seed=0):
        seeded(seed)
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(6 * 4, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc2(self.fc1(x.flatten(1)).relu())


def pruned(model, amount=0.7):
    for module in model.children():
        prune.l1_unstructured(module, "weight", amount)
    return model


def contiguous(state):
    return {name: tensor.contiguous() for name, tensor in state.items()}


@pytest.mark.parametrize("kernel", KERNELS)
def test_extraction_from_a_trained_topology_is_the_topology(kernel, tmp_path):
    net = default_topology()  # of bands, which every kernel takes
    train(TrainConfig(epochs=1, batch_size=500, kernel=kernel), net, run=tmp_path / "run")
    weights = read_weights(tmp_path / "run" / "checkpoint.safetensors")
    found = tk.extract(weights)
    assert tk.fingerprint(found) == tk.fingerprint(net)
    assert found.notes == ("not extracted: fc3.weight 10 x 100; to extract them, select all layers by name",)
    assert select(weights, Rule()).left == {
        "fc3.weight": ((10, 100), "a dense layer; to extract it, select all layers by name")
    }
    assert tk.extract(weights, layers=["fc*"]).widths == (784, 300, 100, 10)
    assert all(tk.extract(weights, layers=["fc*"]).layer_edges[i] == net.layer_edges[i] for i in range(2))
    few = tk.extract(weights, keep=".01")
    kept, all_edges = few.layer(0).to_dense(), net.layer(0).to_dense()
    assert kept.sum() == 2352
    assert not (kept & ~all_edges).any()


def test_the_numbers_of_a_sparse_layer_lie_where_its_edges_are(tmp_path):
    from topokit_train.runs.checkpoints import load

    net = Bernoulli(widths=(784, 12, 10), density=".05", seed=3)
    train(TrainConfig(model="mlp", epochs=1, batch_size=500), net, run=tmp_path / "run")
    values = load(tmp_path / "run" / "checkpoint.safetensors").tensors["fc2.values"]
    weight = read_weights(tmp_path / "run" / "checkpoint.safetensors").parts["fc2.weight"].weight()
    layer = net.layer(1)
    for edge, (source, target) in enumerate(zip(layer.sources, layer.indices, strict=True)):
        assert weight[target, source] == values[edge]
    assert np.count_nonzero(weight) == layer.edges


def test_the_filters_of_a_convolution_by_channel_are_those_that_it_convolves_with(tmp_path):
    from safetensors.numpy import save_file as save_arrays

    net = Bernoulli(widths=(3, 5), density=".4", seed=1)
    sparse = SparseConv2d(net.layer(0), 3, 2, bias=False)
    tensors, metadata = as_tensors(net)
    tensors |= {f"conv1.{name}": tensor.numpy() for name, tensor in contiguous(sparse.state_dict()).items()}
    save_arrays(tensors, tmp_path / "checkpoint", metadata)
    weights = read_weights(tmp_path / "checkpoint")
    images = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(1))
    dense = torch.from_numpy(weights.parts["conv1.weight"].weight())
    torch.testing.assert_close(torch.nn.functional.conv2d(images, dense), sparse(images))
    assert tk.fingerprint(tk.extract(weights)) == tk.fingerprint(net)
    assert tk.extract(weights, conv="weight").edges == 4 * net.edges
    tensors["conv1.values"] = np.ones(net.edges + 1, np.float32)
    save_arrays(tensors, tmp_path / "checkpoint", metadata)
    assert_refused(tmp_path / "checkpoint", f"{net.edges + 1} numbers for {net.edges} edges")
    tensors["conv1.digest"] = np.zeros(32, np.uint8)
    save_arrays(tensors, tmp_path / "checkpoint", metadata)
    assert_refused(tmp_path / "checkpoint", "conv1 is not in its topologies")


@pytest.mark.parametrize(("widths", "conv"), [((500, 50), "weight"), ((20, 50), "channel")])
def test_a_sparse_convolution_has_the_shape_of_the_models(widths, conv, few_digits, tmp_path):
    net = Bernoulli(widths=widths, density=".1", seed=1)
    train(TrainConfig(model="lenet-5", epochs=1), [net], data=few_digits, run=tmp_path / "run")
    weights = read_weights(tmp_path / "run" / "checkpoint.safetensors")
    assert weights.parts["conv2.weight"].shape == (50, 20, 5, 5)
    assert tk.fingerprint(tk.extract(weights, conv=conv)) == tk.fingerprint(net)
    assert tk.extract(weights, layers=["conv1", "conv2"], conv="channel").widths == (1, 20, 50)
    module = nn.ModuleDict({"conv2": nn.Conv2d(20, 50, 5)})
    mask = weights.parts["conv2.weight"].mask()
    masked = sparsify(module, {"conv2": mask}, masked=True)["conv2"].weight
    assert np.array_equal(masked.detach().numpy() != 0, mask)
    assert np.array_equal(weights.parts["conv2.weight"].weight() != 0, mask)


class Branched(nn.Module):
    """A skip connection over a convolution, and attention: its layers are not in series, though they would chain."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3, padding=1, stride=4), nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.fc, self.out = nn.Linear(16, 6), nn.Linear(6, 10)

    def forward(self, x):
        x = self.stem(x)
        x = (x + self.conv(x)).flatten(2).transpose(1, 2)
        x = self.attention(x, x, x)[0].transpose(1, 2)
        return self.out(self.fc(x[..., :4].flatten(1)).relu())


@pytest.mark.parametrize(
    ("conv", "names", "widths"),
    [("channel", [["stem", "conv"]], [(1, 4, 4)]), ("weight", [["stem"], ["conv"]], [(9, 4), (12, 4)])],
)
def test_a_run_of_an_own_model_has_the_chains_and_shapes_that_it_records(conv, names, widths, tmp_path):
    names = [*names, ["attention.in_proj_weight"], ["attention.out_proj"], ["fc", "out"]]
    widths = [*widths, (4, 12), (4, 4), (16, 6, 10)]
    nets = [
        tk.Topology(Bernoulli(widths=one, density=".5", seed=2).build(), names=[tk_name(name) for name in own])
        for one, own in zip(widths, names, strict=True)
    ]
    train(TrainConfig(epochs=1, batch_size=500), nets, model=Branched, run=tmp_path / "run")
    weights = read_weights(tmp_path / "run")
    found = select(weights, Rule(), conv=conv)
    assert [tk.fingerprint(net) for net in found.chains] == [tk.fingerprint(net) for net in nets]
    assert [net.names for net in found.chains] == [net.names for net in nets]
    shapes = {one["parameter"]: tuple(one["shape"]) for one in found.layers}
    model = Branched()
    assert shapes == {name: tuple(model.get_parameter(name).shape) for name in shapes}
    assert len(shapes) == 6
    trained = densify(load_run(tmp_path / "run", model=Branched)).state_dict()
    for name in shapes:
        assert np.array_equal(weights.parts[name].weight(), trained[name].numpy())
    assert {name: mask.shape for name, mask in select(weights, Rule(), chained=False).masks.items()} == shapes
    assert tk.extract(weights, layers=["fc", "out"]).widths == (16, 6, 10)
    with pytest.raises(InvalidSpecError, match=f"they are {len(nets)} chains"):
        tk.extract(weights)


def tk_name(name):
    return name if name.endswith("weight") else f"{name}.weight"


def test_a_linear_layer_of_channels_is_found_in_its_run(few_digits, tmp_path):
    net = Bernoulli(widths=(1, 20, 50, 384, 10), density=".5", seed=1)
    train(TrainConfig(model="lenet-5", epochs=1), [net], data=few_digits, run=tmp_path / "run")
    assert tk.fingerprint(tk.extract(read_weights(tmp_path / "run"))) == tk.fingerprint(net)


def test_a_pruning_run_has_its_masks(tmp_path):
    config = PruneConfig(epochs=1, batch_size=500, to=0.9, keep=("fc3",))
    train(config, run=tmp_path / "run")
    weights = read_weights(tmp_path / "run" / "checkpoint.safetensors")
    saved = tk.load(tmp_path / "run" / "topology-0.9.safetensors")
    assert tk.fingerprint(tk.extract(weights, rule="mask", layers=["fc1", "fc2"])) == tk.fingerprint(saved)
    assert weights.parts["fc3.weight"].mask is None


def test_a_pruned_model_becomes_a_topology_and_is_the_same_function_on_it(tmp_path):
    model, x = pruned(Perceptron()), torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    logits = model(x)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    net = tk.extract(read_weights(tmp_path / "model.pt"))
    assert net.widths == (12, 9, 4)
    assert net.layer_edges == tuple(int(module.weight_mask.sum()) for module in model.children())

    dense = Perceptron()
    for module, theirs in zip(dense.children(), model.children(), strict=True):
        module.weight.data, module.bias.data = theirs.weight_orig.data.clone(), theirs.bias.data.clone()
    assert not torch.allclose(dense(x), logits)
    masked = sparsify(dense, net, masked=True)
    assert torch.equal(masked(x), logits)
    torch.testing.assert_close(sparsify(Perceptron(), net)(x), sparsify(Perceptron(), net, masked=True)(x))
    torch.testing.assert_close(sparsify(pruned(Perceptron()), net)(x), logits)


def test_a_pruned_convolutional_model_is_kept_as_masks(tmp_path):
    model, x = pruned(LeNet()), torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    save_file(contiguous(model.state_dict()), tmp_path / "model.safetensors")
    weights = read_weights(tmp_path / "model.safetensors")
    with pytest.raises(
        InvalidSpecError, match=r"fc1.weight reads the flattened channels .* layers conv1,conv2,fc1,fc2;"
    ):
        tk.extract(weights)
    assert tk.extract(weights, layers=["conv1", "conv2", "fc1", "fc2"]).widths == (1, 4, 6, 8, 3)
    assert tk.extract(weights, layers=["conv2"], conv="weight").widths == (36, 6)
    assert tk.extract(weights, layers=["conv2"], conv="weight").edges == int(model.conv2.weight_mask.sum())
    tk.save_masks(tk.load_masks(tmp_path / "model.safetensors"), tmp_path / "masks.safetensors")
    fresh = LeNet()
    for module, theirs in zip(fresh.children(), model.children(), strict=True):
        module.weight.data, module.bias.data = theirs.weight_orig.data.clone(), theirs.bias.data.clone()
    assert torch.equal(sparsify(fresh, tk.load_masks(tmp_path / "masks.safetensors"), masked=True)(x), model(x))


@pytest.mark.parametrize(
    "kind", ["plain", "nested", "deeply", "legacy", "safetensors", "half", "bfloat16", "torch-bfloat16"]
)
def test_every_file_of_a_state_dict_says_the_same(kind, tmp_path):
    model = Perceptron()
    with torch.no_grad():
        for module in model.children():
            module.weight[torch.rand(module.weight.shape) < 0.6] = 0
    if kind in ("half", "bfloat16", "torch-bfloat16"):
        model.to(torch.float16 if kind == "half" else torch.bfloat16)
    state, path = model.state_dict(), tmp_path / "a file"
    if kind == "nested":
        torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}, path)
    elif kind == "deeply":
        torch.save({"step": torch.tensor(3), "model": {"module": state}}, path)
    elif kind == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif kind in ("safetensors", "bfloat16"):
        save_file(contiguous(state), path)
    else:
        torch.save(state, path)
    weights = read_weights(path)
    net = tk.extract(weights, above=0.05)
    for layer, module in zip(net.stream(), model.children(), strict=True):
        expected = module.weight.detach().double().abs().numpy() > 0.05
        assert np.array_equal(layer.to_dense().T, expected)
        assert 0 < expected.sum() < expected.size
    assert net.recipe["options"]["file"] == "a file"


def test_the_recipe_says_where_it_comes_from_and_cannot_be_rebuilt(tmp_path):
    import hashlib

    torch.save(Perceptron().state_dict(), tmp_path / "model.pt")
    net = tk.extract(read_weights(tmp_path / "model.pt"), keep=".5", layers=["fc2"])
    assert net.recipe == {
        "extraction": "torch",
        "options": {
            "file": "model.pt",
            "sha256": hashlib.sha256((tmp_path / "model.pt").read_bytes()).hexdigest(),
            "rule": "keep",
            "keep": "1/2",
            "scope": "layer",
            "layers": ["fc2.weight"],
        },
    }
    tk.save(net, tmp_path / "net")
    assert tk.load(tmp_path / "net").recipe == net.recipe


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_payload_does_not_run(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "model.pt"
    state = {"fc.weight": torch.eye(2), "payload": Canary(canary)}
    torch.save(state, path)
    assert_refused(path, "Python objects other than tensors (posix.mkdir)" if os.name == "posix" else "Python objects")
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert_refused(path, "Python objects")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Canary(canary), protocol))
        assert_refused(path, "")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists()  # so the payload would have done it


def assert_refused(path, said, error=FileFormatError):
    with pytest.raises(error) as raised:
        tk.extract(read_weights(path))
    message = str(raised.value)
    assert said in message
    assert str(path) in message
    assert len(message.splitlines()) == 1


def test_torch_files_that_hold_no_state_dict(tmp_path):
    path = tmp_path / "model.pt"
    for value, said in [
        (Perceptron(), "Python objects other than tensors"),
        ({"epoch": 1, "lr": 0.1}, "a dictionary of epoch, lr, but no state dict"),
        ({}, "a dictionary of nothing"),
        ([torch.ones(2, 2)], "a list, but no state dict"),
        ({1: torch.ones(2, 2)}, "no state dict"),
        ({"fc.weight": torch.ones(2, 2, device="meta")}, "no numbers (device meta)"),
    ]:
        torch.save(value, path)
        assert_refused(path, said)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "text")
    assert_refused(tmp_path / "other.zip", "is a zip archive that torch.save did not write")


def test_arrays_of_numpy(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"b": rng.random((4, 3)) * (rng.random((4, 3)) < 0.5), "a": np.ones((2, 4))}
    np.savez(tmp_path / "arrays", **arrays)
    net = tk.extract(read_weights(tmp_path / "arrays.npz"))
    assert (net.names, net.widths) == (("b", "a"), (3, 4, 2))  # in the order of the file
    assert np.array_equal(net.layer(0).to_dense().T, arrays["b"] != 0)
    np.savez(tmp_path / "objects", a=np.array([{}], dtype=object))
    assert_refused(tmp_path / "objects.npz", "a has Python objects, which topokit does not load")


def test_masks_beside_a_state_dict(tmp_path):
    weight, mask = torch.tensor([[0.0, 1.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    for content in (
        {"state_dict": {"fc.weight": weight}, "masks": {"fc.weight": mask}},
        {"model_state_dict": {"fc.weight": weight}, "mask_dict": {"fc": mask.bool()}},
        {"model": {"state_dict": {"fc.weight": weight}, "masks": {"fc": mask}}},
        {"net_G": {"fc.weight": weight}, "weight_mask": {"net_G.fc.weight": mask}},
        {"fc": {"weight": mask}},
    ):
        torch.save(content, tmp_path / "model.pt")
        net = tk.extract(read_weights(tmp_path / "model.pt"))
        assert np.array_equal(net.layer(0).to_dense().T, mask.numpy())  # a weight that has grown may still be 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model", "ema"),
        ("model", "model_ema"),
        ("net", "net_ema"),
        ("state_dict", "state_dict_ema"),
        ("model_state_dict", "ema_state_dict"),
        ("params", "params_ema"),
        ("model", "best"),
    ],
)
@pytest.mark.parametrize("names", [("fc1.weight", "fc2.weight"), ("0.weight",)])
def test_two_state_dicts_in_a_checkpoint_are_asked(first, second, names, tmp_path):
    def state(weight):
        return dict.fromkeys(names, weight)

    path, whole, few = tmp_path / "both.pt", state(torch.ones(4, 4)), state(torch.eye(4))
    short = [name.removesuffix(".weight") for name in names]
    lines = [",".join(f"{key}.{name}" for name in short) for key in (first, second)]
    for both in ({first: whole, second: few}, {second: few, first: whole}):
        torch.save({"epoch": 3, "optimizer": {"state": {"0": {"exp_avg": torch.ones(4, 4)}}}, **both}, path)
        with pytest.raises(InvalidSpecError, match=r"may be copies of one (layer|model), or parallel") as raised:
            tk.extract(read_weights(path))
        assert all(f"layers {line};" in str(raised.value) for line in lines)
        edges = [tk.extract(read_weights(path), layers=line.split(",")).edges for line in lines]
        assert edges == [16 * len(names), 4 * len(names)]


def test_a_copy_in_a_wrapper_beside_a_state_dict_is_asked(tmp_path):
    state = {"fc1.weight": torch.ones(4, 4), "fc2.weight": torch.ones(4, 4)}
    wrapped = {f"module.{name}": one for name, one in state.items()}
    average = {"online_model." + name: one for name, one in state.items()} | {"initted": torch.tensor(1)}
    for both in (
        {"model": wrapped, "ema": state},
        {"model": state, "ema": average},
        {"net": {"model": state, "a": state}},
    ):
        torch.save(both, tmp_path / "both.pt")
        with pytest.raises(InvalidSpecError, match=r"may be copies of one layer, or parallel"):
            tk.extract(read_weights(tmp_path / "both.pt"))


def test_masks_beside_two_state_dicts_are_of_the_first(tmp_path):
    state = {"fc1.weight": torch.ones(4, 4), "fc2.weight": torch.ones(4, 4)}
    masks = {"fc1": torch.eye(4).bool()}
    torch.save({"state_dict_ema": state, "state_dict": state, "masks": masks}, tmp_path / "both.pt")
    weights = read_weights(tmp_path / "both.pt")
    assert tk.extract(weights, layers=["state_dict.fc1"]).edges == 4
    assert tk.extract(weights, layers=["state_dict_ema.fc1"]).edges == 16


def test_masks_beside_a_nested_copy_are_of_the_state_dict_that_is_read(tmp_path):
    state = {"fc1.weight": torch.ones(4, 4), "fc2.weight": torch.ones(4, 4)}
    masks = {"fc1": torch.eye(4).bool()}
    wrapped = {f"module.{name}": one for name, one in state.items()}
    for both, first, second in (
        ({"model": {"state_dict": state}, "ema": state, "masks": masks}, "model.state_dict", "ema"),
        ({"model": {"state_dict": state, "masks": masks}, "ema": state}, "model.state_dict", "ema"),
        ({"ema": state, "model": {"net": wrapped}, "masks": masks}, "model.net.module", "ema"),
        ({"module": state, "model": state, "masks": masks}, "model", "module"),
        ({"model": state, "module": state, "masks": masks}, "model", "module"),
    ):
        torch.save(both, tmp_path / "both.pt")
        weights = read_weights(tmp_path / "both.pt")
        with pytest.raises(InvalidSpecError, match=r"may be copies of one layer, or parallel"):
            tk.extract(weights)
        assert tk.extract(weights, layers=[f"{first}.fc1"]).edges == 4
        assert tk.extract(weights, layers=[f"{second}.fc1"]).edges == 16


def test_a_pruned_copy_beside_a_plain_one_is_asked(tmp_path):
    plain = {"fc1.weight": torch.ones(4, 4), "fc2.weight": torch.ones(4, 4)}
    pruned = {f"{name}_orig": one for name, one in plain.items()} | {f"{name}_mask": torch.eye(4) for name in plain}
    for both in ({"model": plain, "ema": pruned}, {"model": pruned, "ema": plain}):
        torch.save(both, tmp_path / "both.pt")
        with pytest.raises(InvalidSpecError, match=r"may be copies of one layer, or parallel"):
            tk.extract(read_weights(tmp_path / "both.pt"))


@pytest.mark.parametrize("key", ["pruner.masks", "extra.state.mask_dict", "ema.mask"])
def test_masks_elsewhere_are_listed(key, tmp_path):
    content = {"fc1": torch.eye(4).bool()}
    for part in reversed(key.split(".")):
        content = {part: content}
    torch.save({"model": {"fc1.weight": torch.ones(4, 4)}, **content}, tmp_path / "one.pt")
    found = select(read_weights(tmp_path / "one.pt"), Rule())
    assert found.topology.edges == 16
    assert found.left[f"{key}.fc1"][1] == "masks are read only beside the state dict, or in a dictionary around it"


def two(prefix, *widths):
    return {f"{prefix}.{2 * i}.weight": torch.ones(out, into) for i, (into, out) in enumerate(pairwise(widths))}


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            {"generator": two("net", 2, 8, 4), "discriminator": two("main", 4, 6, 1)},
            ["generator.net", "discriminator.main"],
        ),
        ({"encoder": two("body", 4, 2), "decoder": two("head", 2, 4)}, ["encoder.body", "decoder.head"]),
        ({"state_dict": {"a": two("x", 4, 4), "b": two("y", 4, 2)}}, ["a.x", "b.y"]),
        (two("actor", 4, 8, 4) | two("critic", 4, 8, 1), ["actor", "critic"]),
        (two("net1", 4, 4) | two("net2", 4, 1), ["net1", "net2"]),
        (two("G.generator", 4, 8, 6) | two("D.discriminator", 6, 1), ["G.generator", "D.discriminator"]),
    ],
)
def test_two_models_in_a_file_are_asked(content, lines, tmp_path):
    torch.save(content, tmp_path / "two.pt")
    weights = read_weights(tmp_path / "two.pt")
    with pytest.raises(
        InvalidSpecError, match=r"may be (copies of one layer|in copies of one model), or parallel"
    ) as raised:
        tk.extract(weights)
    for line in lines:
        names = [name.removesuffix(".weight") for name in weights.parts if name.startswith(line)]
        assert f"layers {','.join(names)};" in str(raised.value)
        assert len(tk.extract(weights, layers=names)) == len(names)


def test_a_dictionary_beside_the_state_dict_is_listed(tmp_path):
    generator, discriminator = two("net", 2, 8, 4), two("main", 4, 6, 1)
    content = {"discriminator": discriminator, "state_dict": generator, "optimizer": {"0.exp": torch.ones(4, 4)}}
    torch.save(content, tmp_path / "gan.pt")
    weights = read_weights(tmp_path / "gan.pt")
    found = select(weights, Rule())
    reason = "it is not in the state dict state_dict, which was read"
    assert found.topology.widths == (2, 8, 4)
    assert found.left == {f"discriminator.{name}": (tuple(one.shape), reason) for name, one in discriminator.items()}
    assert tk.extract(weights, layers=["discriminator.*"]).widths == (4, 6, 1)
    torch.save({"fc1": {"weight": torch.ones(3, 2)}, "fc2": {"weight": torch.ones(1, 3)}}, tmp_path / "modules.pt")
    assert tk.extract(read_weights(tmp_path / "modules.pt")).widths == (2, 3, 1)


def test_nested_tensors_are_refused_by_name(tmp_path):
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    torch.save({"fc1.weight": nested}, tmp_path / "model.pt")
    with pytest.raises(InvalidSpecError, match=r"fc1.weight: a nested tensor"):
        tk.extract(read_weights(tmp_path / "model.pt"))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_distinguished_from_a_damaged_file(tmp_path):
    torch.jit.save(torch.jit.trace(Perceptron(), torch.ones(1, 12)), tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", "is a TorchScript program, which topokit does not run: load it with")


def test_torch_files_that_are_damaged(tmp_path):
    good, path = tmp_path / "good", tmp_path / "bad"
    torch.save(Perceptron().state_dict(), good)
    content = good.read_bytes()
    rng = np.random.default_rng(0)
    cases = [content[:size] for size in (4, 60, len(content) // 2, len(content) - 1)]
    for _ in range(60):
        noise = bytearray(content)
        for at in rng.integers(0, len(noise), 8):
            noise[at] = rng.integers(256)
        cases.append(bytes(noise))
    for case in cases:
        path.write_bytes(case)
        try:
            tk.extract(read_weights(path))
        except TopokitError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 (some of the noise lands in the numbers)
    path.write_bytes(content[: len(content) // 2])
    assert_refused(path, "damaged")


def test_an_archive_that_would_fill_the_memory(tmp_path, free_memory):
    with zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\0" * 10_000_000)
    free_memory(1_000_000)
    with pytest.raises(TooLargeError, match="needs"):
        read_weights(tmp_path / "model.pt")


def test_safetensors_files_that_are_refused(tmp_path):
    path = tmp_path / "weights"
    tk.save(Bernoulli(widths=(3, 3), density=".5", seed=1), path)
    assert_refused(path, "is a topology, and has no weights")
    save_file({"a.weight": torch.ones(2, 2).to(torch.float8_e4m3fn)}, path)
    assert_refused(path, "a.weight has the type F8_E4M3, which topokit does not read")
    save_file({"a.weight": torch.ones(2, 2)}, path)
    content = path.read_bytes()
    for bad in (content[:-1], content[:20], (2**40).to_bytes(8, "little") + content[8:], content + b"\0"):
        path.write_bytes(bad)
        assert_refused(path, "damaged")
    path.write_bytes(content.replace(b"[2,2]", b"[9,9]"))
    assert_refused(path, "damaged")
    path.write_bytes(b"")
    assert_refused(path, "not a file of weights that topokit reads (safetensors, npz, torch, onnx)")
    with pytest.raises(TopokitError, match=r"cannot read .*: No such file"):
        read_weights(tmp_path / "missing")


def test_a_model_that_was_sparsified_keeps_its_edges_elsewhere(tmp_path):
    model = sparsify(Perceptron(), Bernoulli(widths=(12, 9), density=".5", seed=1))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with pytest.raises(InvalidSpecError, match="the edges of the sparse layers fc1 are not in this file"):
        tk.extract(read_weights(tmp_path / "model.pt"))
    assert tk.extract(read_weights(tmp_path / "model.pt"), layers=["fc2"]).widths == (9, 4)


@pytest.mark.parametrize(("kind", "package"), [("torch", "torch"), ("onnx", "onnx")])
def test_what_is_not_installed_is_said(kind, package, tmp_path, monkeypatch):
    (tmp_path / "model").write_bytes({"torch": b"PK\x03\x04", "onnx": b"\x08\x08"}[kind] + b"rest")
    assert kind in READERS
    READERS[kind]  # is imported before the package is hidden
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"needs .*: pip install 'topokit\[(train|onnx)\]'"):
        read_weights(tmp_path / "model")


@pytest.mark.parametrize("key", ["masks", "mask_dict"])
@pytest.mark.parametrize("named", ["fc.weight", "fc", "fc.weight_mask", "module.fc.weight"])
@pytest.mark.parametrize("parameter", ["module.fc.weight", "_orig_mod.module.fc.weight", "module.fc.weight_orig"])
def test_masks_beside_a_state_dict_belong_to_parameters_whatever_wraps_them(tmp_path, key, named, parameter):
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    torch.save({"state_dict": {parameter: torch.ones(2, 3)}, key: {named: mask}}, tmp_path / "x.pt")
    assert tk.extract(read_weights(tmp_path / "x.pt")).edges == 3
    torch.save({"state_dict": {parameter: torch.ones(2, 3)}, key: {"other": mask}}, tmp_path / "y.pt")
    with pytest.raises(FileFormatError, match="has a mask other, but no parameter other"):
        tk.extract(read_weights(tmp_path / "y.pt"))


def test_a_parameter_may_be_named_like_an_optimizer(tmp_path):
    state = {"optimal_head.weight": torch.eye(3)}
    torch.save({"state_dict": state, "optimizer_states": {"0": torch.ones(2, 2)}}, tmp_path / "x.pt")
    assert tk.extract(read_weights(tmp_path / "x.pt")).edges == 3


def test_a_folder_is_refused_with_the_file_to_give(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(NotFoundError, match=r"f is a folder: give a file of weights, or the folder of a run$"):
        read_weights(folder)
    Bernoulli(widths=(4, 3, 2), density=".5", seed=0).save(folder / "net", to="tsv")
    with pytest.raises(NotFoundError, match=r"net is a folder of \.tsv files, a topology and not weights: `topokit "):
        read_weights(folder / "net")
    save_file({"fc.weight": torch.ones(2, 3)}, folder / "model.safetensors")
    (folder / "a.onnx").touch()
    with pytest.raises(NotFoundError, match=r"a file of weights in it: \S*model\.safetensors, \S*a\.onnx$") as error:
        read_weights(folder)
    assert read_weights(str(error.value).split()[-2].rstrip(",")).parts


def test_python_code_without_a_function_is_refused_with_the_form_to_give(tmp_path):
    (tmp_path / "mk.py").write_text("def net():\n    return None\n")
    with pytest.raises(InvalidSpecError, match=r"mk\.py is Python code: name the function .*, \S*mk\.py:FUNCTION$"):
        read_weights(tmp_path / "mk.py")


@pytest.mark.parametrize("make", [list, tuple, lambda masks: dict(enumerate(masks))])
@pytest.mark.parametrize("depth", [0, 1])
def test_masks_without_names_are_refused(make, depth, tmp_path):
    state = {"0.weight": torch.ones(8, 8), "2.weight": torch.ones(4, 8)}
    found = {"state_dict": state, "masks": make([torch.eye(8), torch.ones(4, 8)])}
    torch.save({"model": found} if depth else found, tmp_path / "model.pt")
    with pytest.raises(FileFormatError, match="has masks in masks without the names of their parameters"):
        read_weights(tmp_path / "model.pt")
