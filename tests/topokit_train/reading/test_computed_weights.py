"""Constants that are computed from several parameters: the weights of a layer, or what attention reads."""

import copy
import functools
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (skipped without torch)
from torch.nn import functional  # noqa: E402

import topokit_train  # noqa: E402
from topokit.errors import InvalidSpecError, TopokitError  # noqa: E402
from topokit.extraction import Rule, interpreter, select  # noqa: E402
from topokit.extraction.weights import numbered  # noqa: E402
from topokit_train import read_weights  # noqa: E402
from topokit_train.weights import read_model  # noqa: E402

from . import random_modules  # noqa: E402
from .random_modules import Relu, edges_by_derivatives  # noqa: E402
from .test_random_modules import by_node_of_the_input, edges_read  # noqa: E402

WIDTH = 8


def pruned(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        size = torch.rand(parameter.shape) + 0.5
        parameter.data = size * (torch.rand(parameter.shape) < 0.5) if parameter.dim() == 2 else size
    return module.eval()


def linear(x, weight):
    """A product with a weight, which the oracle takes as a layer."""
    made = functional.linear(x, weight)
    return random_modules.CUTS.cut(made, -1) if Relu.smooth else made


class Pooling(nn.Module):
    """Attention with learned queries, by nn.MultiheadAttention or, for the oracle, written out."""

    def __init__(self, *, weighed):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 3, WIDTH))
        self.inner = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.head, self.weighed = nn.Linear(WIDTH, 4), weighed

    def forward(self, x):
        probe = self.probe.expand(len(x), -1, -1)
        if not Relu.smooth:
            return self.head(self.inner(probe, x, x, need_weights=self.weighed)[0])
        inner = self.inner
        q = functional.linear(probe, inner.in_proj_weight[:WIDTH])
        made = attended(q, *linear(x, inner.in_proj_weight[WIDTH:]).split(WIDTH, -1))
        return self.head(inner.out_proj(made))


class Perceiver(nn.Module):
    """Learned queries, projected, with attention written out."""

    def __init__(self, latents):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, WIDTH))
        self.q = nn.Linear(WIDTH, WIDTH)
        self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))

    def forward(self, x):
        q = functional.linear(self.latents, self.q.weight, self.q.bias)
        return self.o(attended(q, self.k(x), self.v(x)))


def attended(q, k, v):
    weights = (q @ k.transpose(-1, -2)).softmax(-1)
    return (weights.detach() if Relu.smooth else weights) @ v


def expected_of(module, example):
    labels = np.indices(example.shape)[-1].ravel()  # an element of the input is its feature
    edges = edges_by_derivatives(copy.deepcopy(module), example)
    return {number: by_node_of_the_input(one, labels) for number, one in edges.items()}


def exported(module, example, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".onnx":
            pytest.importorskip("onnx")
            torch.onnx.export(module, (example,), path, dynamo=False)
        else:
            torch.export.save(torch.export.export(module, (example,)), path)
    return read_weights(path)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("weighed", [True, False])
def test_learned_queries_are_no_layer(weighed, batch, tmp_path):
    module, example = pruned(Pooling(weighed=weighed)), torch.randn(batch, 5, WIDTH)
    expected = expected_of(module, example)
    for known in (read_model(module, example), exported(module, example, tmp_path / "model.pt2")):
        found = select(known, Rule())
        assert edges_read(found) == expected
        assert [chain.widths for chain in found.chains] == [(8, 16), (8, 8, 4)]
        assert [*found.masks] == ["inner.in_proj_weight", "inner.out_proj.weight", "head.weight"]
        assert "inner.in_proj_weight" in found.left["probe"][1]
    assert edges_read(select(exported(module, example, tmp_path / "model.onnx"), Rule())) == expected


@pytest.mark.parametrize("latents", [4, WIDTH])
def test_attention_that_is_written_out_has_the_nodes_of_its_values(latents, tmp_path):
    module, example = pruned(Perceiver(latents)), torch.randn(2, 5, WIDTH)
    expected = expected_of(module, example)
    reason = (
        "aten.matmul.default (matmul) reads what is computed from latents, q.weight, q.bias, but not as the weight of "
        "a layer"
    )
    for known in (read_model(module, example), exported(module, example, tmp_path / "model.pt2")):
        found = select(known, Rule())
        assert edges_read(found) == expected
        assert {name: why for name, (_, why) in found.left.items()} == {"latents": reason, "q.weight": reason}
        assert [one["kind"] for one in found.joints] == ["parallel", "mixed", "attention"]
        for name, mask in found.masks.items():
            assert np.array_equal(mask, module.get_parameter(name).detach().numpy() != 0)
    assert edges_read(select(exported(module, example, tmp_path / "model.onnx"), Rule())) == expected


class Computed(nn.Module):
    """A layer, and one whose weight a function computes of parameters."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        self.first = nn.Linear(4, WIDTH)
        self.w, self.u = (nn.Parameter(torch.randn(WIDTH, WIDTH)) for _ in range(2))
        self.b, self.a = nn.Parameter(torch.randn(WIDTH, 2)), nn.Parameter(torch.randn(2, WIDTH))

    def forward(self, x):
        return linear(torch.tanh(self.first(x)), self.weight(self))


def adapted(self):
    return self.w + 2 * (self.b @ self.a)


def adapted_in_one_operator(self):
    return torch.addmm(self.w, self.b, self.a)


def a_square_product_added(self):
    return torch.addmm(self.w, self.u, self.w)


def low_rank(self):
    return self.b @ self.a


def one_below_the_other(self):
    return torch.cat([self.w, self.u])


def of_a_transposed_one(self):
    return self.w.t() * self.u.abs()


def scattered(self):
    index = torch.tensor([3, 1, 2, 0, 7, 5, 6, 4]).expand(WIDTH, WIDTH)
    return torch.zeros(WIDTH, WIDTH, dtype=self.w.dtype).scatter(1, index, self.w)


@pytest.mark.parametrize(
    ("weight", "name", "of"),
    [
        (adapted, "w", "w, b, a"),
        (adapted_in_one_operator, "w", "w, b, a"),
        (a_square_product_added, "w", "w, u"),
        (low_rank, "matmul", "b, a"),
        (one_below_the_other, "cat", "w, u"),
        (of_a_transposed_one, "w", "w, u"),
        (scattered, "scatter", "w"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_computed_weight_has_the_name_of_a_parameter_only_in_its_place(weight, name, of):
    module, example = pruned(Computed(weight)), torch.randn(2, 4)
    found = topokit_train.extract(module, example)
    expected = {} if weight is scattered else expected_of(module, example)  # whose zeros are not of float64
    assert not expected or edges_read(found) == expected
    assert [*found.masks] == ["first.weight", name]
    assert np.array_equal(found.parameters[name].whole(found.masks[name]), weight(module).detach().numpy() != 0)
    reasons = {why for parameter, (_, why) in found.left.items() if parameter in of.split(", ")}
    assert reasons == ({f"the weight of the layer {name} is computed from {of}"} if of else set())


@pytest.mark.parametrize("weight", [adapted, adapted_in_one_operator, a_square_product_added])
def test_the_weight_of_an_adapter_has_its_name_in_every_form(weight, tmp_path):
    module, example = pruned(Computed(weight)), torch.randn(2, 4)
    expected = expected_of(module, example)
    for ending in (".pt2", ".onnx"):
        found = select(exported(module, example, tmp_path / f"model{ending}"), Rule())
        assert (edges_read(found), [*found.masks]) == (expected, ["first.weight", "w"])


class Named(nn.Module):
    """Layers whose weights a function computes of parameters, one of which has the name of an operator."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = weights
        self.w, self.cat = (nn.Parameter(torch.randn(WIDTH, WIDTH)) for _ in range(2))

    def forward(self, x):
        for weight in self.weights:
            x = functional.linear(x, weight(self))
        return x


def the_parameter(self):
    return self.cat


def of_halves(self):
    return torch.cat([self.w[:4], self.cat[4:]])


@pytest.mark.parametrize(
    ("weights", "layers", "parameters"),
    [
        ([of_halves, the_parameter], ["cat#2", "cat"], ["cat#2", "cat"]),
        ([the_parameter, of_halves, the_parameter], ["cat", "cat#2", "cat#3"], ["cat", "cat#2", "cat"]),
        ([lambda self: self.w * 2, lambda self: self.w.abs()], ["w", "w#2"], ["w", "w#2"]),
        ([lambda self: self.w, lambda self: self.w, lambda self: -self.w], ["w", "w#2", "w#3"], ["w", "w", "w#3"]),
    ],
)
def test_each_layer_has_a_name_and_no_operator_that_of_a_parameter(weights, layers, parameters):
    module = pruned(Named(*weights))
    found = topokit_train.extract(module, torch.randn(2, WIDTH))
    assert [one["name"] for one in found.layers] == layers
    assert [one["parameter"] for one in found.layers] == parameters
    for name, weight in zip(parameters, weights, strict=True):
        assert np.array_equal(found.masks[name], weight(module).detach().numpy() != 0)


@pytest.mark.parametrize("form", ["module", "pt2", "onnx"])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_weight_whose_columns_are_repeated_at_its_ends(mode, form, tmp_path):
    def padded(self):
        return functional.pad(self.w[None], (2, 3), mode=mode)[0]

    module, example = pruned(Named(padded)), torch.randn(2, WIDTH + 5)
    known = read_model(module, example) if form == "module" else exported(module, example, tmp_path / f"model.{form}")
    found = select(known, Rule())
    assert np.array_equal(found.topology[0].to_dense(), padded(module).detach().numpy().T != 0)
    if form != "onnx":  # whose exporter computes some constants itself
        assert [*found.masks] == ["w"]
        assert np.array_equal(found.masks["w"], module.w.detach().numpy() != 0)


def repeated(step, times):
    def weight(self):
        made = self.w
        for _ in range(times):
            made = step(made)
        return made

    return weight


@pytest.mark.parametrize(
    "step",
    [
        lambda w: w + w.tanh(),
        lambda w: w.tanh() + w,
        lambda w: torch.cat([w[1:], w[:1]]),
        lambda w: torch.cat([w[1:], w[:1]]).abs(),
        lambda w: w.half().float() + w,
    ],
)
def test_a_weight_of_many_operators_is_computed_once(step):  # 2 to the power of 40 operators otherwise
    module = pruned(Named(repeated(step, 40)))
    found = topokit_train.extract(module, torch.randn(2, WIDTH))
    assert [*found.masks] == ["w"]
    used = repeated(step, 40)(module).detach().numpy() != 0
    assert np.array_equal(found.topology[0].to_dense(), used.T)


def test_a_view_of_a_weight_is_checked_once_whatever_its_operators(monkeypatch):
    shapes = []
    monkeypatch.setattr(interpreter, "numbered", lambda shape: shapes.append(shape) or numbered(shape))
    counts = []
    for times in (1, 6):
        shapes.clear()
        module = pruned(
            Named(lambda self, times=times: functools.reduce(lambda w, _: w.tanh(), range(times), self.w.t()))
        )
        found = topokit_train.extract(module, torch.randn(2, WIDTH))
        assert np.array_equal(found.masks["w"], module.w.detach().numpy() != 0)
        counts.append(len(shapes))
    assert counts[0] == counts[1] > 0


def test_the_weight_of_a_spectral_norm_has_its_name():
    module = pruned(nn.Sequential(nn.Linear(4, WIDTH), nn.Linear(WIDTH, WIDTH)))
    weight = module[1].weight.detach().numpy()
    nn.utils.parametrizations.spectral_norm(module[1])
    found = topokit_train.extract(module.eval(), torch.randn(2, 4))
    assert np.array_equal(found.masks["1.weight"], weight != 0)
    assert (found.topology.names, [*found.left]) == (("0.weight", "1.weight"), [])


def test_a_product_by_a_product_of_parameters_is_mixed():
    class Product(Computed):
        def forward(self, x):
            return self.first(x) @ low_rank(self)

    found = topokit_train.extract(pruned(Product(None)), torch.randn(2, 4))
    assert ([*found.masks], [one["kind"] for one in found.joints]) == (["first.weight"], ["mixed"])
    reason = "aten.matmul.default (matmul_1) reads what is computed from b, a, but not as the weight of a layer"
    assert [found.left[name][1] for name in "ab"] == [reason, reason]


class Called(nn.Module):
    """Two layers and a parameter, and a function of these."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function, self.a, self.c = function, nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3)
        self.p = nn.Parameter(torch.randn(*shape))

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("spread", ["expand", "repeat"])
def test_a_layer_that_reads_one_number_of_each_example_is_a_layer(spread, batch):
    def function(self, x):
        mean = self.a(x).mean(1, keepdim=True)
        return self.c(mean.expand(-1, WIDTH) if spread == "expand" else mean.repeat(1, WIDTH))

    module = pruned(Called(function, 1))
    module.c.weight.data[1] = 0
    found = topokit_train.extract(module, torch.randn(batch, 6))
    by_mean = torch.autograd.functional.jacobian(lambda mean: module.c(mean.expand(WIDTH)), torch.ones(1))[:, 0]
    assert [chain.widths for chain in found.chains] == [(6, WIDTH), (1, 3)]
    assert found.edges["c.weight"].targets.tolist() == by_mean.nonzero().ravel().tolist() == [0, 2]
    mixed = {"kind": "mixed", "name": "mean", "from": ["a.weight"], "to": ["c.weight"]}
    assert (found.joints, [*found.left]) == ([mixed], [])


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y.sort()[0],
        lambda y: y.sort(-1)[0],
        lambda y: torch.sort(y, stable=True)[0],
        lambda y: y.sort(1)[0],
        lambda y: y.topk(WIDTH)[0],
    ],
    ids=["sort", "sort the last axis", "stable sort", "sort axis 1", "topk"],
)
def test_features_that_are_sorted_are_mixed(function):
    """Also along the default axis, the last one, which torch.export omits."""
    module = Called(lambda self, x: self.c(function(self.a(x))), 1)
    (joint,) = topokit_train.extract(module, torch.randn(2, 6)).joints
    assert (joint["kind"], joint["from"], joint["to"]) == ("mixed", ["a.weight"], ["c.weight"])


def test_positions_that_are_sorted_keep_their_features():
    module = Called(lambda self, x: self.c(self.a(x).sort(1)[0]), 1)
    found = topokit_train.extract(module, torch.randn(2, 4, 6))
    assert (found.topology.widths, found.joints) == ((6, WIDTH, 3), [])


POOLS = {
    "rows": lambda y: functional.max_pool2d(y, (2, 1)),
    "columns": lambda y: functional.avg_pool2d(y, (1, 2)),
    "overlapping": lambda y: functional.max_pool2d(y, 3, stride=1, padding=1),
    "adaptive": lambda y: functional.adaptive_avg_pool2d(y, (2, 4)),
    "one dimension": lambda y: functional.max_pool1d(y.flatten(1), 2),
}


class Pooled(nn.Module):
    """A convolution, a pooling of its outputs for an image without a batch, and a linear layer."""

    def __init__(self, pool):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 3, 3, padding=1), pool
        self.head = nn.Linear(pool(torch.zeros(3, 4, 4)).numel(), 2)

    def forward(self, x):
        return self.head(self.pool(self.conv(x)).flatten())


@pytest.mark.parametrize("pool", POOLS)
def test_pools_of_an_image_without_a_batch_keep_the_channels(pool):
    found = topokit_train.extract(Pooled(POOLS[pool]), torch.randn(1, 4, 4))
    assert (found.topology.widths, found.joints) == ((1, 3, 2), [])


@pytest.mark.parametrize("pool", ["rows", "overlapping"])
def test_pools_along_the_channels_of_an_image_without_a_batch_mix_them(pool):
    module = Pooled(lambda y: POOLS[pool](y.transpose(0, 1)))
    (joint,) = topokit_train.extract(module, torch.randn(1, 4, 4)).joints
    assert (joint["kind"], joint["from"], joint["to"]) == ("mixed", ["conv.weight"], ["head.weight"])


def written_out(self, x):
    return (self.a(x)[:, None, :] * self.p).sum(-1)


def centres(self, x):
    return self.c(torch.exp(-(self.a(x)[:, None] - self.p).pow(2).sum(-1)))


def locally_connected(self, x):
    return (self.a(x).unfold(1, 3, 1) * self.p).sum(-1)


def added(self, x):
    return self.c(self.a(x) + self.p)


def unused(self, x):
    return self.c(self.a(x))


@pytest.mark.parametrize(
    ("function", "shape", "reason"),
    [
        (written_out, (5, WIDTH), "aten.mul.Tensor (mul) reads it, but not as the weight of a layer"),
        (centres, (WIDTH, WIDTH), "aten.sub.Tensor (sub) reads it, but not as the weight of a layer"),
        (locally_connected, (6, 3), "aten.mul.Tensor (mul) reads it, but not as the weight of a layer"),
        (added, (1, WIDTH), "aten.add.Tensor (add) reads it, but not as the weight of a layer"),
        (unused, (5, WIDTH), "no operator of the graph reads it beside data"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_the_operator_that_reads_a_parameter_is_named(function, shape, reason):
    found = topokit_train.extract(pruned(Called(function, *shape)), torch.randn(2, 6))
    assert found.left["p"] == (shape, reason)


def test_a_scale_by_zero_keeps_the_edges_and_a_choice_of_zero_does_not():
    gate = torch.tensor([1.0, 0.0] * 4)
    scaled = Called(lambda self, x: self.c(self.a(x) * gate), 1)
    in_the_weight = Called(lambda self, x: self.c(functional.linear(x, self.a.weight * gate[:, None])), 1)
    chosen = Called(lambda self, x: self.c(torch.where(gate > 0, self.a(x), 0.0)), 1)
    norm = Called(lambda self, x: self.c(functional.batch_norm(self.a(x), gate, gate + 1, gate)), 1)
    for module in (scaled, norm):
        found = topokit_train.extract(pruned(module), torch.randn(2, 6))
        assert found.topology.layer_edges == tuple(int((one.weight != 0).sum()) for one in (module.a, module.c))
    module = pruned(in_the_weight)
    rows = (module.a.weight.detach().numpy() != 0) & (gate.numpy()[:, None] != 0)
    assert np.array_equal(topokit_train.extract(module, torch.randn(2, 6)).masks["a.weight"], rows)
    found = topokit_train.extract(pruned(chosen), torch.randn(2, 6))
    assert [chain.widths for chain in found.chains] == [(6, WIDTH), (WIDTH // 2, 3)]


CHOICES = {
    "where": lambda gate, y: torch.where(gate, y, 0.0),
    "where of others": lambda gate, y: torch.where(gate, torch.ones_like(y), y),
    "masked_fill": lambda gate, y: y.masked_fill(~gate, 1.0),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_constant_choice_has_the_nodes_of_the_derivatives_in_all_forms(name, tmp_path):
    """The first layer is diagonal, so an edge of the second one is a derivative that is not 0."""
    gate = torch.tensor([True, False, True, True, False, False])
    module = pruned(nn.Sequential(nn.Linear(6, 6), Called(lambda _, y: CHOICES[name](gate, y), 1), nn.Linear(6, 3)))
    module[0].weight.data = torch.diag(torch.ones(6))
    module[2].weight.data[0] = 1  # each node has an edge
    example = torch.randn(1, 6)
    derivatives = torch.autograd.functional.jacobian(module, example)[0, :, 0].T != 0
    expected = derivatives[derivatives.any(1)].numpy()
    for known in (
        read_model(module, example),
        exported(module, example, tmp_path / "model.pt2"),
        exported(module, example, tmp_path / "model.onnx"),
    ):
        found = select(known, Rule())
        assert [joint["kind"] for joint in found.joints] == ["part"]
        assert np.array_equal(found.chains[-1][0].to_dense() != 0, expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_a_row_of_zeros_under_weight_norm_has_no_edges(norm, tmp_path):
    """The model itself computes 0/0 for it. NaN of a parameter is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = norm(nn.Linear(6, 4))
    pruned(layer)
    (values,) = [one for one in layer.parameters() if one.shape == (4, 6)]
    (sizes,) = [one for one in layer.parameters() if one.shape == (4, 1)]
    values.data[2], sizes.data[:] = 0, 1
    edges = (values != 0).detach().numpy()
    example = torch.randn(1, 6)
    files = [tmp_path / "model.onnx", tmp_path / "model.pt2"]
    for known in (read_model(layer, example), *(exported(layer, example, file) for file in files)):
        assert np.array_equal(select(known, Rule()).topology[0].to_dense().T != 0, edges)
    values.data[2, 1] = np.nan
    for known in (read_model(layer, example), exported(layer, example, files[0])):
        with pytest.raises(TopokitError, match="has NaN"):
            select(known, Rule())


SELECTED = {
    "gather": (lambda self, x: self.c(self.a(x).gather(1, self.at)), torch.tensor([[3, 1, 0, 5, 2, 4, 7, 6]])),
    "scatter": (lambda self, x: self.c(self.a(x).scatter(1, self.at, 0.0)), torch.tensor([[3, 1]])),
    "masked_scatter": (
        lambda self, x: self.c(self.a(x).masked_scatter(self.at, torch.zeros(8))),
        torch.tensor([[True, False] * 4]),
    ),
}


@pytest.mark.parametrize("name", SELECTED)
def test_the_operator_that_reads_an_index_or_a_mask_is_named(name):
    function, at = SELECTED[name]
    module = pruned(Called(function, 1))
    module.register_buffer("at", at)
    shape, reason = topokit_train.extract(module, torch.randn(1, 6)).left["at"]
    assert (shape, reason.partition(".")[0]) == (tuple(at.shape), "aten")
    assert f".{name}." in reason
    assert reason.endswith("reads it, but not as the weight of a layer")


def test_without_layers_the_operators_are_named():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.gate = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return (x[:, None] * self.gate * self.w).sum(-1)

    with pytest.raises(InvalidSpecError, match=r"multiplies features by a weight \(w: aten.mul.Tensor \(mul_1\) reads"):
        topokit_train.extract(Scaled(), torch.ones(1, 3))
