"""Layers that are fused without gradients, against dense float64 arithmetic in NumPy; and what keeps them apart."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import topokit
from topokit._native import description, native
from topokit_train import sparsify
from topokit_train.chain import chain_rows
from topokit_train.fusing import FusedSequential, fuse
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.native import Chain

NET = topokit.topology("radix-net radices=4,4 kron=3,2,1")  # 48 -> 32 -> 16
OFF = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
needs_library = pytest.mark.skipif(native() is None, reason=description())


def perceptron(kernel, dtype=torch.float32):
    """Two sparse layers and a dense one, with ReLU between them, fused; each parameter is random."""
    torch.manual_seed(0)
    parts = nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)
    model = fuse(sparsify(nn.Sequential(*parts), NET, kernel=kernel))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.to(dtype)


def dense_outputs(model, x):
    """The outputs in float64, and for each the sum of the absolute numbers that are added on the way."""
    y, size = x.double().numpy(), np.abs(x.double().numpy())
    for part in model:
        if isinstance(part, nn.ReLU):
            y = np.maximum(y, 0)
            continue
        weight = part.dense_weight() if isinstance(part, SparseLinear) else part.weight
        W, bias = weight.detach().double().numpy(), part.bias.detach().double().numpy()
        y, size = y @ W.T + bias, size @ np.abs(W.T) + np.abs(bias)
    return y, size


@pytest.fixture
def runs(monkeypatch):
    """The number of layers in each run that is computed as one."""
    found = []
    monkeypatch.setattr("topokit_train.fusing.chain_rows", lambda x, run: found.append(len(run)) or chain_rows(x, run))
    return found


@pytest.mark.parametrize("off", OFF.values(), ids=OFF)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("batch", [0, 1, 16, 128, 333])
def test_outputs_without_gradients_are_those_of_the_dense_layers(kernel, batch, dtype, error, off, runs, monkeypatch):
    monkeypatch.setattr("topokit_train.chain.KEPT", 150 * (48 + 32 + 16 + 3))  # 333 samples in three calls
    model = perceptron(kernel, dtype)
    x = torch.randn(batch, 48, dtype=dtype)
    wanted, size = dense_outputs(model, x)
    with off():
        y = model(x)
        strided = model(torch.randn(48, 2 * batch, dtype=dtype)[:, ::2].copy_(x.T).T)
    assert runs == [3, 3]
    assert y.dtype == dtype
    assert not y.requires_grad
    for found in (y, strided):
        assert found.shape == wanted.shape
        assert (np.abs(found.double().numpy() - wanted) <= error * size).all()


@needs_library
def test_the_native_library_is_called_once_for_so_many_samples(monkeypatch):
    calls = []
    forward = Chain.forward
    monkeypatch.setattr(Chain, "forward", lambda self, x, *rest: calls.append(x.shape[1]) or forward(self, x, *rest))
    monkeypatch.setattr("topokit_train.chain.KEPT", 150 * (48 + 32 + 16 + 3))
    model = perceptron("native")
    with torch.no_grad():
        model(torch.ones(150, 48))
        model(torch.ones(333, 48))
        model[0](torch.ones(5, 48))
    assert calls == [150, 150, 150, 33, 5]


def test_nan_and_inf_reach_the_outputs_without_gradients():
    model, x = perceptron("native"), torch.ones(4, 48)
    x[1, 5], x[2, 7] = torch.nan, torch.inf
    recorded = model(x)
    with torch.no_grad():
        assert torch.equal(model(x).isfinite(), recorded.isfinite())
    assert recorded.isfinite().all(1).tolist() == [True, False, False, True]


def test_in_bfloat16_a_run_without_gradients_equals_the_recorded_one(runs):
    model, x = perceptron("native", torch.bfloat16), torch.randn(9, 48).bfloat16()
    with torch.no_grad():
        y = model(x)
    assert runs == [3]
    torch.testing.assert_close(y, model(x).detach())


def test_without_gradients_torchs_own_layers_are_called(runs):
    model, x = fuse(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))), torch.randn(3, 6)
    plain = nn.Sequential(*model)
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
        assert not runs
        first = fuse(nn.Sequential(nn.Linear(9, 48), nn.Tanh(), *perceptron("csr")))
        first(torch.randn(3, 9))
    assert runs == [3]


class Scaled(nn.Parameter):
    """A parameter that stands for twice its numbers, as a quantised one stands for others than it stores."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            args = [2 * arg if type(arg) is cls and func is nn.functional.linear else arg for arg in args]
            return func(*args, **(kwargs or {}))


class Labelled(torch.Tensor):
    """An input of a subclass."""


class Functions(TorchFunctionMode):
    """Sees every function of torch."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Sees every operation."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


WATCHES = {"functions": Functions, "operations": Operations, "autocast": lambda: torch.autocast("cpu", torch.bfloat16)}


@pytest.mark.parametrize("kernel", ["native", "csr"])
@pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES)
def test_what_watches_or_converts_operations_sees_each_layer(watch, kernel, runs):
    model, x = perceptron(kernel), torch.randn(5, 48)
    with torch.no_grad(), watch():
        y, apart = model(x), nn.Sequential(*model)(x)
    assert not runs
    assert torch.equal(y, apart)


@pytest.mark.parametrize("kernel", ["native", "csr"])
def test_inputs_of_a_subclass_or_of_three_dimensions_go_through_each_layer(kernel, runs):
    model, x = perceptron(kernel), torch.randn(5, 48)
    with torch.no_grad():
        for given in (x.as_subclass(Labelled), x[None]):
            found = model(given)
            torch.testing.assert_close(found.as_subclass(torch.Tensor).reshape(5, 3), nn.Sequential(*model)(x))
    assert not runs


def test_a_parameter_of_a_subclass_is_left_to_its_own_layer(runs):
    model, x = perceptron("native"), torch.randn(5, 48)
    twice = copy.deepcopy(model)
    twice[4].weight.data.mul_(2)
    model[4].weight = Scaled(model[4].weight.data)
    with torch.no_grad():
        torch.testing.assert_close(model(x), twice(x))
    assert runs == [2, 3]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own
def test_derivatives_in_forward_mode_are_not_lost(runs):
    model, x = perceptron("native"), torch.randn(5, 48)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(RuntimeError, match="jvp"):  # as of a layer alone
            model(dual)
    assert not runs


def test_hooks_are_called_without_gradients(runs):
    model, seen = perceptron("native"), []
    model[2].register_forward_hook(lambda module, *_: seen.append(module))
    with torch.no_grad():
        model(torch.ones(2, 48))
        assert runs == [1]
        assert seen == [model[2]]
        handle = register_module_forward_hook(lambda module, *_: seen.append(module))
        try:
            model(torch.ones(2, 48))
        finally:
            handle.remove()
    assert runs == [1]
    assert set(seen) == {model, *model}


def test_an_input_of_another_width_is_refused_by_the_layer():
    with torch.no_grad(), pytest.raises(topokit.errors.InvalidSpecError, match="its last size must be in_features, 48"):
        perceptron("native")(torch.ones(2, 47))


@pytest.mark.filterwarnings("ignore")  # torch's own, as it traces
@pytest.mark.parametrize("kernel", ["native", "csr", "masked"])
def test_programs_of_torch_follow_the_input_without_gradients(kernel, runs):
    model, x, other = perceptron(kernel), torch.randn(5, 48), torch.randn(5, 48)
    assert type(model) is FusedSequential
    with torch.no_grad():
        wanted = model(other)
        runs.clear()
        exported = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(exported(other), wanted)
        if kernel == "native":  # torch refuses to trace the others
            torch.testing.assert_close(torch.jit.trace(model, (x,), check_trace=False)(other), wanted)
        torch.compiler.reset()
        torch.testing.assert_close(torch.compile(model, backend="eager")(other), wanted)
        assert not runs
