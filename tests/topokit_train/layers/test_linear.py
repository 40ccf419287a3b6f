"""SparseLinear: one network whatever the kernel; what it saves, loads and refuses."""

import io
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from topokit import Topology
from topokit.errors import InvalidSpecError
from topokit.topologies import layer_digest
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear

PAIRS = list(itertools.product(sorted(KERNELS), repeat=2))


def random_layer(seed, shape=(20, 12)):
    """A layer that every kernel takes: classes of twins on a cycle of 5, each feeding 2 others, at random places."""
    random = np.random.default_rng(seed)
    sources, targets = (random.permutation(np.arange(width) % 5) for width in shape)
    mask = (targets - sources[:, None]) % 5 < 2
    mask[:, 3] = mask[4] = False  # an output nothing reaches, and an input that reaches nothing
    return Topology.from_dense([mask]).layer(0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=sorted(KERNELS))
def kernel(request):
    return request.param


def dense_weight(linear):
    """The (out, in) weight that a state_dict describes, entry by entry."""
    layer, values = linear.topology_layer(), linear.state_dict()["values"]
    weight = torch.zeros(linear.out_features, linear.in_features, dtype=values.dtype)
    for u, v, value in zip(layer.sources.tolist(), layer.indices.tolist(), values.tolist(), strict=True):
        weight[v, u] = value
    return weight


@pytest.mark.parametrize("leading", [(), (1,), (7,), (3, 5), (0,), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_is_that_of_a_dense_layer_with_the_same_weight(kernel, leading, bias):
    linear = SparseLinear(random_layer(0), bias=bias, kernel=kernel, dtype=torch.float64, generator=seeded(0))
    if bias:
        nn.init.normal_(linear.bias, generator=seeded(1))
    x = torch.randn(*leading, 20, dtype=torch.float64, generator=seeded(2))
    torch.testing.assert_close(linear(x), functional.linear(x, dense_weight(linear), linear.bias))


@pytest.mark.parametrize("change", [nn.ReLU(inplace=True), lambda y: y.add_(1), lambda y: y.mul_(y.detach() + 1)])
def test_what_it_gives_may_be_changed_in_place(kernel, change):
    linear = SparseLinear(random_layer(0), kernel=kernel, dtype=torch.float64, generator=seeded(0))
    x, x_ = (torch.randn(6, 20, dtype=torch.float64, generator=seeded(2)).requires_grad_() for _ in range(2))
    change(linear(x)).sum().backward()
    change(functional.linear(x_, dense_weight(linear), linear.bias)).sum().backward()
    torch.testing.assert_close(x.grad, x_.grad)


def test_input_of_another_width_is_refused(kernel):
    linear = SparseLinear(random_layer(0), kernel=kernel)
    for shape in [(), (3, 19), (20, 10)]:  # the last one's numbers would fill 10 rows of 20
        with pytest.raises(InvalidSpecError, match="last size must be in_features, 20"):
            linear(torch.ones(shape))


def test_a_seed_gives_the_same_network_under_every_kernel_and_type(kernel):
    layer = random_layer(1)
    reference = SparseLinear(layer, kernel="masked", generator=seeded(5)).state_dict()
    for dtype in (torch.float32, torch.float64):
        state = SparseLinear(layer, kernel=kernel, dtype=dtype, generator=seeded(5)).state_dict()
        assert torch.equal(state["values"], reference["values"].to(dtype))
    other = SparseLinear(layer, kernel=kernel, generator=seeded(6)).state_dict()
    assert not torch.equal(other["values"], reference["values"])


def test_initial_values_are_scaled_by_the_edges_that_reach_a_unit(kernel):
    mask = np.zeros((7000, 4), bool)
    mask[:2000, 0] = mask[2000:6000, 1] = mask[6000:, 2] = True
    linear = SparseLinear(Topology.from_dense([mask]).layer(0), kernel=kernel, generator=seeded(0))
    weight = dense_weight(linear).numpy()
    for unit, fan_in in enumerate([2000, 4000, 1000]):
        assert weight[unit][mask[:, unit]].std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
    assert not weight[3].any()
    assert not linear.bias.any()
    before = linear.state_dict()["values"]
    nn.init.ones_(linear.bias)
    linear.reset_parameters(seeded(0))
    assert torch.equal(linear.state_dict()["values"], before)
    assert not linear.bias.any()


def test_without_a_generator_the_values_come_from_torchs_own(kernel):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = SparseLinear(random_layer(1), kernel=kernel).state_dict()["values"]
    assert torch.equal(first, SparseLinear(random_layer(1), kernel=kernel, generator=seeded(3)).state_dict()["values"])


def test_a_state_dict_holds_one_number_per_edge_in_canonical_order(kernel):
    layer = random_layer(2)
    linear = SparseLinear(layer, kernel=kernel)
    weight = torch.arange(240.0).reshape(20, 12).T  # entry (v, u) is 12 u + v: canonical order is ascending
    with torch.no_grad():
        linear.values.copy_(linear.from_canonical(weight[layer.indices.astype(int), layer.sources.astype(int)]))
    state = linear.state_dict(prefix="fc.")
    assert set(state) == {"fc.values", "fc.bias", "fc.digest"}
    expected = [12 * u + v for u, v in zip(layer.sources.tolist(), layer.indices.tolist(), strict=True)]
    assert state["fc.values"].tolist() == sorted(expected)
    assert bytes(state["fc.digest"].tolist()) == layer_digest(layer)
    assert not state["fc.values"].requires_grad
    assert linear.state_dict(keep_vars=True)["values"].requires_grad


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_loads_under_every_kernel(one, other, assign):
    saved = nn.Sequential(SparseLinear(random_layer(3), kernel=one), nn.ReLU())
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    loaded = nn.Sequential(SparseLinear(random_layer(3), kernel=other), nn.ReLU())
    state = torch.load(file, weights_only=True)
    loaded.load_state_dict(state, assign=assign)
    for values in (state["0.values"], loaded.state_dict()["0.values"]):
        assert torch.equal(values, saved.state_dict()["0.values"])
    x = torch.randn(5, 20, generator=seeded(0))
    torch.testing.assert_close(loaded(x), saved(x))
    loaded(x).sum().backward()
    assert loaded[0].values.grad is not None


def test_a_state_dict_of_other_edges_is_refused(kernel):
    mask = np.eye(6, dtype=bool)
    linear = SparseLinear(Topology.from_dense([mask]).layer(0), kernel=kernel)
    moved = SparseLinear(Topology.from_dense([mask[::-1]]).layer(0), kernel=kernel)
    assert moved.edges == linear.edges
    before = linear.state_dict()
    theirs, ours = (layer_digest(made.topology_layer()).hex()[:12] for made in (moved, linear))
    said = (
        rf"values belong to other edges \(SHA-256 {theirs}; this layer has {ours}\): build the layer from the topology"
    )
    with pytest.raises(RuntimeError, match=said):
        linear.load_state_dict(moved.state_dict(), strict=False)
    assert torch.equal(linear.state_dict()["values"], before["values"])
    with pytest.raises(RuntimeError, match=r"values has shape \(5,\); this layer has 6 weights"):
        linear.load_state_dict({**before, "values": before["values"][:5]})
    with pytest.raises(RuntimeError, match=r'Missing key.*"digest"'):
        linear.load_state_dict({"values": before["values"], "bias": before["bias"]})
    with pytest.raises(RuntimeError, match=r'Missing key.*"values"'):
        linear.load_state_dict({"digest": before["digest"], "bias": before["bias"]})


def test_a_layer_moves_between_types_and_says_where_its_kernel_ends():
    x = torch.ones(2, 20)
    for name in KERNELS:
        assert SparseLinear(random_layer(5), kernel=name).double()(x.double()).dtype == torch.float64
    assert SparseLinear(random_layer(5), kernel="masked").half()(x.half()).dtype == torch.float16
    with pytest.raises(InvalidSpecError, match="csr does not run on cpu with float16"):
        SparseLinear(random_layer(5), kernel="csr").half()(x.half())
    with pytest.raises(InvalidSpecError, match="csr does not run on cpu with float16"):
        SparseLinear(random_layer(5), kernel="csr", dtype=torch.float16)


def test_it_prints_what_it_is():
    linear = SparseLinear(random_layer(5), kernel="csr", bias=False)
    line = f"SparseLinear(in_features=20, out_features=12, edges={linear.edges}, bias=False, kernel=csr)"
    assert line in str(nn.Sequential(linear)).splitlines()[1]
    assert linear.kernel == "csr"


def train(kernel, optimizer, steps):
    """Losses and model of a small network trained in float64 on random data, the same under every kernel."""
    generator = seeded(0)
    layers = (random_layer(6, (30, 20)), random_layer(7, (20, 10)))
    first, second = (SparseLinear(layer, kernel=kernel, dtype=torch.float64, generator=generator) for layer in layers)
    model = nn.Sequential(first, nn.ReLU(), second)
    x = torch.randn(64, 30, dtype=torch.float64, generator=generator)
    y = torch.randint(10, (64,), generator=generator)
    optimizer = optimizer(model.parameters())
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model, optimizer


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.001),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_kernel_trains_the_same_network(optimizer):
    losses, model, _ = train("masked", OPTIMIZERS[optimizer], 50)
    assert losses[-1] < 0.8 * losses[0]
    for linear in (model[0], model[2]):
        assert torch.equal(linear.from_canonical(linear.to_canonical(linear.values)), linear.values)
    for name in set(KERNELS) - {"masked"}:
        assert train(name, OPTIMIZERS[optimizer], 50)[0] == pytest.approx(losses, abs=1e-9)


def test_optimizer_state_crosses_between_kernels_through_canonical_order():
    (_, one, adam), (_, other, others_adam) = (train(name, OPTIMIZERS["adam"], 5) for name in ("masked", "csr"))
    for mine, theirs in ((one[0], other[0]), (one[2], other[2])):
        for key in ("exp_avg", "exp_avg_sq"):
            moments = adam.state[mine.values][key], others_adam.state[theirs.values][key]
            assert moments[0].shape == mine.values.shape
            carried = theirs.from_canonical(mine.to_canonical(moments[0]))
            torch.testing.assert_close(carried, moments[1], rtol=1e-9, atol=1e-12)


def test_parameters_gradients_and_moments_are_one_number_per_edge(kernel):
    _, model, optimizer = train(kernel, OPTIMIZERS["adam"], 1)
    numbers = sum(linear.edges + linear.out_features for linear in (model[0], model[2]))
    assert sum(parameter.numel() for parameter in model.parameters()) == numbers
    assert sum(parameter.grad.numel() for parameter in model.parameters()) == numbers
    moments = [tensor for state in optimizer.state.values() for key, tensor in state.items() if key != "step"]
    assert sum(tensor.numel() for tensor in moments) == 2 * numbers
