"""SparseConv2d in groups against nn.Conv2d in groups, in both readings and under every kernel."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from topokit import Topology
from topokit.errors import InvalidSpecError
from topokit_train.layers.choice import choose, measured
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.patches import Convolution

CHANNELS, OUT, SIZE, PIXELS = 6, 12, (3, 2), 6
KINDS = list(itertools.product((2, 3, 6), ("channel", "weight"), ("masked", "csr", "block")))


def mask_of(groups, reading, seed=0, density=0.6):
    """A random pattern within the groups, shape (sources, OUT)."""
    sources = CHANNELS * (PIXELS if reading == "weight" else 1)
    mask = np.random.default_rng(seed).random((sources, OUT)) < density
    group = np.arange(sources)[:, None] * groups // sources == np.arange(OUT) * groups // OUT
    return mask & group


def conv(groups, reading, kernel, seed=0, **options):
    layer = Topology.from_dense([mask_of(groups, reading, seed)]).layer(0)
    options = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(1)} | options
    return SparseConv2d(layer, CHANNELS, SIZE, groups=groups, kernel=kernel, **options)


def full_mask(groups, reading, seed=0):
    """That of nn.Conv2d's weight, shape (OUT, CHANNELS / groups, rows, columns), entry by entry."""
    mask, each = mask_of(groups, reading, seed), CHANNELS // groups
    found = torch.zeros(OUT, each, *SIZE, dtype=torch.bool)
    for target, channel, row, column in itertools.product(range(OUT), range(each), range(3), range(2)):
        true_channel = target // (OUT // groups) * each + channel
        source = true_channel if reading == "channel" else true_channel * PIXELS + row * 2 + column
        found[target, channel, row, column] = bool(mask[source, target])
    return found


@pytest.mark.parametrize(("groups", "reading", "kernel"), KINDS)
@pytest.mark.parametrize("geometry", [{"padding": 1}, {"stride": 2, "padding": "valid", "dilation": (1, 2)}], ids=str)
def test_values_and_gradients_are_those_of_torchs_groups(groups, reading, kernel, geometry):
    mask = full_mask(groups, reading)
    wanted = nn.Conv2d(CHANNELS, OUT, SIZE, groups=groups, dtype=torch.float64, **geometry)
    with torch.no_grad():
        wanted.weight.mul_(mask)
    mine = conv(groups, reading, kernel, **geometry)
    assert np.array_equal(mine.topology_layer().to_dense(), mask_of(groups, reading))
    state, theirs = mine.state_dict(), conv(groups, reading, "csr", **geometry).state_dict()
    assert all(torch.equal(state[name], theirs[name]) for name in theirs)
    mine.take(wanted.weight)
    mine.bias.data.copy_(wanted.bias.detach())
    assert mine.dense_shape == wanted.weight.shape
    assert torch.equal(mine.dense_weight(), wanted.weight)
    x, x_ = (
        torch.randn(2, CHANNELS, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
        for _ in range(2)
    )
    y, z = mine(x), wanted(x_)
    torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-12)
    y.pow(3).sum().backward()
    z.pow(3).sum().backward()
    torch.testing.assert_close(x.grad, x_.grad, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(mine.bias.grad, wanted.bias.grad, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        mine.values.copy_(mine.values.grad)
    torch.testing.assert_close(mine.dense_weight(), wanted.weight.grad * mask, rtol=1e-11, atol=1e-11)


def test_an_edge_across_groups_is_refused():
    mask = mask_of(2, "channel")
    mask[5, 0] = True
    with pytest.raises(
        InvalidSpecError,
        match=r"1 of .* edges join two groups, the first one source 5 and output channel 0: with groups=2 that channel "
        "reads only the sources 0 to 2",
    ):
        SparseConv2d(Topology.from_dense([mask]).layer(0), CHANNELS, SIZE, groups=2)


@pytest.mark.parametrize("groups", [0, 4, 12])
def test_groups_that_do_not_divide_the_channels_are_refused(groups):
    with pytest.raises(
        InvalidSpecError, match=f"groups must divide the 6 input and 12 output channels; it is {groups}"
    ):
        SparseConv2d(Topology.from_dense([mask_of(2, "channel")]).layer(0), CHANNELS, SIZE, groups=groups)


def test_a_kernel_is_chosen_and_timed_for_the_groups(monkeypatch):
    monkeypatch.setattr("topokit_train.layers.choice.SECONDS", 1e-6)
    work = Convolution(nn.Conv2d(CHANNELS, OUT, SIZE, groups=3, device="meta"))
    assert ", groups 3, " in work.case
    assert "groups=3, edges=" in str(conv(3, "channel", "csr"))
    layer = Topology.from_dense([mask_of(3, "weight")]).layer(0)
    assert measured(work, layer, torch.device("cpu"), torch.float32, "masked") > 0
    assert choose(layer, torch.device("cpu"), torch.float32, "auto", work).kernel == "masked"
