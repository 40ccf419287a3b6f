"""Modules whose arrays and layers differ: permuted inputs, orientations, weights of positions, own masks."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402 (skipped without torch)
from torch import nn  # noqa: E402

import topokit as tk  # noqa: E402
import topokit_train  # noqa: E402
from topokit.errors import InvalidSpecError  # noqa: E402
from topokit.formats import save_masks  # noqa: E402
from topokit_train.functions import load_function  # noqa: E402


def pruned(model):
    """The model with half of its weights, of two dimensions or more."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * (torch.rand(parameter.shape) < 0.5))
    return model.eval()


class Then(nn.Module):
    """Two linear layers with a function between them."""

    def __init__(self, function):
        super().__init__()
        self.one, self.function, self.two = nn.Linear(4, 4), function, nn.Linear(4, 4)

    def forward(self, x):
        return self.two(self.function(self.one(x)))


def flattened_last():
    last = nn.Linear(8, 4)
    return nn.Sequential(nn.Conv2d(4, 2, 1), nn.Unflatten(1, (2,)), Move(), nn.Flatten(), last)


class Move(nn.Module):
    def forward(self, x):
        return x.movedim(1, -1)


SHAPES = [{"shapes": one} for one in (7, {"w": 7}, {"w": [2, 1]}, {"w": [2, 2, 2.0]}, {"w": [2, 10**9, 10**9]})]
PERMUTED = {
    "shuffled": lambda: nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 1)),
    "flipped": lambda: Then(lambda y: y.flip(1)),
    "taken": lambda: Then(lambda y: y[:, [2, 0, 3, 1]]),
    "halves": lambda: Then(lambda y: torch.cat(y.chunk(2, 1)[::-1], 1)),
    "channels last": flattened_last,
}


@pytest.mark.parametrize("name", PERMUTED)
def test_a_permuted_topology_is_not_put_on_other_weights(name, topokit, tmp_path):
    model, x = (
        pruned(PERMUTED[name]()),
        torch.randn(2, 4, 2, 2) if name in ("shuffled", "channels last") else torch.randn(2, 4),
    )
    found = topokit_train.extract(model, x)
    again = PERMUTED[name]().eval()
    again.load_state_dict(model.state_dict())
    layer = found.layers[1]["name"]
    found.topology.save(tmp_path / "net.safetensors")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert_refused(f"the model permutes the inputs of {layer}", again, found, topokit, tmp_path)
    topokit_train.sparsify(again, found.masks)
    torch.testing.assert_close(again(x), model(x))


class Moved(nn.Module):
    """A layer, a function of its outputs, flattened, and a linear layer."""

    def __init__(self, one, function, x):
        super().__init__()
        self.one, self.function = one, function
        self.two = nn.Linear(function(one(x)).flatten(1).shape[1], 5)

    def forward(self, x):
        return self.two(self.function(self.one(x)).flatten(1))


MOVED = {
    "edge of images": lambda y: nn.functional.pad(y, (0, 1, 0, 1)),
    "channels": lambda y: nn.functional.pad(y, (0, 0, 0, 0, 1, 1)),
    "padded and channels last": lambda y: nn.functional.pad(y, (0, 1)).permute(0, 2, 3, 1),
    "part of a channel": lambda y: y.flatten(1)[:, 1:],
    "repeated": lambda y: torch.cat([y[:, :1], y[:, :1], y], 1)[:, 1:].flatten(1)[:, 2:],
    "swapped": lambda y: y[:, [1, 0, 2, 3]],
}


def how_moved(function):
    """What a function does with features, by the numbers of their channels that come out of it."""
    channels = torch.arange(1.0, 5)[None, :, None, None].expand(1, 4, 2, 2)
    numbers = function(channels).flatten().tolist()
    known = [number for number in numbers if number]
    if known != sorted(known):
        return "permutes the inputs of"
    if len(known) < len(numbers):
        return "pads the inputs of"
    assert len({known.count(number) for number in known}) > 1
    return "omits or repeats some inputs of"


@pytest.mark.parametrize("name", MOVED)
def test_it_is_said_how_the_inputs_of_a_layer_differ(name, topokit, tmp_path):
    x = torch.randn(2, 3, 2, 2)
    model = pruned(Moved(nn.Conv2d(3, 4, 1), MOVED[name], x))
    found = topokit_train.extract(model, x)
    again = Moved(nn.Conv2d(3, 4, 1), MOVED[name], x).eval()
    again.load_state_dict(model.state_dict())
    found.topology.save(tmp_path / "net.safetensors")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert_refused(f"the model {how_moved(MOVED[name])} two.weight", again, found, topokit, tmp_path)
    assert np.array_equal(found.masks["two.weight"], model.two.weight.detach().numpy() != 0)
    torch.testing.assert_close(topokit_train.sparsify(again, found.masks)(x), model(x))


class Tokens(nn.Module):
    """A linear layer that reads the outputs of two others, each at a position of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.two = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.two(torch.stack([self.one(x), self.other(x)], 1))


def test_an_input_that_is_several_nodes_is_named():
    model = pruned(Tokens())
    chain = next(one for one in topokit_train.extract(model, torch.randn(2, 4)).chains if "two.weight" in one.names)
    with pytest.raises(InvalidSpecError, match=r"the model reads several nodes as one input of two\.weight, so"):
        tk.masks(chain)


def assert_refused(message, model, found, topokit, folder):
    """Assert that no way puts the topology of an extraction on a model; the folder has the files of both."""
    for given in (found, found.topology, folder / "net.safetensors"):
        with pytest.raises(InvalidSpecError, match=message):
            topokit_train.sparsify(model, given)
    with pytest.raises(InvalidSpecError, match=message):
        tk.masks(tk.reverse(tk.reverse(found.topology)))
    run = topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "masked.safetensors")
    assert (run.code, message in run.err) == (2, True)


class Computed(nn.Module):
    """Two linear layers, the second of which multiplies by a function of its weight."""

    def __init__(self, function, width=4):
        super().__init__()
        self.one, self.two, self.function = nn.Linear(width, width), nn.Linear(width, width), function

    def forward(self, x):
        return nn.functional.linear(self.one(x).relu(), self.function(self.two.weight), self.two.bias)


class Transposed(nn.Module):
    """Two square layers, the second of which multiplies by its transposed weight."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return nn.functional.linear(self.one(x).relu(), self.two.weight.t())


class AsConvolution(Transposed):
    """A layer, and the weight of a transposed convolution in a plain one."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 1)

    def forward(self, x):
        return nn.functional.conv2d(self.one(x).relu(), self.two.weight)


ORDER = torch.arange(20).roll(1)

REORDERED = {
    "flip": lambda w: w.flip(0),
    "rot90": lambda w: w.rot90(),
    "heads": lambda w: w.view(2, -1, w.shape[1]).transpose(0, 1).reshape(w.shape),
    "rows": lambda w: w[ORDER[: len(w)] % len(w)],
    "columns": lambda w: w[:, ORDER[: len(w)] % len(w)],
    "halves": lambda w: torch.cat([w[len(w) // 2 :], w[: len(w) // 2]]),
    "stack": lambda w: torch.stack(w.chunk(2), 1).flatten(0, 1),
    "gather": lambda w: w.gather(0, ORDER[: len(w)].expand(len(w), -1) % len(w)),
    "scaled": lambda w: w.flip(0) * 2.5,
    "same rows": lambda w: w[:1].expand(w.shape),
}


@pytest.mark.parametrize("width", [4, 20])
@pytest.mark.parametrize("name", REORDERED)
def test_a_topology_of_reordered_weights_is_not_put_on_others(name, width, topokit, tmp_path):
    model, x = pruned(Computed(REORDERED[name], width)), torch.randn(2, width)
    found = topokit_train.extract(model, x)
    again = Computed(REORDERED[name], width).eval()
    again.load_state_dict(model.state_dict())
    found.topology.save(tmp_path / "net.safetensors")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    used = model.function(model.two.weight) != 0
    assert np.array_equal(found.topology[1].to_dense(), used.T)
    message = "the model reorders, selects or computes the weights of two.weight"
    assert_refused(message, again, found, topokit, tmp_path)
    topokit_train.sparsify(again, found.masks, masked=True)
    torch.testing.assert_close(again(x), model(x))
    assert np.array_equal(found.masks["two.weight"], model.two.weight != 0)


@pytest.mark.parametrize("make", [Transposed, AsConvolution])
def test_a_square_weight_that_is_used_transposed_gets_its_masks_or_none(make, tmp_path):
    model, x = pruned(make()), torch.randn(2, 4, 1, 1) if make is AsConvolution else torch.randn(2, 4)
    found = topokit_train.extract(model, x)
    again = make().eval()
    again.load_state_dict(model.state_dict())
    topokit_train.sparsify(again, found.masks, masked=True)
    torch.testing.assert_close(again(x), model(x))
    found.topology.save(tmp_path / "net.safetensors")
    given = [found, found.topology, tmp_path / "net.safetensors"]
    if make is Transposed:  # a file of masks records layouts other than (out, in)
        given.append({"*": found.topology})
        save_masks(found.masks, tmp_path / "masks.safetensors")
        given.append(tmp_path / "masks.safetensors")
    for one in given:
        with pytest.raises(InvalidSpecError, match=r"two\.weight is square, so that its shape does not say"):
            topokit_train.sparsify(make(), one, masked=True)
    if make is Transposed:
        other = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})  # reads its weights in the usual way
        topokit_train.sparsify(other, found, ["a", "b"], masked=True)
        assert torch.equal(other["b"].weight_mask != 0, model.two.weight.T != 0)
        with pytest.raises(InvalidSpecError, match=r"b.weight is square, .* reads it as \(in, out\), but its module"):
            topokit_train.sparsify(nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}), found)


COMPUTED = {
    "scattered": lambda w: torch.zeros_like(w).index_copy(0, ORDER[: len(w)] % len(w), w),
    "squared": lambda w: w @ w,
    "two places": lambda w: w * w.flip(0),
    "repeated": lambda w: w[:1].expand(w.shape) * torch.arange(1, 5),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_weights_that_are_computed_have_no_parameter(name):
    model, x = pruned(Computed(COMPUTED[name])), torch.randn(2, 4)
    found = topokit_train.extract(model, x)
    first, computed = found.masks
    assert (first, computed in dict(model.named_parameters())) == ("one.weight", False)
    assert found.left["two.weight"][1] == f"the weight of the layer {computed} is computed from two.weight"
    for given in (found.masks, found.topology, found):
        with pytest.raises(InvalidSpecError, match=computed):
            topokit_train.sparsify(model, given, masked=True)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_a_norm_of_a_weight_keeps_its_name(name):
    model = pruned(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)))
    expected = model[2].weight.numpy(force=True) != 0
    getattr(nn.utils.parametrizations, name)(model[2])
    masks = topokit_train.extract(model, torch.zeros(1, 4)).masks
    assert list(masks) == ["0.weight", "2.weight"]
    assert np.array_equal(masks["2.weight"], expected)


@pytest.mark.parametrize("width", [4, 20])
@pytest.mark.parametrize("function", [torch.Tensor.tril, torch.Tensor.triu])
def test_a_topology_of_weights_in_their_places_is_put_on_them(function, width):
    model, x = pruned(Computed(function, width)), torch.randn(2, width)
    expected = model(x)
    found = topokit_train.extract(model, x)
    topokit_train.sparsify(model, found, masked=True)
    torch.testing.assert_close(model(x), expected)
    assert np.array_equal(found.topology[1].to_dense(), (function(model.two.weight) != 0).T)


class Turned(nn.Module):
    """A transposed convolution, written as a convolution."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(6, 6, 3, 3))

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight.transpose(0, 1).flip(2, 3))


def test_the_weights_of_a_filter_may_have_any_order(topokit, tmp_path):
    model = Turned().eval()
    with torch.no_grad():
        model.weight.copy_(torch.randn(6, 6, 3, 3) * (torch.rand(6, 6, 1, 1) < 0.5))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    x = torch.zeros(1, 6, 5, 5)
    topokit_train.extract(model, x).topology.save(tmp_path / "net.safetensors")
    assert topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "again.safetensors").code == 0
    assert torch.equal(load_file(tmp_path / "again.safetensors")["weight"], model.weight)
    with pytest.raises(InvalidSpecError, match="the model reorders"):
        tk.masks(topokit_train.extract(model, x, conv="weight").chains[0])


class Transposed(nn.Module):
    """A linear layer that is stored as (in, out), as in GPT-2."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(6, 6))

    def forward(self, x):
        return x @ self.weight


def test_the_topology_of_a_module_knows_how_its_arrays_are_stored(topokit, tmp_path):
    model = pruned(nn.Sequential(Transposed(), nn.GELU(), Transposed()))
    topokit_train.extract(model, torch.zeros(1, 6)).topology.save(tmp_path / "net.safetensors")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "again.safetensors").code == 0
    again = load_file(tmp_path / "again.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(again[key], value)
    assert topokit("verify", "net.safetensors", "--check", "soundness").code == 0


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.token, self.b = nn.Linear(4, 5), nn.Linear(6, 6), nn.Linear(5, 3)

    def forward(self, x):
        return self.b(self.token(self.a(x).mT).mT)


def test_weights_of_positions_keep_the_nodes():
    model = pruned(Mixer())
    found = topokit_train.extract(model, torch.zeros(1, 6, 4))
    assert found.topology.names == ("a.weight", "b.weight")
    assert "multiplies the positions of the same nodes" in found.left["token.weight"][1]
    a, b = ((one.weight != 0).numpy().astype(int) for one in (model.a, model.b))
    assert np.array_equal(tk.path_counts(found.topology), (b @ a).T)


class Masked(nn.Module):
    def __init__(self, mask, function):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(4, 4)), function
        self.name = mask
        self.register_buffer(mask, (torch.rand(4, 4) < 0.5).float())

    def forward(self, x):
        return nn.functional.linear(x, self.function(getattr(self, self.name), self.weight))


@pytest.mark.parametrize("name", ["mask", "m", "weight_mask"])
@pytest.mark.parametrize(
    "function",
    [
        lambda m, w: m * w,
        lambda m, w: w * m,
        lambda m, w: torch.where(m > 0, w, 0.0),
        lambda m, w: w.masked_fill(m == 0, 0),
    ],
)
def test_a_weight_and_its_mask_have_the_name_of_the_weight(name, function):
    model = Masked(name, function)
    found = topokit_train.extract(model, torch.zeros(1, 4))
    assert [one["name"] for one in found.layers] == ["weight"]
    assert np.array_equal(found.masks["weight"], getattr(model, name).numpy() > 0)


def test_a_chain_with_an_embedding_is_refused_by_name():
    model = pruned(nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 5)))
    found = topokit_train.extract(model, torch.zeros(2, 3, dtype=torch.long))
    assert found.topology.widths == (20, 16, 5)
    with pytest.raises(InvalidSpecError, match=r"0.weight belongs to Embedding: a topology can fill nn.Linear"):
        topokit_train.sparsify(model, found)


SKIP = """
import torch
from torch import nn
from torch.nn.utils import prune

class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 2, groups=2, padding="same")
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        y = self.stem(x)
        return self.fc((y + self.conv(y)).flatten(1))

def skip():
    torch.manual_seed(0)
    model = Skip()
    for module in list(model.children()):
        prune.random_unstructured(module, "weight", 0.6)
    return model, torch.ones(1, 1, 4, 4)
"""


@pytest.mark.parametrize("conv", ["channel", "weight"])
def test_a_topology_of_a_module_returns_to_it_also_behind_a_joint(conv, topokit, tmp_path):
    (tmp_path / "nets.py").write_text(SKIP)
    extracted = topokit("extract", "nets.py:skip", "--conv", conv, "-o", "net")
    read = "(out, in), by channel (4 features of each)" if conv == "channel" else "(out, in)"
    assert f"fc.weight    5 x 16         {read}  " in extracted.err
    assert topokit("extract", "nets.py:skip", "--masks", "-o", "masks").code == 0
    assert topokit("mask", "net", "-o", "recorded").code == 0  # the recipe has the shapes of the parameters
    made, masks = (tk.load_masks(tmp_path / name) for name in ("recorded", "masks"))
    assert {name: mask.shape for name, mask in made.items()} == {name: mask.shape for name, mask in masks.items()}
    size, kept = (sum(int(mask.sum()) for mask in one.values()) for one in (made, masks))
    assert all((made[name] >= mask).all() for name, mask in masks.items())
    if conv == "weight":
        assert (size, "loses" in extracted.err) == (kept, False)
    else:
        assert (
            f"stem.weight, conv.weight, fc.weight: {kept} weights are kept, but the edges have {size}" in extracted.err
        )
    assert topokit("mask", "net", "--model", "nets.py:skip", "-o", "of-model").code == 0
    assert (tmp_path / "of-model").read_bytes() == (tmp_path / "recorded").read_bytes()
    model = load_function("nets.py:Skip", "model")()
    save_file(model.state_dict(), tmp_path / "model")
    assert topokit("mask", "net", "--apply", "model", "-o", "applied").code == 0
    sparse = topokit_train.sparsify(model, "net")
    assert {row.parameter: row.edges for row in topokit_train.report(sparse).rows} == {
        name: int(np.count_nonzero(load_file("applied")[name])) for name in made
    }
    (tmp_path / "nets.py").write_text(SKIP.replace("16, 5", "36, 5"))
    for args in (("--model", "nets.py:skip"), ("--apply", "wider")):
        save_file(load_function("nets.py:Skip", "model")().state_dict(), tmp_path / "wider")
        refused = topokit("mask", "net", *args, "-o", "x")
        assert (refused.code, "or extract masks of the model" in refused.err) == (2, True), refused.err


def test_notes_and_reasons_of_a_selection_are_true(topokit, tmp_path):
    (tmp_path / "nets.py").write_text(SKIP)
    selected = topokit("extract", "nets.py:skip", "--layers", "fc", "--dry-run")
    assert "not extracted: stem.weight 4 x 1 x 3 x 3: it is not among the selected layers" in selected.err
    read = topokit("extract", "nets.py:skip", "-o", "net")
    assert "To keep it, extract with --conv weight, or extract masks" in read.err  # a flag, as on the command line
    assert "loses the pruning" not in topokit("extract", "nets.py:skip", "--masks", "-o", "masks").err


SPARSE = {  # module, topology, input
    "perceptron": (lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)), "radix-net radices=2,3", (2, 6)),
    "layer": (lambda: nn.Linear(6, 4), "bernoulli widths=6,4 density=.5 seed=1", (2, 6)),
    "convolutions": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(24, 3)),
        {"1": "bernoulli density=.5 seed=1", "3": "bernoulli density=.5 seed=2"},
        (1, 1, 6, 6),
    ),
    "attention": (
        lambda: nn.TransformerEncoderLayer(8, 2, 8, batch_first=True),
        {"self_attn.q.weight": "bernoulli density=.5 seed=1", "linear1": "bernoulli density=.5 seed=2"},
        (1, 3, 8),
    ),
}


@pytest.mark.parametrize("kernel", ["native", "csr", "masked"])
@pytest.mark.parametrize("name", SPARSE)
def test_sparse_layers_of_a_module_keep_all_their_edges(name, kernel):
    make, topology, shape = SPARSE[name]
    model = topokit_train.sparsify(make(), topology, kernel=kernel)
    layers = {one: part for one, part in model.named_modules() if hasattr(part, "topology_layer")}
    with torch.no_grad():
        for part in layers.values():
            part.values[::2] = 0  # still edges
    before = copy.deepcopy(model)
    found = topokit_train.extract(model, torch.zeros(shape), conv="weight")
    weights = {f"{one}.weight" if one else "weight": part for one, part in layers.items()}
    assert {one: found.edges[one].edges for one in weights} == {one: part.weights for one, part in weights.items()}
    for one, part in weights.items():
        assert np.array_equal(
            found.masks[one] | (part.dense_weight().detach().numpy() == 0), np.ones_like(found.masks[one])
        )
    assert str(model) == str(before)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


@pytest.mark.parametrize("options", [None, 3, {"layouts": [1]}, {"permuted": 7}, {"reordered": 7}, *SHAPES])
def test_a_damaged_recipe_of_an_extraction_is_no_traceback(options, topokit, tmp_path):
    recipe = {"extraction": "module"} if options is None else {"extraction": "module", "options": options}
    tk.Topology.from_dense([np.eye(2)], recipe=recipe, names=["w"]).save(tmp_path / "net.safetensors")
    save_file({"w": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    run = topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "masked.safetensors")
    assert (run.code, "Traceback" in run.err) == (0, False)
