"""Types of inputs and of outputs, under autocast and without it, as torch's own layers have them; `weight`."""

import numpy as np
import pytest
import torch
from torch import nn

from topokit import Bernoulli, RadixNet
from topokit.errors import InvalidSpecError
from topokit_train.kernels import KERNELS
from topokit_train.layers.attention import SparseAttention
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.linear import SparseLinear

BAND = RadixNet(radices=[(2, 3)], kron=(2, 2, 2)).layer(0)  # 12 to 12, which every kernel takes


def linear(kernel):
    mine = SparseLinear(BAND, kernel=kernel)
    return mine, nn.Linear(12, 12), torch.randn(5, 12)


def convolution(kernel):
    mine = SparseConv2d(BAND, 12, 2, kernel=kernel)
    return mine, nn.Conv2d(12, 12, 2), torch.randn(3, 12, 4, 4)


def pair(kind, kernel):
    """A sparse layer, the dense one that does the same, and an input."""
    mine, wanted, x = kind(kernel)
    wanted.load_state_dict({"weight": mine.dense_weight(), "bias": mine.bias.detach()})
    return mine, wanted, x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("kind", [linear, convolution])
def test_under_autocast_outputs_and_gradients_have_the_types_of_torchs_layers(kind, kernel, dtype):
    mine, wanted, x = pair(kind, kernel)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    with torch.autocast("cpu", dtype=dtype):
        y, z = mine(inputs[0]), wanted(inputs[1])
        assert y.dtype == z.dtype == dtype
        assert mine(y[..., :12]).dtype == dtype if kind is linear else True  # the next layer takes it
    for result in (y, z):
        result.float().square().mean().backward()
    close = {"rtol": 0.05, "atol": 0.02}
    torch.testing.assert_close(y, z, **close)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, **close)
    assert mine.values.grad.dtype == mine.bias.grad.dtype == torch.float32
    torch.testing.assert_close(mine.bias.grad, wanted.bias.grad, **close)
    with torch.no_grad():
        mine.values.copy_(mine.values.grad)
    torch.testing.assert_close(mine.dense_weight(), wanted.weight.grad * (wanted.weight != 0), **close)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("kind", [linear, convolution])
def test_a_region_without_autocast_and_float64_are_as_torch_has_them(kind, kernel):
    mine, wanted, x = pair(kind, kernel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.autocast("cpu", enabled=False):
            assert mine(x).dtype == wanted(x).dtype == torch.float32
            with pytest.raises(InvalidSpecError, match=r"type torch\.bfloat16, the layer torch\.float32"):
                mine(x.bfloat16())
        assert mine.double()(x.double()).dtype == wanted.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("kind", [linear, convolution])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool, torch.complex64])
def test_inputs_of_another_type_are_refused_in_words(kind, kernel, dtype, autocast):
    mine, _, x = pair(kind, kernel)
    with (
        torch.autocast("cpu", enabled=autocast),
        pytest.raises(InvalidSpecError, match=rf"type {dtype}, the layer torch\.float32: convert the input by x\.to"),
    ):
        mine(x.to(dtype))


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_under_autocast_is_close_to_torchs(need_weights, dtype):
    wanted = nn.MultiheadAttention(12, 2, add_bias_kv=True)
    dense = SparseAttention.of(wanted)
    sparse = SparseAttention.of(wanted)
    for name in ("q", "k", "v", "out_proj"):
        setattr(sparse, name, SparseLinear(BAND, kernel="csr"))
    x = torch.randn(4, 3, 12)
    with torch.autocast("cpu", dtype=dtype):
        results = [module(x, x, x, need_weights=need_weights)[0] for module in (wanted, dense, sparse)]
    assert [result.dtype for result in results] == [dtype] * 3
    torch.testing.assert_close(results[0], results[1], rtol=0.05, atol=0.02)
    results[2].float().sum().backward()
    assert sparse.q.values.grad.dtype == torch.float32


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("kind", [linear, convolution])
def test_weight_is_a_sparse_copy_that_gradients_pass(kind, kernel):
    mine, _, _ = kind(kernel)
    weight = mine.weight
    assert weight.layout == torch.sparse_csr
    assert weight.values().shape == mine.values.shape
    assert torch.equal(weight.to_dense(), mine.dense_weight().flatten(1))
    assert weight.shape == (12, mine.dense_weights // 12)
    factors = torch.rand(weight.shape)
    (weight.to_dense() * factors).sum().backward()
    with torch.no_grad():
        before = mine.dense_weight()
        mine.weight.values().zero_()
        assert torch.equal(mine.dense_weight(), before)
        mine.values.copy_(mine.values.grad)
    assert torch.equal(mine.dense_weight().flatten(1), torch.where(before.flatten(1) != 0, factors, 0))


def test_weight_of_a_layer_without_edges_and_its_rows():
    layer = Bernoulli(widths=(7, 9), density=".01", seed=0).layer(0)
    mine = SparseLinear(layer, dtype=torch.float64)
    assert mine.weight.shape == (9, 7)
    dense = layer.to_dense().T
    assert np.array_equal(mine.weight.crow_indices(), np.concatenate([[0], dense.sum(1).cumsum()]))


def test_weight_cannot_be_replaced():
    mine = SparseLinear(BAND)
    with pytest.raises(AttributeError, match="weight"):
        mine.weight = torch.ones(12, 12)
    with pytest.raises(InvalidSpecError, match="one for each edge: change values, or call take"):
        mine.weight = nn.Parameter(torch.ones(12, 12))
    with pytest.raises(RuntimeError, match="leaf"):
        mine.weight.requires_grad_(False)


def test_torchs_fast_path_refuses_a_sparse_layer_that_was_put_in_by_hand():
    encoder = nn.TransformerEncoderLayer(12, 2, 12, batch_first=True).eval()
    encoder.linear1 = SparseLinear(BAND)  # sparsify would have turned the fast path off
    with torch.no_grad(), pytest.raises(NotImplementedError, match="SparseCsrCPU"):
        encoder(torch.randn(2, 5, 12))
