"""Every kernel against dense float64 arithmetic in NumPy, values and gradients."""

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array

from topokit import RadixNet, Topology
from topokit.errors import InvalidSpecError
from topokit_train.chain import Link, chain
from topokit_train.kernels import KERNELS
from topokit_train.kernels.block import BlockPlan
from topokit_train.kernels.csr import CsrPlan
from topokit_train.machine import cpu_threads

CPU = torch.device("cpu")
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def layer_of(mask):
    """The topology layer of a dense bool array, shape (in, out)."""
    return Topology.from_dense([mask]).layer(0)


def random_mask(seed, shape, density):
    return np.random.default_rng(seed).random(shape) < density


def banded_mask(seed):
    """Circulants of one radix with copies of their nodes, some cropped away, shuffled; maybe a node without edges."""
    random = np.random.default_rng(seed)
    stride, length = random.integers(1, 4), random.integers(1, 9)
    radix = random.integers(1, length + 1)
    circulant = sum(np.roll(np.eye(length, dtype=bool), k, axis=1) for k in range(radix))
    base = np.kron(circulant, np.eye(stride, dtype=bool))
    mask = np.kron(np.ones(random.integers(1, 4, size=2), bool), base)
    sources, targets = (random.integers(stride * length, width + 1) for width in mask.shape)
    mask = np.pad(mask[:sources, :targets], [(0, random.integers(2)), (0, random.integers(2))])
    return mask[random.permutation(mask.shape[0])][:, random.permutation(mask.shape[1])]


banded_masks = st.builds(banded_mask, st.integers(0, 10**6))
random_masks = st.builds(
    random_mask,
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)


def blocky_mask(seed):
    """A random pattern with copies of its nodes, each node with a number of its own, shuffled."""
    random = np.random.default_rng(seed)
    base = random.random(random.integers(1, 7, size=2)) < random.choice([0.2, 0.5, 0.8])
    copies = [random.integers(1, 5, size=width) for width in base.shape]
    mask = base.repeat(copies[0], axis=0).repeat(copies[1], axis=1)
    return mask[random.permutation(mask.shape[0])][:, random.permutation(mask.shape[1])]


blocky_masks = st.builds(blocky_mask, st.integers(0, 10**6))
NEEDS_BANDS = {"band"}


def masks(kernel):
    """Patterns that a kernel can multiply by."""
    return banded_masks if kernel.name in NEEDS_BANDS else st.one_of(banded_masks, random_masks, blocky_masks)


CIRCULANT = np.eye(6, dtype=bool) | np.roll(np.eye(6, dtype=bool), 2, axis=1)


def operands(mask, batch, dtype=np.float64, seed=0):
    """W (out, in), x (in, batch) and g (out, batch), in float64 NumPy, rounded to dtype; W is zero off the edges."""
    rng = np.random.default_rng(seed)
    sources, targets = mask.shape
    shapes = (targets, sources), (sources, batch), (targets, batch)
    W, x, g = (rng.standard_normal(shape).astype(dtype).astype(np.float64) for shape in shapes)
    return W * mask.T, x, g


def canonical(matrix, mask):
    """The entries of an (out, in) array at the edges, by source and then target."""
    return np.array([matrix[v, u] for u, v in sorted(zip(*np.nonzero(mask), strict=True))], dtype=np.float64)


def strided(array):
    """The same numbers as a tensor that is contiguous in neither order."""
    wide = np.zeros((array.shape[0], 2 * array.shape[1]), array.dtype)
    wide[:, ::2] = array
    return torch.from_numpy(wide)[:, ::2]


def batch_first(array):
    """The same numbers as a tensor that lies in memory column after column."""
    return torch.from_numpy(np.ascontiguousarray(array.T)).T


def check(plan, mask, operands, tensor=torch.from_numpy, **close):
    """The product and both gradients are those of the dense matrix, up to rounding."""
    W, x, g = operands
    x_ = tensor(x).requires_grad_()
    values = plan.from_canonical(torch.from_numpy(canonical(W, mask)).to(x_.detach())).requires_grad_()
    y = chain(x_, [Link(plan, values, None, relu=False)])
    y.backward(tensor(g))
    found = [part.detach().cpu().double() for part in (y, x_.grad, plan.to_canonical(values.grad))]
    for one, wanted in zip(found, (W @ x, W.T @ g, canonical(g @ x.T, mask)), strict=True):
        np.testing.assert_allclose(one, wanted, **close)
    assert y.dtype == values.grad.dtype == x_.grad.dtype == values.dtype


@pytest.fixture(scope="module", params=sorted(KERNELS))
def kernel(request):
    return KERNELS[request.param]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(data=st.data(), batch=st.sampled_from([0, 1, 7, 513]), lie=st.sampled_from([0, 1, 2]), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=100)
def test_product_and_gradients_are_those_of_the_dense_matrix(kernel, device, dtype, data, batch, lie, seed):
    tensor = (torch.from_numpy, strided, batch_first)[lie]
    close = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    mask = data.draw(masks(kernel))
    plan = kernel.prepare(layer_of(mask)).to(device)
    check(plan, mask, operands(mask, batch, np.float32, seed), lambda array: tensor(array).to(device, dtype), **close)


@pytest.mark.parametrize("name", [name for name in KERNELS if torch.bfloat16 in KERNELS[name].dtypes])
def test_bfloat16_is_right_up_to_its_precision(name):
    mask = np.kron(np.ones((2, 3), bool), CIRCULANT)
    plan = KERNELS[name].prepare(layer_of(mask))
    check(plan, mask, operands(mask, 9), lambda array: torch.from_numpy(array).bfloat16(), atol=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_band_gives_the_same_for_every_tile(seed):
    mask = banded_mask(seed)
    plan = KERNELS["band"].prepare(layer_of(mask))
    length = plan.shape[1]
    for tile in (tile for tile in range(1, length + 1) if length % tile == 0):
        plan.tile, plan.tile_back = tile, length // tile
        check(plan, mask, operands(mask, 5), atol=1e-12)


@pytest.mark.parametrize("cached", [1, 60, 150, 10**6])
def test_block_multiplies_in_parts_as_at_once(monkeypatch, cached):
    monkeypatch.setattr("topokit_train.kernels.block.CACHED", cached)
    mask = np.kron(random_mask(8, (9, 8), 0.4), np.ones((2, 3), bool))[:-1, :-1]
    check(BlockPlan(layer_of(mask)), mask, operands(mask, 5), atol=1e-12)


@pytest.mark.parametrize("lie", [strided, lambda array: torch.from_numpy(array[:1, :1]).expand(array.shape)])
def test_values_may_lie_in_memory_as_they_like(kernel, lie):
    layer = RadixNet(radices=[(2, 3)], kron=(2, 2, 2)).layer(0)
    plan = kernel.prepare(layer)
    _, x, g = operands(layer.to_dense(), 5)
    shape = plan.from_canonical(torch.zeros(layer.edges)).shape
    numbers = np.random.default_rng(0).standard_normal((prod(shape), 1))
    given = lie(numbers).view(shape)
    found = []
    for values in (given, given.contiguous()):
        x_, values_ = torch.from_numpy(x).requires_grad_(), values.detach().requires_grad_()
        y = kernel.multiply(x_, values_, plan)
        found.append((y, *torch.autograd.grad(y, (x_, values_), torch.from_numpy(g))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [banded_mask, blocky_mask])
def test_first_and_second_derivatives_are_those_of_finite_differences(kernel, make, seed):
    if kernel.name in NEEDS_BANDS and make is not banded_mask:
        pytest.skip("no band in it")
    mask = make(seed)
    plan = kernel.prepare(layer_of(mask))
    W, x, _ = operands(mask, 3)
    values = plan.from_canonical(torch.from_numpy(canonical(W, mask))).requires_grad_()
    arguments = (torch.from_numpy(x).requires_grad_(), values)
    assert torch.autograd.gradcheck(lambda x, values: kernel.multiply(x, values, plan), arguments)
    assert torch.autograd.gradgradcheck(lambda x, values: kernel.multiply(x, values, plan), arguments, fast_mode=True)


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_plan_keeps_the_order_of_the_edges(kernel, data):
    layer = layer_of(data.draw(masks(kernel)))
    plan = kernel.prepare(layer)
    numbers = torch.arange(1.0, layer.edges + 1)
    values = plan.from_canonical(numbers)
    assert values.shape == numbers.shape
    assert torch.equal(plan.to_canonical(values), numbers)
    assert torch.equal(plan.from_canonical(plan.to_canonical(values)), values)


def test_one_layer_can_be_used_twice_in_a_network(kernel):
    mask = CIRCULANT
    plan = kernel.prepare(layer_of(mask))
    W, x, g = operands(mask, 5)
    values = plan.from_canonical(torch.from_numpy(canonical(W, mask))).requires_grad_()
    once = kernel.multiply(torch.from_numpy(x), values, plan)
    kernel.multiply(once, values, plan).backward(torch.from_numpy(g))
    both = W.T @ g @ x.T + g @ (W @ x).T
    np.testing.assert_allclose(plan.to_canonical(values.grad), canonical(both, mask), rtol=1e-12)


def test_only_needed_gradients_are_computed(kernel, monkeypatch):
    mask = random_mask(4, (5, 6), 0.4) if kernel.name not in NEEDS_BANDS else CIRCULANT
    plan = kernel.prepare(layer_of(mask))
    x, values = torch.ones(mask.shape[0], 3), torch.ones(mask.sum())
    with monkeypatch.context() as patch:
        patch.setattr(type(plan), "gradient_of_x", None)
        kernel.multiply(x, values.clone().requires_grad_(), plan).sum().backward()
    monkeypatch.setattr(type(plan), "gradient_of_values", None)
    kernel.multiply(x.requires_grad_(), values, plan).sum().backward()
    assert not kernel.multiply(x.detach(), values, plan).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["csr", "block"])
def test_nan_reaches_only_what_it_is_connected_to(name, dtype):
    mask = np.kron(random_mask(5, (8, 9), 0.3), np.ones((2, 3), bool))
    kernel = KERNELS[name]
    plan = kernel.prepare(layer_of(mask))
    W, x, g = operands(mask, 3)
    x[2] = np.nan
    g[4] = np.inf
    values = plan.from_canonical(torch.from_numpy(canonical(W, mask)).to(dtype)).requires_grad_()
    x_ = torch.from_numpy(x).to(dtype).requires_grad_()
    y = kernel.multiply(x_, values, plan)
    y.backward(torch.from_numpy(g).to(dtype))
    assert np.array_equal(y.detach().isnan().any(1), mask[2])
    assert 0 < mask[2].sum() < 27
    assert np.array_equal(~x_.grad.isfinite().any(1), mask[:, 4])
    touched = (np.arange(16) == 2) | (np.arange(27) == 4)[:, None]
    expected = canonical(touched, mask).astype(bool)
    assert np.array_equal(~plan.to_canonical(values.grad).isfinite(), expected)


# torch multiplies no compressed rows on this device, so csr and native are left to benchmarks/gpu.py
@pytest.mark.parametrize("name", ["masked", "block", "band"])
def test_all_that_a_kernel_makes_is_on_the_device_of_its_operands(name):
    mask = banded_mask(1)
    plan = KERNELS[name].prepare(layer_of(mask)).to("meta")
    for x in (torch.empty(mask.shape[0], 7, device="meta"), torch.empty(7, mask.shape[0], device="meta").T):
        values = torch.empty(plan.edges, device="meta")
        y, saved = plan.product(x, values)
        found = y, *plan.gradients(torch.empty_like(y), x, values, saved, for_x=True, for_values=True)
        shapes = (mask.shape[1], 7), x.shape, values.shape
        assert [(one.shape, one.dtype, one.device.type) for one in found] == [
            (shape, torch.float32, "meta") for shape in shapes
        ]


def test_under_csr_a_nan_weight_spoils_no_weight_gradient():
    plan = CsrPlan(layer_of(random_mask(6, (8, 9), 0.3)))
    values = torch.full((plan.edges,), torch.nan, requires_grad=True)
    KERNELS["csr"].multiply(torch.ones(8, 3), values, plan).backward(torch.ones(9, 3))
    assert torch.equal(values.grad, torch.full_like(values, 3.0))


def test_under_band_nan_stays_in_the_cycles_it_is_connected_to():
    mask = np.kron(CIRCULANT, np.eye(2, dtype=bool))
    kernel = KERNELS["band"]
    plan = kernel.prepare(layer_of(mask))
    x = torch.zeros(12, 3, dtype=torch.float64)
    x[5] = torch.nan
    y = kernel.multiply(x, plan.from_canonical(torch.ones(24, dtype=torch.float64)), plan).isnan().any(1).numpy()
    assert y[mask[5]].all()
    assert not y[::2].any()


def test_under_band_nan_stays_in_its_block_whatever_the_blocks_sizes():
    mask = np.kron(np.eye(3, dtype=bool), np.ones((3, 2), bool))[:-1, :-1]
    kernel = KERNELS["band"]
    plan = kernel.prepare(layer_of(mask))
    for node in range(8):
        x = torch.zeros(8, 3)
        x[node] = torch.nan
        y = kernel.multiply(x, plan.from_canonical(torch.ones(mask.sum())), plan)
        assert np.array_equal(y.isnan().any(1), mask[node])


def test_band_refuses_a_layer_without_bands_and_says_what_it_is():
    layer = layer_of(~np.eye(5, dtype=bool)[:, :4])
    with pytest.raises(InvalidSpecError, match=r"needs a layer of .* this one is fan-in 4: choose"):
        KERNELS["band"].prepare(layer)


def test_block_keeps_one_number_per_edge_and_few_for_its_blocks():
    mask = np.kron(random_mask(9, (16, 16), 0.3), np.ones((32, 32), bool))
    plan = BlockPlan(layer_of(mask))
    numbers = {name: buffer.numel() for name, buffer in plan.named_buffers()}
    assert numbers.pop("position") == mask.sum()
    assert numbers.pop("runs") == mask.sum() / 32
    assert sum(numbers.values()) < mask.sum() / 4
    assert {buffer.dtype for buffer in plan.buffers()} == {torch.int32}


def test_csr_makes_nothing_of_the_size_of_the_dense_matrix():
    width = 2**20  # a dense float32 matrix would take 4 TiB
    corners = coo_array(([1, 1], ([0, width - 1], [width - 1, 0])), shape=(width, width))
    plan = CsrPlan(Topology.from_scipy([corners]).layer(0))
    x, values = torch.ones(width, 2, requires_grad=True), torch.tensor([2.0, 3.0], requires_grad=True)
    KERNELS["csr"].multiply(x, values, plan).sum().backward()
    assert values.grad.tolist() == [2, 2]
    assert x.grad[[0, 1, -1], 0].tolist() == [3, 0, 2]
    assert {buffer.dtype for buffer in plan.buffers()} == {torch.int32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_empty_batch_in_two_threads(kernel, dtype):
    layer = RadixNet(radices=[(4, 4)], kron=(3, 2, 1)).layer(0)
    x, values = torch.empty(48, 0, dtype=dtype), torch.ones(layer.edges, dtype=dtype, requires_grad=True)
    with cpu_threads(2):
        y = kernel.multiply(x, values, kernel.prepare(layer))
        y.sum().backward()
    assert y.shape == (32, 0)
    assert not values.grad.any()
