"""Convolutions are layers in two ways, checked weight by weight with torch's own unfold and flatten."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.convolutions import as_matrices, break_in, readings, sources_after
from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError
from topokit.formats import load, load_masks, save_masks
from topokit.masking import from_masks, masks
from topokit.topologies import Topology, fingerprint

LENET_5 = {
    "conv1.weight": (20, 1, 5, 5),
    "conv2.weight": (50, 20, 5, 5),
    "fc1.weight": (384, 2450),
    "fc2.weight": (10, 384),
}


def drawn(shapes, density=0.02, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < density for name, shape in shapes.items()}


def test_a_lenet_5_chains_by_channel_and_an_edge_is_any_weight():
    made = drawn(LENET_5)
    net = from_masks(made)
    assert net.widths == (1, 20, 50, 384, 10)
    assert net.by_channel
    conv2, fc1 = (net.layer(i).to_dense() for i in (1, 2))
    for source, target in [(0, 0), (3, 7), (19, 49)]:
        assert conv2[source, target] == any(made["conv2.weight"][target, source].ravel())
    for channel in range(50):  # the flattened features of a channel are 49 pixels side by side
        features = range(channel * 49, channel * 49 + 49)
        assert conv2.shape == (20, 50)
        assert fc1[channel, 5] == any(made["fc1.weight"][5, feature] for feature in features)
    assert 0 < conv2.sum() < conv2.size
    assert 0 < fc1.sum() < fc1.size


def test_by_weight_the_sources_have_the_order_of_unfold():
    torch = pytest.importorskip("torch")
    made = drawn({"conv": (3, 2, 3, 3)}, 0.4)
    net = from_masks(made, "weight")
    assert net.widths == (18, 3)
    assert not net.by_channel
    image = torch.randn(1, 2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.from_numpy(made["conv"]).double()
    edges = torch.from_numpy(net.layer(0).to_dense()).double()
    patches = torch.nn.functional.unfold(image, 3)
    torch.testing.assert_close((edges.T @ patches[0]).view(3, 5, 5), torch.nn.functional.conv2d(image, weight)[0])


@pytest.mark.parametrize(
    ("before", "shape", "conv", "sources"),
    [
        (None, (20, 1, 5, 5), "channel", 1),
        (None, (20, 1, 5, 5), "weight", 25),
        ((20, 1, 5, 5), (50, 20, 5, 5), "channel", 20),
        ((20, 1, 5, 5), (50, 20, 5, 5), "weight", None),
        ((50, 20, 5, 5), (384, 2450), "channel", 50),
        ((50, 20, 5, 5), (384, 2450), "weight", None),
        ((50, 20, 5, 5), (384, 2451), "channel", None),
        ((50, 20, 5, 5), (384, 50), "weight", 50),
        ((100, 50), (10, 200), "channel", None),  # only a convolution's outputs are flattened
        ((100, 50), (10, 100, 1, 1), "channel", 100),
        ((10, 500), (50, 20, 5, 5), "channel", None),
    ],
)
def test_what_may_follow_what(before, shape, conv, sources):
    assert sources_after(before, shape, conv) == sources
    assert break_in([before, shape] if before else [shape], conv) == (1 if sources is None else None)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_layer_put_into_a_parameter_and_read_again_is_the_layer(data):
    """By channel, by weight, and by the channels of flattened features, for networks of any such shapes."""
    small = st.integers(1, 4)
    into, hidden, rows, columns, pixels, out = (data.draw(small) for _ in range(6))
    conv = data.draw(st.sampled_from(["channel", "weight"]))
    shapes = [(hidden, into, rows, columns), (out, hidden * (pixels if conv == "channel" else 1))]
    widths = (into * (rows * columns if conv == "weight" else 1), hidden, out)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    net = Topology.from_dense([rng.random(shape) < 0.5 for shape in pairwise(widths)])
    made = masks(net, ["conv", "fc"], shapes)
    assert [mask.shape for mask in made.values()] == shapes
    assert fingerprint(from_masks(made, conv)) == fingerprint(net)
    share = [math.prod(shape[1:]) // (widths[i]) for i, shape in enumerate(shapes)]
    assert [int(mask.sum()) for mask in made.values()] == [n * k for n, k in zip(net.layer_edges, share, strict=True)]


def test_a_layer_that_does_not_fit_a_parameter():
    net = Topology.from_dense([np.eye(4), np.ones((4, 2))])
    with pytest.raises(InvalidSpecError, match=r"layer 1 is 4 -> 2, and fc.weight has the shape 2 x 9"):
        masks(net, ["conv.weight", "fc.weight"], [(4, 4, 3, 3), (2, 9)])
    with pytest.raises(InvalidSpecError, match=r"layer 0 .* has the shape 4 x 5 x 3 x 3"):
        masks(net, ["conv.weight", "fc.weight"], [(4, 5, 3, 3), (2, 4)])
    with pytest.raises(InvalidSpecError, match="1 shape for 2 names"):
        masks(net, ["a", "b"], [(4, 4)])
    assert (4, 2) not in readings((2, 8))  # there is no convolution before it
    assert (4, 2) in readings((2, 8), before=(4, 1, 3, 3))


def test_there_are_two_readings():
    with pytest.raises(InvalidSpecError, match="by channel or by weight, not by filter"):
        as_matrices({"a": np.ones((1, 1), bool)}, "filter")


def test_a_file_keeps_masks_of_convolutions_whether_they_chain_or_not(tmp_path):
    made = drawn(LENET_5)
    save_masks(made, tmp_path / "masks")
    back = load_masks(tmp_path / "masks")
    assert list(back) == list(made)
    assert all(np.array_equal(back[name], made[name]) for name in made)
    assert fingerprint(load(tmp_path / "masks")) == fingerprint(from_masks(made))
    with pytest.raises(
        InvalidGraphError, match=r"conv1.weight has 20 outputs, but that of conv2.weight has 500 inputs"
    ):
        from_masks(back, "weight")

    apart = {"a": np.eye(2, dtype=bool), "b": np.eye(3, dtype=bool)}
    save_masks(apart, tmp_path / "apart")
    assert list(load_masks(tmp_path / "apart")) == ["a", "b"]
    with pytest.raises(FileFormatError, match="a has 2 outputs, but that of b has 3 inputs"):
        load(tmp_path / "apart")


def test_masks_are_read_out_of_a_state_dict_and_nothing_else_is(tmp_path):
    from safetensors.numpy import save_file

    pair = {"fc.weight_orig": np.zeros((2, 3)), "fc.weight_mask": np.ones((2, 3))}
    save_file(pair, tmp_path / "state")
    assert load_masks(tmp_path / "state")["fc.weight"].dtype == bool
    save_file({"fc.weight": np.zeros((2, 3))}, tmp_path / "state")
    with pytest.raises(FileFormatError, match="holds no masks"):
        load_masks(tmp_path / "state")
    save_file({"fc.weight_mask": np.full((2, 3), 0.5)}, tmp_path / "state")
    with pytest.raises(FileFormatError, match="values other than 0 and 1"):
        load_masks(tmp_path / "state")
    (tmp_path / "state").write_bytes(b"nonsense")
    with pytest.raises(FileFormatError, match="state is damaged"):
        load_masks(tmp_path / "state")
