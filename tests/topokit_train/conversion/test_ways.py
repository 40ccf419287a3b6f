"""One topology gives one model the same layers in every way: sparse layers, masks, and masks from a file."""

import copy
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import topokit as tk
from topokit.edges import from_edges
from topokit.errors import InvalidSpecError, TopokitError
from topokit.formats import save_masks
from topokit.layered import Layer
from topokit.topologies import Topology
from topokit_train import (
    SparseLinear,
    TrainConfig,
    apply_masks,
    dense_state_dict,
    densify,
    extract,
    parameter_groups,
    report,
    sparsify,
)
from topokit_train.conversion.weights import owned_weights
from topokit_train.described import parameters_of
from topokit_train.layers.sparse import SparseModule
from topokit_train.models.networks import Shape, build_model
from topokit_train.runs.topologies import resolve
from topokit_train.sweeps.grid import read_grid


class Attended(nn.Module):
    """Attention on a sequence, and a layer behind it."""

    def __init__(self, width, packed, heads):
        super().__init__()
        kinds = {} if packed else {"kdim": width + 2, "vdim": width + 1}
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True, **kinds)
        self.fc = nn.Linear(width, width + 3)

    def forward(self, x):
        width = x.shape[-1]
        key, value = (nn.functional.pad(x, (0, size - width)) for size in (self.attn.kdim, self.attn.vdim))
        return self.fc(self.attn(x, key, value)[0])


def random_model(rng):
    """A small model of one of three kinds, and an input."""
    kind = rng.integers(3)
    if kind == 0:
        widths = rng.integers(2, 7, 4)
        layers = [[nn.Linear(a, b, bool(rng.integers(2))), nn.ReLU()] for a, b in pairwise(widths)]
        return nn.Sequential(*chain(*layers)), torch.randn(3, int(widths[0]))
    if kind == 1:
        groups = int(rng.integers(1, 3))
        one, two = (groups * int(rng.integers(1, 4)) for _ in range(2))
        settings = {"padding": (1, 2), "dilation": (1, 2), "padding_mode": ["zeros", "reflect"][groups - 1]}
        convolutions = [nn.Conv2d(2, one, (2, 3), **settings), nn.ReLU(), nn.Conv2d(one, two, 2, groups=groups)]
        model = nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(two * 4 * 3, 3))
        return model, torch.randn(3, 2, 4, 4)
    heads = int(rng.integers(1, 3))
    width = heads * int(rng.integers(1, 4))
    return Attended(width, bool(rng.integers(2)), heads), torch.randn(3, 4, width)


def random_topologies(model, rng):
    """A topology of one layer for some of the model's weights, with names or without; each layer's reading is drawn."""
    held = {name: one.weight for name, one in owned_weights(model).items() if not one.weight.only_by_name}
    chosen = [name for name in held if rng.random() < 0.7] or [next(iter(held))]
    nets, edges = [], {}
    for name in chosen:
        weight = held[name]
        readings = weight.readings()
        sources, targets = readings[rng.integers(len(readings))]
        dense = rng.random((sources, targets)) < rng.uniform(0, 1)
        if weight.groups > 1:
            dense &= np.kron(np.eye(weight.groups), np.ones((sources // weight.groups, targets // weight.groups))) > 0
        nets.append(Topology.from_dense([dense], names=[name]))
        edges[name] = dense
    return nets, edges


def oracle(model, edges):
    """{parameter: mask} of each weight, by loops."""
    masks = {}
    for name, dense in edges.items():
        weight = owned_weights(model)[name].weight
        mask = np.zeros(weight.shape, bool)
        own = int(np.prod(weight.shape[1:]))
        each = weight.groups * own // dense.shape[0]  # weights of a source
        for target in range(weight.shape[0]):
            first = target // (weight.shape[0] // weight.groups) * own
            flat = [dense[(first + k) // each, target] for k in range(own)]
            mask[target] = np.array(flat).reshape(weight.shape[1:])
        masks[name] = mask
    return masks


def masked_by_hand(model, masks):
    """The dense model with its weights multiplied by masks; the packed weight of attention by three of them."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            owner, _, projection = name.removesuffix(".weight").rpartition(".")
            attention = model.get_submodule(owner) if owner else model
            if not isinstance(attention, nn.MultiheadAttention) or projection == "out_proj":
                model.get_parameter(name).mul_(torch.from_numpy(mask))
            elif attention.in_proj_weight is None:
                getattr(attention, f"{projection}_proj_weight").mul_(torch.from_numpy(mask))
            else:
                rows = slice("qkv".index(projection) * len(mask), ("qkv".index(projection) + 1) * len(mask))
                attention.in_proj_weight[rows] *= torch.from_numpy(mask)
    return model


def outputs_and_gradients(model, x):
    """The output, and the gradients of the input and of all biases: the names of weights differ between ways."""
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("seed", range(200))
def test_every_way_gives_the_same_layers(seed, tmp_path):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model, x = random_model(rng)
    dtype, close = [(torch.float32, 1e-5), (torch.float64, 1e-12)][seed % 2]
    model, x = model.to(dtype), x.to(dtype)
    nets, edges = random_topologies(model, rng)
    expected = outputs_and_gradients(masked_by_hand(model, oracle(model, edges)), x)
    masks = {name: owned_weights(model)[name].weight.mask(net.layer(0)) for net in nets for name in net.names}
    tk.save_masks(masks, tmp_path / "masks.safetensors")
    from_file = tk.load_masks(tmp_path / "masks.safetensors")
    ways = [
        sparsify(copy.deepcopy(model), nets),
        sparsify(copy.deepcopy(model), nets, masked=True),
        sparsify(copy.deepcopy(model), from_file),
        sparsify(copy.deepcopy(model), from_file, masked=True),
        sparsify(copy.deepcopy(model), {net.names[0]: net.layer(0) for net in nets}),
    ]
    for way in ways:
        filled = {row.parameter: row.edges for row in report(way).rows if row.source is not None}
        assert filled == {name: int(mask.sum()) for name, mask in masks.items()}
        for mode in (way, densify(way)):
            for found, wanted in zip(outputs_and_gradients(mode, x), expected, strict=True):
                torch.testing.assert_close(found, wanted, rtol=close, atol=close * float(wanted.abs().max() + 1))
    assert densify(ways[0]).state_dict().keys() == model.state_dict().keys()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.fc2(self.fc1(x))


@pytest.mark.parametrize("masked", [False, True])
def test_names_of_a_topology_decide_in_all_ways(masked):
    net = tk.from_masks({"fc2.weight": np.eye(4)})
    rows = {row.parameter: row.edges for row in report(sparsify(Two(), net, masked=masked)).rows}
    assert rows == {"fc1.weight": 16, "fc2.weight": 4}
    some = tk.from_masks({"fc2.weight": np.eye(4), "fc3.weight": np.eye(4)})
    with pytest.raises(InvalidSpecError, match=r"the model has no fc3.weight: did you mean fc"):
        sparsify(Two(), some, masked=masked)


def test_a_mask_of_a_packed_weight_is_split_in_three():
    attention = nn.MultiheadAttention(4, 2)
    mask = np.random.default_rng(0).random((12, 4)) < 0.5
    sparse = sparsify(copy.deepcopy(attention), {"in_proj_weight": mask})
    for k, part in enumerate((sparse.q, sparse.k, sparse.v)):
        assert np.array_equal(part.topology_layer().to_dense().T, mask[4 * k : 4 * k + 4])
    named = sparsify(copy.deepcopy(attention), tk.from_masks({"in_proj_weight": mask}))
    assert torch.equal(named.k.dense_weight(), sparse.k.dense_weight())
    with pytest.raises(InvalidSpecError, match=r"two layers are for q.weight"):
        sparsify(attention, {"in_proj_weight": mask, "q": np.eye(4)})


def prepared(kind):
    """A model in which one weight cannot be filled."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    if kind == "weight_norm":
        nn.utils.parametrizations.weight_norm(model[1])
    elif kind == "lazy":
        model[1] = nn.LazyLinear(4)
    elif kind == "tied":
        model[2].weight = model[1].weight
    elif kind == "subclass":
        model[1] = type("Gated", (nn.Linear,), {})(4, 4)
    elif kind == "embedding":
        model[1] = nn.Embedding(4, 4)
    elif kind == "convolution":
        model[1] = nn.Conv1d(4, 4, 1)
    elif kind == "forward":
        model[1].forward = lambda x: nn.functional.linear(x, model[1].weight) * 7
    elif kind == "hook":
        model[1].weight.register_hook(torch.zeros_like)
    elif kind == "bias hook":
        model[1].bias.register_post_accumulate_grad_hook(lambda parameter: parameter.grad.zero_())
    return model


REFUSED = {
    "weight_norm": "1.weight is computed from other parameters",
    "lazy": "1.weight has no shape yet",
    "tied": "1.weight is tied .1.weight and 2.weight are one parameter",
    "subclass": "1.weight belongs to Gated, a subclass of nn.Linear",
    "embedding": "1.weight belongs to Embedding: a topology can fill nn.Linear, nn.Conv2d and nn.MultiheadAttention",
    "convolution": "1.weight belongs to Conv1d: .*; masks fit it .masked=True.",
    "forward": "1.weight has a forward of its own .*: remove it, or mask it .masked=True.",
    "hook": "1.weight or its bias has hooks, .*: remove them, or mask it .masked=True.",
    "bias hook": "1.weight or its bias has hooks",
    "shape": "the mask of 1.weight has the shape 3 x 4, but its weight has 4 x 4",
    "kernel": "no kernel named 'crs'",
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("masked", [False, True])
def test_what_is_refused_leaves_the_model_as_it_was(kind, masked):
    if masked and kind in ("subclass", "convolution", "kernel", "forward", "hook", "bias hook"):
        return  # these are only refused for sparse layers
    model = prepared(kind)
    modules, hooks = list(model.modules()), [dict(part._forward_pre_hooks) for part in model.modules()]
    before = {} if kind == "lazy" else {name: value.clone() for name, value in model.state_dict().items()}
    wanted = {"0": np.eye(4), "1": np.eye(4)[: 3 if kind == "shape" else 4]}
    options = {"kernel": "crs"} if kind == "kernel" else {"masked": masked}
    with pytest.raises(InvalidSpecError, match=REFUSED[kind]):
        sparsify(model, wanted, **options)
    assert list(model.modules()) == modules
    assert [dict(part._forward_pre_hooks) for part in modules] == hooks
    assert not prune.is_pruned(model)
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("kind", ["forward", "hook"])
def test_masks_keep_what_was_added_to_a_module(kind):
    model, x = prepared(kind), torch.randn(2, 4)
    expected = model(x)
    sparsify(model, {"1": np.ones((4, 4))}, masked=True)
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    assert (model[1].weight_orig.grad == 0).all() == (kind == "hook")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["forward", "hook"])
def test_attention_with_additions_is_refused(kind, masked):
    model = nn.ModuleDict({"mha": nn.MultiheadAttention(4, 2)})
    if kind == "hook":
        model["mha"].in_proj_weight.register_hook(torch.zeros_like)
    else:
        model["mha"].forward = lambda q, k, v: (q + k + v, None)
    with pytest.raises(InvalidSpecError, match=r"mha.q.weight (has a forward of its own|or its bias has hooks)"):
        sparsify(model, {"mha.q": np.eye(4)}, masked=masked)


@pytest.mark.parametrize(
    "function", [report, densify, lambda model: sparsify(model, {}), lambda model: parameter_groups(model, 0.1)]
)
def test_what_is_not_a_model_is_refused(function):
    with pytest.raises(InvalidSpecError, match=r"the model must be an nn.Module, not NoneType"):
        function(None)


def test_masks_fit_what_sparse_layers_do_not():
    for module, shape in ((nn.Conv1d(3, 4, 2), (4, 3, 2)), (nn.ConvTranspose2d(3, 4, 2), (3, 4, 2, 2))):
        mask = np.random.default_rng(1).random(shape) < 0.5
        masked = sparsify(nn.ModuleDict({"conv": module}), {"conv": mask}, masked=True)
        assert np.array_equal(masked["conv"].weight_mask.numpy() != 0, mask)


@pytest.mark.parametrize("groups", [1, 2])
def test_files_of_masks_and_topologies_fit_transposed_convolutions(groups, tmp_path):
    module = nn.ConvTranspose2d(4, 4, 2, groups=groups)
    mask = np.random.default_rng(1).random((4, 4 // groups, 2, 2)) < 0.3
    with torch.no_grad():
        module.weight.mul_(torch.from_numpy(mask))
    found = extract(nn.Sequential(module), torch.zeros(1, 4, 3, 3))
    save_masks(found.masks, tmp_path / "masks")
    new = nn.ModuleList([nn.ConvTranspose2d(4, 4, 2, groups=groups)])
    masked = sparsify(new, tmp_path / "masks", masked=True)[0].weight_mask
    assert np.array_equal(masked.numpy() != 0, mask)
    masked = sparsify(new, found.topology, ["0.weight"], masked=True)[0].weight_mask
    assert np.array_equal(masked.numpy() != 0, np.broadcast_to(mask.any((2, 3), keepdims=True), mask.shape))


@pytest.mark.parametrize("init", ["scale", "he"])
def test_first_values_are_the_same_in_both_ways(init):
    net = tk.Bernoulli(widths=(50, 40, 30), density=".2", seed=1).build()
    model = nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 30))
    sparse, masked = (
        sparsify(copy.deepcopy(model), net, masked=way, init=init, generator=torch.Generator().manual_seed(5))
        for way in (False, True)
    )
    x = torch.randn(6, 50)
    torch.testing.assert_close(sparse(x), masked(x))
    assert torch.equal(sparse[0].bias, model[0].bias)
    dense = sparse[0].dense_weight()
    edges = torch.from_numpy(net.layer(0).to_dense().T.copy())
    if init == "scale":
        factors = (50 / edges.sum(1)).sqrt()[:, None]
        torch.testing.assert_close(dense, model[0].weight.detach() * edges * factors)
    else:
        assert abs(float((dense**2).sum(1).mean()) - 2) < 0.6  # the variance of each is 2 / fan-in


def test_hooks_mode_and_frozen_parameters_are_kept():
    model = Two().eval()
    model.fc1.weight.requires_grad_(False)
    called = []
    handle = model.fc1.register_forward_hook(lambda *_: called.append(1))
    sparsify(model, {"fc1": np.eye(4)})
    model(torch.randn(2, 4))
    assert called == [1]
    handle.remove()
    model(torch.randn(2, 4))
    assert called == [1]
    assert not model.fc1.training
    assert not model.fc1.values.requires_grad
    assert model.fc1.bias.requires_grad
    assert not densify(model).fc1.weight.requires_grad


def test_a_model_on_the_meta_device_never_has_a_dense_weight():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10**6, 10**6), nn.ReLU())
    ring = np.arange(10**6)
    layer = Layer(from_edges(ring, ring, (10**6, 10**6)))
    with pytest.raises(InvalidSpecError, match=r'0.weight is on the meta device and has no numbers .* init="he"'):
        sparsify(model, {"0": layer})
    sparsify(model, {"0": layer}, init="he", kernel="csr")
    assert model(torch.ones(1, 10**6)).shape == (1, 10**6)


def test_parameter_groups_decay_what_a_masked_dense_model_decays():
    """20 steps of AdamW in float64, of a transformer's layer with six sparse weights."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, dtype=torch.float64)
    names = ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.out_proj", "linear1", "linear2"]
    rng = np.random.default_rng(0)
    shapes = {name: (12, 8) if name == "linear1" else (8, 12) if name == "linear2" else (8, 8) for name in names}
    masks = {name: rng.random(shape) < 0.4 for name, shape in shapes.items()}
    sparse = sparsify(copy.deepcopy(layer), masks)
    masked = sparsify(copy.deepcopy(layer), masks, masked=True)
    optimizers = [
        torch.optim.AdamW(parameter_groups(model, 0.1), lr=0.01, betas=(0.9, 0.99)) for model in (sparse, masked)
    ]
    assert [len(group["params"]) for group in optimizers[0].param_groups] == [6, 10]
    x = torch.randn(4, 5, 8, dtype=torch.float64)
    for _ in range(20):
        losses = [(model(x) ** 3).mean() for model in (sparse, masked)]
        torch.testing.assert_close(*losses, rtol=1e-11, atol=0)
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(densify(sparse)(x), densify(masked)(x), rtol=1e-10, atol=1e-12)


def test_a_tied_embedding_and_head_stay_tied():
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.middle, self.head = nn.Embedding(9, 6), nn.Linear(6, 9), nn.Linear(6, 9, bias=False)
            self.head.weight = self.token.weight

    model = Language()
    with pytest.raises(InvalidSpecError, match=r"head.weight is tied \(token.weight and head.weight are one parameter"):
        sparsify(model, {"head": np.ones((9, 6))})
    sparsify(model, tk.Bernoulli(widths=(6, 9), density=".5", seed=0))
    assert isinstance(model.middle, SparseLinear)
    assert model.head.weight is model.token.weight


def test_the_report_lists_what_was_filled_and_what_was_not():
    model = nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 30))
    sparsify(model, tk.Bernoulli(widths=(50, 40), density=".2", seed=1), kernel="csr")
    found = report(model)
    sparse, dense = found.rows
    assert (sparse.parameter, sparse.source, sparse.kernel, sparse.fan_in_before) == ("0.weight", "layer 0", "csr", 50)
    assert sparse.edges == model[0].edges
    assert sparse.fan_in_after == pytest.approx(model[0].edges / 40)
    assert (dense.parameter, dense.source, dense.edges, dense.kernel) == ("2.weight", None, 1200, "dense")
    lines = repr(found).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["parameter", "0.weight", "2.weight"]
    assert 'init="scale"' in lines[3]
    assert "<td>0.weight</td>" in found._repr_html_()
    assert list(found.to_frame().columns)[:3] == ["parameter", "source", "edges"]
    deep = report(nn.Sequential(*(nn.Linear(2, 2) for _ in range(200))))
    assert len(repr(deep).splitlines()) < 40
    assert len(deep.rows) == 200


def test_old_names_still_work_and_say_what_to_write():
    net = tk.Bernoulli(widths=(4, 4), density=".5", seed=1)
    with pytest.warns(DeprecationWarning, match=r"sparsify\(..., masked=True\)"):
        masked = apply_masks(Two(), net)
    assert prune.is_pruned(masked.fc1)
    model = sparsify(Two(), net)
    with pytest.warns(DeprecationWarning, match=r"densify\(model\).state_dict\(\)"):
        assert dense_state_dict(model).keys() == Two().state_dict().keys()
    assert isinstance(model.fc1, SparseLinear)


BUILT_IN = {
    "lenet-300-100": ["radix-net radices=10,10 kron=8,3,1 crop=784,300,100"],
    "lenet-5": ["bernoulli widths=500,50 density=.1 seed=0", "bernoulli widths=2450,384 density=.05 seed=1"],
    "lenet-5-classic": ["conv*: bernoulli density=.3 seed=0", "fc*: bernoulli density=.1 allocation=erk seed=1"],
}


@pytest.mark.parametrize("model", BUILT_IN)
def test_the_command_and_grids_give_built_in_models_the_layers_that_sparsify_gives(model, tmp_path):
    texts = BUILT_IN[model]
    config = TrainConfig(model=model)
    grid = tmp_path / "grid.toml"
    grid.write_text(f"[[runs]]\nmodel = {model!r}\ntopology = {texts}\n")
    (run,) = read_grid(grid)
    in_grid = [net for one in run.topologies for net in one.open(tmp_path)]
    plain = densify(build_model(model, None, Shape((1, 28, 28), 10)))
    pairs = [text.partition(": ")[::2] for text in texts]
    wanted = sparsify(plain, dict(pairs) if ":" in texts[0] else texts, kernel="csr")
    for nets in (resolve(texts, lambda: parameters_of(config)), in_grid):
        built = build_model(model, nets, Shape((1, 28, 28), 10), kernel="csr")
        found = {name: part for name, part in built.named_modules() if isinstance(part, SparseModule)}
        assert found.keys() == {name for name, part in wanted.named_modules() if isinstance(part, SparseModule)}
        for name, part in found.items():
            assert torch.equal(part.digest, wanted.get_submodule(name).digest)


def test_backward_hooks_are_kept():
    model, called = nn.Sequential(nn.Linear(4, 4)), []
    model[0].register_full_backward_hook(lambda *_: called.append(1))
    for change in (lambda: sparsify(model, {"0": np.eye(4)}), lambda: densify(model)):
        change()
        model(torch.randn(1, 4, requires_grad=True)).sum().backward()
    assert called == [1, 1]


@pytest.mark.parametrize("masked", [False, True])
def test_weights_that_are_masked_already_are_0_in_both_ways(masked):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4))
    prune.l1_unstructured(model[0], "weight", 0.5)
    x = torch.randn(3, 4)
    y = model(x)
    torch.testing.assert_close(sparsify(model, {"0": np.ones((4, 4))}, masked=masked)(x), y)
    assert int((densify(model)[0].weight != 0).sum()) == 8


def test_what_the_user_pruned_or_removed_stays_so():
    model = nn.Sequential(nn.Linear(4, 4))
    prune.random_unstructured(model[0], "bias", 0.5)
    densify(sparsify(model, {"0": np.eye(4)}, masked=True))
    before = model(torch.zeros(1, 4))
    with torch.no_grad():
        model[0].bias_orig.add_(5)
    assert not torch.equal(model(torch.zeros(1, 4)), before)
    removed = sparsify(nn.Sequential(nn.Linear(4, 4)), {"0": np.eye(4)}, masked=True)
    prune.remove(removed[0], "weight")
    assert "0.weight" in densify(removed).state_dict()


def test_the_old_spectral_norm_and_tied_biases_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.utils.spectral_norm(nn.Linear(4, 4)))
    for masked in (False, True):
        with pytest.raises(InvalidSpecError, match=r"1.weight is computed from other parameters"):
            sparsify(model, {"0": np.eye(4), "1": np.eye(4)}, masked=masked)
    assert not prune.is_pruned(model)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].bias = tied[0].bias
    with pytest.raises(InvalidSpecError, match=r"0.weight is tied .0.bias and 1.bias are one parameter"):
        sparsify(tied, {"0": np.eye(4)})


def test_looking_at_a_model_changes_nothing():
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6)), nn.LazyLinear(3))
    before = {name: value.clone() for name, value in model[0].state_dict().items()}
    assert report(model).rows == ()
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())


def test_weights_decay_and_norms_and_gains_do_not():
    parts = [nn.LayerNorm((2, 3)), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), nn.Embedding(4, 3)]
    model = nn.Sequential(*parts, sparsify(nn.Linear(3, 3), tk.Bernoulli(widths=(3, 3), density=".5", seed=0)))
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed, others = ({names[one] for one in group["params"]} for group in parameter_groups(model, 0.1))
    assert decayed == {"1.parametrizations.weight.original1", "2.weight", "3.values"}
    assert others == {"0.weight", "0.bias", "1.bias", "1.parametrizations.weight.original0", "3.bias"}


TENSORS = {
    "bfloat16": torch.eye(4).bfloat16(),
    "parameter": nn.Parameter(torch.eye(4)),
    "sparse": torch.eye(4).to_sparse(),
    "bool": torch.eye(4).bool(),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_masks_may_be_tensors(kind):
    assert sparsify(nn.Sequential(nn.Linear(4, 4)), {"0": TENSORS[kind]})[0].edges == 4


@pytest.mark.parametrize(
    ("topology", "options", "message"),
    [
        ({"0": torch.eye(4, device="meta")}, {}, "the mask of 0 cannot be read"),
        ({"0": [[1, 0], [1]]}, {}, "the mask of 0.weight has rows of different lengths"),
        ({"0": np.eye(4).astype(str)}, {}, "the mask of 0.weight has values of the type <U32: give bool"),
        (np.eye(4), {}, "a mask or a layer needs the name of its weight: give {name: mask}"),
        ([], {}, "no topology is given"),
        ({"0": np.eye(4)}, {"kernel": None}, "kernel must be a name or a mapping of names, not None"),
        ({"0": np.eye(4)}, {"kernel": {"1": "csr"}}, "no weight named '1'"),
        ({"0": np.eye(4)}, {"masked": True, "kernel": "csr"}, "kernel='csr' is for sparse layers: masked=True keeps"),
        ({"0": np.eye(4)}, {"init": "xavier"}, "init must be one of keep, scale, he, not 'xavier'"),
        ({"0": np.eye(4)}, {"batch": 0}, "batch must be at least 1, not 0"),
        (tk.Bernoulli(widths=(4, 4), density=".5", seed=0), {"names": ["0", "0"]}, "names must differ: 0, 0"),
    ],
)
def test_arguments_that_are_refused(topology, options, message):
    with pytest.raises(TopokitError, match=message):
        sparsify(nn.Sequential(nn.Linear(4, 4)), topology, **options)


def test_convolutions_in_groups_say_which_layers_fit():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4))
    for masked in (False, True):
        with pytest.raises(InvalidSpecError, match=r"0.weight: .* give a mask, or a layer of 4 blocks of 9 -> 2"):
            sparsify(model, {"0": tk.Bernoulli(widths=(36, 8), density=".5", seed=0)}, masked=masked)


def test_a_description_without_widths_draws_each_group_by_itself():
    model = sparsify(
        nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8)), {"*": "fixed-fan-in fan_in=3 seed=0"}
    )
    first, depthwise = (part.dense_weight() != 0 for part in model)
    assert first.shape == (8, 2, 3, 3)
    assert (first.flatten(1).sum(1) == 3).all()
    assert (depthwise.flatten(1).sum(1) == 3).all()
    assert not torch.equal(first[:4], first[4:])


def test_a_topology_that_would_leave_matching_weights_dense_is_refused():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    with pytest.raises(InvalidSpecError, match=r"matches 4 weights, but the topology has 2 layers, so 2.weight would"):
        sparsify(model, {"*": tk.RadixNet(radices=[(2, 2)])})


def test_a_file_of_masks_is_put_back_as_its_masks_are(tmp_path):
    mask = np.random.default_rng(0).random((8, 2, 3, 3)) < 0.5
    tk.save_masks({"0.weight": mask}, tmp_path / "masks.safetensors")
    for path in (tmp_path / "masks.safetensors", str(tmp_path / "masks.safetensors")):
        model = sparsify(nn.Sequential(nn.Conv2d(4, 8, 3, groups=2)), path, init="he")
        assert np.array_equal(model[0].dense_weight().numpy() != 0, mask)


def test_names_of_masks_and_sparse_weights_are_understood():
    pruned = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    prune.random_unstructured(pruned[1], "weight", 0.5)
    model = sparsify(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), {"1.weight_mask": pruned[1].weight_mask})
    assert model[1].edges == 8
    with pytest.raises(InvalidSpecError, match=r"1.weight is sparse already: densify it first"):
        sparsify(model, {"1*": np.eye(4)})


def test_the_report_sees_masks_of_attention():
    attention = nn.MultiheadAttention(4, 1)
    prune.random_unstructured(attention, "in_proj_weight", 0.5)
    rows = {row.parameter: row for row in report(attention).rows}
    kept = [int(part.sum()) for part in attention.in_proj_weight_mask.chunk(3)]
    assert [rows[f"{part}.weight"].edges for part in "qkv"] == kept
    assert (rows["q.weight"].source, rows["out_proj.weight"].source) == ("mask", None)
    assert "init" not in repr(report(attention))


def test_a_kernel_for_some_layers():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    sparsify(model, tk.Bernoulli(widths=(4, 6, 3), density=".5", seed=0), kernel={"0": "csr"})
    assert model[0].kernel == "csr"
    assert model[2].choice.reason.startswith("estimated")
