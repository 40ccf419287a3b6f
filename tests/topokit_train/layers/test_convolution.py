"""SparseConv2d against dense convolutions in float64: under every kernel, in both readings, in groups."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import topokit as tk
from topokit import Topology
from topokit.errors import InvalidSpecError
from topokit.topologies import layer_digest
from topokit_train.kernels import KERNELS
from topokit_train.layers import patches
from topokit_train.layers.choice import choose, measured
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.patches import Convolution

CHANNELS, SIZE, OUT = 6, (3, 2), 10
READINGS = {"channel": CHANNELS, "weight": CHANNELS * 6}
CPU = torch.device("cpu")

GEOMETRIES = {
    "plain": {},
    "strided": {"stride": (2, 1), "padding": (1, 2)},
    "dilated": {"dilation": (1, 2), "padding": 1},
    "same": {"padding": "same", "dilation": (2, 3)},
    "valid": {"padding": "valid", "stride": 2},
    "reflect": {"padding": (1, 2), "padding_mode": "reflect"},
    "circular": {"padding": "same", "padding_mode": "circular"},
}


def layer_of(reading, seed=0):
    """A layer that every kernel takes: classes of twins on a cycle of 5, each feeding 2 others, at random places."""
    random = np.random.default_rng(seed)
    sources, targets = (random.permutation(np.arange(width) % 5) for width in (READINGS[reading], OUT))
    mask = (targets - sources[:, None]) % 5 < 2
    mask[:, 3] = mask[4] = False  # an output nothing reaches, and an input that reaches nothing
    return Topology.from_dense([mask]).layer(0)


def conv(reading, kernel="csr", seed=0, wired=0, **options):
    options = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64} | options
    return SparseConv2d(layer_of(reading, wired), CHANNELS, SIZE, kernel=kernel, **options)


def convolution(channels, **settings):
    return Convolution(nn.Conv2d(channels, OUT, SIZE, device="meta", **settings))


def dense_weight(module):
    """The (out, in, rows, columns) weight that a state_dict describes, number by number."""
    values = iter(module.state_dict()["values"].tolist())
    layer, (rows, columns) = module.topology_layer(), SIZE
    weight = torch.zeros(OUT, CHANNELS, rows, columns, dtype=torch.float64)
    for u, v in zip(layer.sources.tolist(), layer.indices.tolist(), strict=True):
        if layer.shape[0] == CHANNELS:
            for row, column in itertools.product(range(rows), range(columns)):
                weight[v, u, row, column] = next(values)
        else:
            weight[v, u // 6, u % 6 // columns, u % columns] = next(values)
    assert next(values, None) is None
    return weight


def dense(module, geometry):
    """nn.Conv2d of the same weight."""
    made = nn.Conv2d(CHANNELS, OUT, SIZE, dtype=torch.float64, **geometry)
    with torch.no_grad():
        made.weight.copy_(dense_weight(module))
        made.bias.copy_(module.bias)
    return made


@pytest.fixture(params=[(reading, kernel) for reading in READINGS for kernel in KERNELS], ids="-".join)
def kind(request):
    return request.param


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own, of nn.Conv2d
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_values_and_gradients_are_those_of_a_dense_convolution(kind, geometry, monkeypatch):
    monkeypatch.setattr(patches, "STRIP", 3000)  # several strips, the last one shorter
    module = conv(*kind, **geometry)
    nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(1))
    wanted = dense(module, geometry)
    x = torch.randn(4, CHANNELS, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, z = module(mine), wanted(theirs)
    torch.testing.assert_close(y, z, check_stride=True)
    weights = torch.randn(z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (y * weights).sum().backward()
    (z * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(module.bias.grad, wanted.bias.grad)
    layer = module.topology_layer()
    by_source = wanted.weight.grad.reshape(OUT, layer.shape[0], -1)
    at_edges = by_source[layer.indices.astype(int), layer.sources.astype(int)].flatten()
    torch.testing.assert_close(module.to_canonical(module.values.grad), at_edges)


@pytest.mark.parametrize("shape", [(CHANNELS, 5, 5), (0, CHANNELS, 5, 5), (1, CHANNELS, 3, 2)], ids=str)
def test_images_without_a_batch_an_empty_batch_and_a_single_place(kind, shape):
    module = conv(*kind)
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(module(x), dense(module, {})(x))


def test_what_is_no_image_is_refused(kind):
    module = conv(*kind)
    for shape in [(CHANNELS, 5), (2, 5, 5, 5), (5, 9, 9)]:
        with pytest.raises(InvalidSpecError, match=r"it must be \(batch, 6, rows, columns\)"):
            module(torch.ones(shape, dtype=torch.float64))
    with pytest.raises(InvalidSpecError, match="reaches over 3 x 2 pixels has no place in an image of 2 x 5"):
        module(torch.ones(1, CHANNELS, 2, 5, dtype=torch.float64))


def test_a_layer_of_another_width_is_refused():
    layer = tk.Bernoulli(widths=(7, OUT), density=".5", seed=0).layer(0)
    with pytest.raises(
        InvalidSpecError, match="has 7 sources: give 6, one for each channel, or 36, one for each weight"
    ):
        SparseConv2d(layer, CHANNELS, SIZE)
    with pytest.raises(InvalidSpecError, match="Invalid padding string 'some'"):
        conv("channel", padding="some")
    with pytest.raises(InvalidSpecError, match="padding='same' is not supported for strided"):
        conv("channel", padding="same", stride=2)
    with pytest.raises(InvalidSpecError, match="but got padding_mode='mirror'"):
        conv("channel", padding_mode="mirror")


def test_a_seed_gives_the_same_network_under_every_kernel(kind):
    reading, kernel = kind
    state, reference = conv(reading, kernel, seed=5).state_dict(), conv(reading, "masked", seed=5).state_dict()
    assert torch.equal(state["values"], reference["values"])
    assert not torch.equal(state["values"], conv(reading, kernel, seed=6).state_dict()["values"])
    assert bytes(state["digest"].tolist()) == layer_digest(layer_of(reading))
    assert set(state) == {"values", "bias", "digest"}


@pytest.mark.parametrize("reading", ["channel", "weight"])
def test_initial_values_are_scaled_by_the_weights_that_reach_a_channel(reading):
    pixels = 25
    mask = np.zeros((400, 2), bool)
    mask[:100, 0] = mask[100:, 1] = True  # by channel 100 and 300 filters
    if reading == "weight":
        mask = mask.repeat(pixels, axis=0)
    module = SparseConv2d(Topology.from_dense([mask]).layer(0), 400, 5, generator=torch.Generator().manual_seed(0))
    values = module.state_dict()["values"]
    first, second = values[: 100 * pixels], values[100 * pixels :]
    assert first.std().item() == pytest.approx((2 / (100 * pixels)) ** 0.5, rel=0.1)
    assert second.std().item() == pytest.approx((2 / (300 * pixels)) ** 0.5, rel=0.1)
    assert module.weights == 400 * pixels == values.numel()


def test_it_prints_what_it_is():
    said = str(nn.Sequential(conv("channel", padding="same")))
    assert "SparseConv2d(6, 10, kernel_size=(3, 2), stride=(1, 1), padding='same', dilation=(1, 1), edges=" in said
    assert "by channel, bias=True, kernel=csr" in said


@pytest.mark.parametrize(
    ("channels", "out", "size", "density", "faster"),
    [
        (1, 32, 3, ".1", False),
        (3, 64, 3, ".1", False),
        (3, 64, 3, ".05", False),
        (16, 16, 3, ".1", False),
        (24, 144, 1, ".05", False),
        (64, 256, 1, ".05", False),
        (20, 50, 5, ".5", False),
        (20, 50, 5, ".05", True),  # conv2 of LeNet-5
        (64, 64, 3, ".5", False),
        (64, 64, 3, ".05", True),
        (128, 128, 3, ".5", False),
        (128, 128, 3, ".1", True),
        (64, 256, 5, ".5", False),
        (64, 256, 5, ".05", True),
        (256, 512, 3, ".5", False),
        (256, 512, 3, ".1", True),
        (512, 2048, 1, ".1", True),
    ],
)
@pytest.mark.parametrize("reading", ["channel", "weight"])
def test_auto_takes_patches_only_where_they_are_faster(channels, out, size, density, faster, reading):
    """Times of benchmarks/convolutions.py differ by more than half in each of these cases."""
    sources = channels * (size**2 if reading == "weight" else 1)
    net = tk.Bernoulli(widths=(sources, out), density=density, seed=0)
    assert (SparseConv2d(net.layer(0), channels, size).kernel != "masked") == faster


@pytest.mark.parametrize("density", [0.5, 0.05])
def test_auto_takes_no_patches_for_one_channel_of_each_group(density):
    mask = (np.random.default_rng(0).random((128 * 9, 128)) < density) & np.eye(128, dtype=bool).repeat(9, axis=0)
    layer = Topology.from_dense([mask]).layer(0)
    assert SparseConv2d(layer, 128, 3, groups=128).kernel == "masked"


def test_auto_depends_on_the_stride_as_strides_take_more_inputs_for_an_output():
    layer = tk.Bernoulli(widths=(64 * 9, 64), density=".1", seed=0).layer(0)
    costs = [Convolution(nn.Conv2d(64, 64, 3, stride=stride, device="meta")) for stride in (1, 2)]
    one, two = (work.cost(KERNELS["csr"], layer, tk.measures.structure.structure(layer), "cpu") for work in costs)
    assert one < two


@pytest.mark.parametrize("name", ["masked", "csr"])
def test_a_step_is_timed(monkeypatch, name):
    monkeypatch.setattr("topokit_train.layers.choice.SECONDS", 1e-6)
    work = convolution(CHANNELS, stride=(2, 1), dilation=(1, 2), padding=(2, 1))
    assert 0 < measured(work, layer_of("weight"), CPU, torch.float32, name) < 60


def test_tuned_is_remembered_for_this_convolution_alone(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("topokit_train.layers.choice._cache_folder", lambda: tmp_path)
    monkeypatch.setattr("topokit_train.layers.choice.measured", lambda *what: asked.append(what[-1]) or len(asked))
    first = conv("weight", "tuned")
    assert "of a 3x2 convolution, stride 1x1, dilation 1x1, of 32 images" in first.choice.reason
    count = len(asked)
    conv("weight", "tuned")
    assert len(asked) == count > 0
    conv("weight", "tuned", stride=2)
    choose(layer_of("weight"), CPU, torch.float64, "tuned")
    assert len(asked) > 2 * count


def test_patches_are_those_of_torch():
    x = torch.arange(2 * 3 * 6 * 7.0).reshape(2, 3, 6, 7)
    made = convolution(3, stride=(2, 1), dilation=(1, 3)).patches(x.permute(1, 2, 3, 0))
    wanted = functional.unfold(x, (3, 2), stride=(2, 1), dilation=(1, 3))
    assert torch.equal(made.reshape(wanted.shape[1], -1, 2), wanted.permute(1, 2, 0))


@pytest.mark.parametrize("kernel", ["csr", "block", "band"])
def test_second_derivatives_are_those_of_finite_differences(kernel, monkeypatch):
    monkeypatch.setattr(patches, "STRIP", 100)
    module = conv("channel", kernel, stride=2, padding=1, dilation=(2, 1))
    tensors = [torch.randn(2, CHANNELS, 4, 3, dtype=torch.float64).requires_grad_(), module.values, module.bias]
    output = lambda x, values, bias: module.convolution(x, values, bias, module._plan)  # noqa: E731
    assert torch.autograd.gradgradcheck(output, tensors, fast_mode=True)


WIDE = 12
KINDS = list(itertools.product((2, 3, 6), ("channel", "weight"), ("masked", "csr", "block")))


def mask_of(groups, reading, seed=0, density=0.6):
    """A random pattern within the groups, shape (sources, WIDE)."""
    sources = CHANNELS * (6 if reading == "weight" else 1)
    mask = np.random.default_rng(seed).random((sources, WIDE)) < density
    group = np.arange(sources)[:, None] * groups // sources == np.arange(WIDE) * groups // WIDE
    return mask & group


def grouped(groups, reading, kernel, seed=0, **options):
    layer = Topology.from_dense([mask_of(groups, reading, seed)]).layer(0)
    options = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(1)} | options
    return SparseConv2d(layer, CHANNELS, SIZE, groups=groups, kernel=kernel, **options)


def full_mask(groups, reading, seed=0):
    """That of nn.Conv2d's weight, shape (WIDE, CHANNELS / groups, rows, columns), entry by entry."""
    mask, each = mask_of(groups, reading, seed), CHANNELS // groups
    found = torch.zeros(WIDE, each, *SIZE, dtype=torch.bool)
    for target, channel, row, column in itertools.product(range(WIDE), range(each), range(3), range(2)):
        true_channel = target // (WIDE // groups) * each + channel
        source = true_channel if reading == "channel" else true_channel * 6 + row * 2 + column
        found[target, channel, row, column] = bool(mask[source, target])
    return found


@pytest.mark.parametrize(("groups", "reading", "kernel"), KINDS)
@pytest.mark.parametrize("geometry", [{"padding": 1}, {"stride": 2, "padding": "valid", "dilation": (1, 2)}], ids=str)
def test_values_and_gradients_are_those_of_torchs_groups(groups, reading, kernel, geometry):
    mask = full_mask(groups, reading)
    wanted = nn.Conv2d(CHANNELS, WIDE, SIZE, groups=groups, dtype=torch.float64, **geometry)
    with torch.no_grad():
        wanted.weight.mul_(mask)
    mine = grouped(groups, reading, kernel, **geometry)
    assert np.array_equal(mine.topology_layer().to_dense(), mask_of(groups, reading))
    state, theirs = mine.state_dict(), grouped(groups, reading, "csr", **geometry).state_dict()
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
        InvalidSpecError, match=f"groups must divide the 6 input channels and 12 output channels; it is {groups}"
    ):
        SparseConv2d(Topology.from_dense([mask_of(2, "channel")]).layer(0), CHANNELS, SIZE, groups=groups)


def test_a_kernel_is_chosen_and_timed_for_the_groups(monkeypatch):
    monkeypatch.setattr("topokit_train.layers.choice.SECONDS", 1e-6)
    work = Convolution(nn.Conv2d(CHANNELS, WIDE, SIZE, groups=3, device="meta"))
    assert ", groups 3, " in work.case
    assert "groups=3, edges=" in str(grouped(3, "channel", "csr"))
    layer = Topology.from_dense([mask_of(3, "weight")]).layer(0)
    assert measured(work, layer, CPU, torch.float32, "masked") > 0
    assert ", groups 3, " in choose(layer, CPU, torch.float32, "auto", work).reason
