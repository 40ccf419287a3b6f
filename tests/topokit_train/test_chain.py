"""Chains of layers against dense float64 arithmetic in NumPy, and against the same layers one by one."""

import numpy as np
import pytest
import torch

from topokit import RadixNet, Topology, permute
from topokit.layered import Layer
from topokit_train.chain import Dense, Link, chain
from topokit_train.kernels import KERNELS
from topokit_train.layers.stacks import SideBySide

WIDTHS = (12, 12, 12, 5)


@pytest.fixture(params=sorted(KERNELS))
def kernel(request):
    return KERNELS[request.param]


@pytest.fixture
def net():
    """12-12-12, nodes shuffled: bands of stride 1 and of stride 3."""
    return permute(RadixNet(radices=[(3, 2)], kron=(2, 2, 2)), seed=0)


def parts(net, kernel, seed=0):
    """Links of both layers by the kernel and of a dense one behind them, and the same in NumPy: (W, bias, relu)."""
    rng = np.random.default_rng(seed)
    links, dense = [], []
    for i in range(2):
        layer: Layer = net.layer(i)
        plan = kernel.prepare(layer)
        canonical, bias = rng.standard_normal(layer.edges), rng.standard_normal(layer.shape[1])
        W = np.zeros(layer.shape[::-1])
        W[layer.indices, layer.sources] = canonical
        values = plan.from_canonical(torch.from_numpy(canonical)).requires_grad_()
        links.append(Link(plan, values, torch.from_numpy(bias).requires_grad_(), relu=True))
        dense.append((W, bias, True))
    W, bias = rng.standard_normal((5, 12)), rng.standard_normal(5)
    tensors = (torch.from_numpy(array).requires_grad_() for array in (W, bias))
    return [*links, Link(Dense(), *tensors, relu=False)], [*dense, (W, bias, False)]


def dense_gradients(x, dense, g):
    """y, the gradient of x, and those of every weight and bias, by the chain rule written out."""
    nodes = [x]
    for W, bias, relu in dense:
        y = W @ nodes[-1] + bias[:, None]
        nodes.append(np.maximum(y, 0) if relu else y)
    found = []
    for (W, _, relu), x_, y in zip(dense[::-1], nodes[-2::-1], nodes[:0:-1], strict=True):
        g = g * (y > 0) if relu else g
        found.append((g @ x_.T, g.sum(1)))
        g = W.T @ g
    return nodes[-1], g, found[::-1]


def test_a_chain_and_its_gradients_are_those_of_the_dense_layers(kernel, net):
    links, dense = parts(net, kernel)
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((12, 9)), rng.standard_normal((5, 9))
    x_ = torch.from_numpy(np.ascontiguousarray(x.T)).T.requires_grad_()
    y = chain(x_, links)
    y.backward(torch.from_numpy(g))
    wanted, grad_x, grads = dense_gradients(x, dense, g)
    np.testing.assert_allclose(y.detach(), wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(x_.grad, grad_x, rtol=1e-10, atol=1e-12)
    for i, (link, (of_values, of_bias)) in enumerate(zip(links, grads, strict=True)):
        np.testing.assert_allclose(link.bias.grad, of_bias, rtol=1e-10, atol=1e-12)
        seen = link.values.grad
        if i < 2:
            layer = net.layer(i)
            seen, of_values = link.matrix.to_canonical(seen), of_values[layer.indices, layer.sources]
        np.testing.assert_allclose(seen, of_values, rtol=1e-10, atol=1e-12)


def test_second_derivatives_reach_through_a_chain(kernel, net):
    links, _ = parts(net, kernel)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((12, 2))).requires_grad_()
    tensors = [part for link in links for part in (link.values, link.bias)]

    def output(x, *tensors):
        pairs = zip(links, tensors[::2], tensors[1::2], strict=True)
        return chain(x, [Link(link.matrix, values, bias, link.relu) for link, values, bias in pairs])

    if kernel.name == "masked":  # finite differences cannot move its entries off the edges
        tensors = [tensor.detach() if tensor.ndim == 2 and tensor.shape[0] == 12 else tensor for tensor in tensors]
    assert torch.autograd.gradcheck(output, (x, *tensors))
    assert torch.autograd.gradgradcheck(output, (x, *tensors), fast_mode=True)


@pytest.mark.parametrize("frozen", range(7))
def test_each_gradient_is_the_same_whatever_else_is_asked_for(net, frozen):
    links, _ = parts(net, KERNELS["csr"])
    x = torch.ones(12, 3, dtype=torch.float64, requires_grad=True)
    leaves = [x, *(part for link in links for part in (link.values, link.bias))]
    g = torch.ones(5, 3, dtype=torch.float64)
    chain(x, links).backward(g)
    whole = [leaf.grad for leaf in leaves]
    for wanted in (lambda i: i != frozen, lambda i: i == frozen):
        for i, leaf in enumerate(leaves):
            leaf.grad = None
            leaf.requires_grad_(wanted(i))
        chain(x, links).backward(g)
        for i, (leaf, grad) in enumerate(zip(leaves, whole, strict=True)):
            assert (leaf.grad is None) if not wanted(i) else torch.equal(leaf.grad, grad)


def test_the_first_layers_input_gradient_is_not_computed_for_nothing(net, monkeypatch):
    links, _ = parts(net, KERNELS["csr"])
    asked = []
    own = type(links[0].matrix).gradients
    monkeypatch.setattr(
        type(links[0].matrix), "gradients", lambda self, *what: asked.append((self, *what[-2:])) or own(self, *what)
    )
    chain(torch.ones(12, 3, dtype=torch.float64), links).sum().backward()
    assert [(matrix is links[0].matrix, for_x, for_values) for matrix, for_x, for_values in asked] == [
        (False, True, True),
        (True, False, True),
    ]


def test_under_autocast_a_chain_multiplies_as_its_layers_do(kernel, net):
    links, dense = parts(net, kernel)
    single = [
        Link(link.matrix, *(part.detach().float().requires_grad_() for part in (link.values, link.bias)), link.relu)
        for link in links
    ]
    x = np.random.default_rng(3).standard_normal((12, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = chain(torch.from_numpy(x).float(), single)
        y.sum().backward()
    assert y.dtype == torch.bfloat16
    np.testing.assert_allclose(y.detach().float(), dense_gradients(x, dense, np.ones((5, 4)))[0], atol=0.3)
    assert all(part.grad.dtype == torch.float32 for link in single for part in (link.values, link.bias))


def test_a_chain_without_gradients_and_of_no_images(net):
    links, _ = parts(net, KERNELS["band"])
    with torch.no_grad():
        assert chain(torch.ones(12, 2, dtype=torch.float64), links).grad_fn is None
    y = chain(torch.ones(12, 0, dtype=torch.float64), links)
    y.sum().backward()
    assert y.shape == (5, 0)
    assert all(not link.values.grad.any() for link in links)


def test_weights_of_networks_side_by_side():
    weight = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(12, dtype=torch.float64, requires_grad=True)
    x = torch.randn(15, 2, dtype=torch.float64, requires_grad=True)

    def output(x, weight, bias):
        return chain(x, [Link(SideBySide(3), weight, bias, relu=False)])

    each = [weight[k] @ x[5 * k : 5 * k + 5] + bias[4 * k : 4 * k + 4, None] for k in range(3)]
    assert torch.allclose(output(x, weight, bias), torch.cat(each))
    assert torch.autograd.gradcheck(output, (x, weight, bias))
    assert torch.autograd.gradgradcheck(output, (x, weight, bias), fast_mode=True)


@pytest.mark.parametrize("seed", range(300))
def test_in_float32_every_kernel_errs_by_a_millionth_of_what_it_adds_up(seed):
    random = np.random.default_rng(seed)
    net = RadixNet(radices=[tuple(random.integers(2, 5, size=2))], kron=tuple(random.integers(1, 5, size=3)))
    layer = (permute(net, seed=seed) if seed % 2 else net).layer(seed % 3 % 2)
    if seed % 5 == 4:
        layer = Topology.from_dense([random.random(tuple(random.integers(1, 40, size=2))) < random.random()]).layer(0)
    batch = int(random.integers(1, 514))
    W = np.zeros(layer.shape[::-1])
    canonical = random.standard_normal(layer.edges).astype(np.float32)
    W[layer.indices, layer.sources] = canonical
    x, g = (random.standard_normal((width, batch)).astype(np.float32) for width in layer.shape)
    for kernel in KERNELS.values():
        if kernel.name == "band" and seed % 5 == 4:
            continue
        plan = kernel.prepare(layer)
        values = plan.from_canonical(torch.from_numpy(canonical)).requires_grad_()
        x_ = torch.from_numpy(x).requires_grad_()
        y = kernel.multiply(x_, values, plan)
        y.backward(torch.from_numpy(g))
        of_values = np.zeros_like(W)
        of_values[layer.indices, layer.sources] = plan.to_canonical(values.grad)
        pairs = ((y.detach(), W, x), (x_.grad, W.T, g), (of_values, g, x.T))
        for found, left, right in pairs:
            left, right = left.astype(float), right.astype(float)
            at = (W != 0) if found is of_values else slice(None)
            error = np.abs(np.asarray(found, float) - left @ right)[at]
            assert (error <= 1e-6 * (np.abs(left) @ np.abs(right))[at]).all(), kernel.name
