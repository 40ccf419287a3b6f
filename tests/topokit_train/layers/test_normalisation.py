"""LocalResponseNorm against TensorFlow's formula, number by number, and torch's own module."""

import numpy as np
import pytest
import torch
from torch import nn

from topokit_train.layers.normalisation import LocalResponseNorm


def tensorflows(x):
    """tf.nn.local_response_normalization(x, 4, bias=1, alpha=.001 / 9, beta=.75) of x with the channels second."""
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        near = x[:, max(0, channel - 4) : channel + 5]
        y[:, channel] = x[:, channel] / (1.0 + 0.001 / 9.0 * (near**2).sum(1)) ** 0.75
    return y


def images(channels, dtype=torch.float64, scale=30.0):
    return scale * torch.randn(2, channels, 3, 4, dtype=dtype, generator=torch.Generator().manual_seed(channels))


@pytest.mark.parametrize("channels", [1, 3, 9, 20])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_tensorflows_formula(channels, layout):
    x = images(channels).contiguous(memory_format=layout)
    norm = LocalResponseNorm(channels)
    np.testing.assert_allclose(norm(x).numpy(), tensorflows(x.numpy()), rtol=1e-12)
    assert not np.allclose(x.numpy(), tensorflows(x.numpy()), rtol=1e-2)  # it does something


@pytest.mark.parametrize("channels", [1, 12])
def test_its_gradient_is_that_of_the_formula(channels):
    assert torch.autograd.gradcheck(LocalResponseNorm(channels), images(channels, scale=5.0).requires_grad_())


def test_it_is_torchs_module_in_float32():
    x, y = (images(50, torch.float32).requires_grad_() for _ in range(2))
    mine, theirs = LocalResponseNorm(50)(x), nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1)(y)
    torch.testing.assert_close(mine, theirs)
    (mine**2).sum().backward()
    (theirs**2).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-3)


def test_autocast_loses_nothing_of_the_sum():
    x = images(20, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = LocalResponseNorm(20)(x)
    torch.testing.assert_close(y, LocalResponseNorm(20)(x))


def test_it_saves_nothing():
    assert LocalResponseNorm(20).state_dict() == {}
