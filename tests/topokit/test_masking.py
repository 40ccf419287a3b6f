"""Masks are the layers' matrices, transposed; slots are filled by shape, in order."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit import csr
from topokit.errors import InvalidGraphError, InvalidSpecError, TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.masking import fill_all, fill_slots, from_masks, masks
from topokit.topologies import Topology, fingerprint

LENET = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}


def complete(*widths):
    return Topology.from_dense([np.ones((a, b)) for a, b in pairwise(widths)])


def test_a_mask_is_out_by_in():
    net = RadixNet(radices=[(2, 3), (3,)], kron=(2, 1, 3, 1))
    made = masks(net, ["a", "b", "c"])
    assert list(made) == ["a", "b", "c"]
    for mask, layer in zip(made.values(), net.stream(), strict=True):
        assert mask.dtype == bool
        assert mask.shape == layer.shape[::-1]
        for target, source in np.ndindex(mask.shape):
            start, end = layer.indptr[source], layer.indptr[source + 1]
            assert mask[target, source] == (target in layer.indices[int(start) : int(end)])


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_masks_and_back(data):
    widths = data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    net = Topology.from_dense([rng.random((a, b)) < 0.4 for a, b in pairwise(widths)])
    made = masks(net, [f"fc{i}.weight" for i in range(len(net))])
    for dtype in (bool, np.float32, np.int64, np.uint8):
        assert fingerprint(from_masks({name: mask.astype(dtype) for name, mask in made.items()})) == fingerprint(net)


def test_names_must_be_as_many_as_layers_and_differ():
    net = complete(2, 3, 2)
    with pytest.raises(InvalidSpecError, match="1 names for 2 layers"):
        masks(net, ["a"])
    with pytest.raises(InvalidSpecError, match="must differ"):
        masks(net, ["a", "a"])


def test_masks_that_do_not_fit_into_memory(monkeypatch):
    net = Topology.from_dense([np.eye(1000)])
    made = masks(net, ["a"])
    monkeypatch.setattr(csr.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    with pytest.raises(TooLargeError, match="masks"):
        masks(net, ["a"])
    with pytest.raises(TooLargeError, match="a topology of these masks"):
        from_masks(made)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no masks"),
        ({"a": np.ones(3)}, "must be"),
        ({"a": np.ones((0, 3))}, "must be"),
        ({"a": [[0, 2]]}, "0 and 1"),
        ({"a": [[0, np.nan]]}, "0 and 1"),
        ({"a": [["0", "1"]]}, "0 and 1"),
        ({"a": np.ones((1, 1), complex)}, "0 and 1"),
        ({"a": np.zeros((1, 1), [("x", "i4")])}, "0 and 1"),
        ({"a": np.ones((3, 2)), "b": np.ones((2, 2))}, "a has 3 outputs, but that of b has 2 inputs"),
    ],
)
def test_what_is_no_mask(given, said):
    with pytest.raises(InvalidGraphError, match=said):
        from_masks(given)


@pytest.mark.parametrize(
    ("widths", "slots", "filled"),
    [
        ((784, 300, 100), LENET, {"fc1.weight": 0, "fc2.weight": 1}),
        ((784, 300, 100, 10), LENET, {"fc1.weight": 0, "fc2.weight": 1, "fc3.weight": 2}),
        ((300, 100), LENET, {"fc2.weight": 0}),
        ((100, 10), LENET, {"fc3.weight": 0}),
        ((6, 6, 6), {"a": (6, 6), "b": (6, 6), "c": (6, 6)}, {"a": 0, "b": 1}),
        ((5, 6, 7), {"a": (6, 5), "b": (6, 6), "c": (7, 6)}, {"a": 0, "c": 1}),
    ],
)
def test_layers_take_the_slots_of_their_shape_in_order(widths, slots, filled):
    assert fill_slots(complete(*widths), slots) == filled


@pytest.mark.parametrize(
    ("widths", "layer", "advice"),
    [
        ((800, 300, 100), 0, "--crop 784,300,100 fits"),
        ((784, 300, 101), 1, "--crop 784,300,100 fits"),
        (
            (64, 300, 100),
            0,
            "it needs 784 inputs; `topokit fit --widths 784,300,100 --density 1` proposes such networks",
        ),
        ((784, 320, 100, 10), 0, "--crop 784,300,100,10 fits"),
        ((300, 200), 0, "--crop 300,100 fits"),
        ((100, 784), 0, "--crop 100,10 fits"),
        ((64, 64, 64), 0, "no crop of it fits: choose other widths, such as `topokit fit` proposes"),
        ((784, 300, 100, 10, 10), 3, "no crop of it fits: choose other widths, such as `topokit fit` proposes"),
        ((784, 784), 0, "--crop 784,300 fits"),
    ],
)
def test_a_layer_without_a_slot_says_which_crop_would_fit(widths, layer, advice):
    with pytest.raises(InvalidSpecError) as raised:
        fill_slots(complete(*widths), LENET)
    message = str(raised.value)
    assert f"layer {layer} joins {widths[layer]} to {widths[layer + 1]} nodes" in message
    assert "fc1.weight 784 to 300, fc2.weight 300 to 100, fc3.weight 100 to 10" in message
    assert message.endswith(advice)


def test_fit_is_not_asked_for_a_network_without_edges():
    with pytest.raises(InvalidSpecError, match=r"it needs 784 inputs$"):
        fill_slots(Topology.from_dense([np.zeros((64, 300)), np.zeros((300, 100))]), LENET)


def test_a_files_name_is_no_topology():
    with pytest.raises(InvalidSpecError, match="what is made masks of must be a topology, not str"):
        masks("net.safetensors", ["fc1.weight"])
    for nets in ("net.safetensors", ["net.safetensors"]):
        with pytest.raises(InvalidSpecError, match="a wiring must be a topology, not str"):
            fill_all(nets, LENET)


@pytest.mark.parametrize("given", ["masks.safetensors", complete(2, 2)])
def test_masks_are_a_dictionary(given):
    with pytest.raises(InvalidSpecError, match=r"masks must be a dictionary of arrays, as load_masks gives, not "):
        from_masks(given)


def test_a_topology_of_masks_knows_their_names():
    made = {"conv.weight": np.ones((3, 2, 5, 5)), "fc.weight": np.ones((4, 12))}
    assert from_masks(made).names == ("conv.weight", "fc.weight")


def test_a_crop_is_of_slots_that_follow_each_other():
    with pytest.raises(InvalidSpecError, match="no crop"):
        fill_slots(complete(9, 9, 9), {"a": (5, 4), "b": (3, 2)})
