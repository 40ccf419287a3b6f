"""Masks are the layers' matrices, transposed."""

from itertools import pairwise

import numpy as np
import pytest

from topokit.errors import InvalidGraphError, InvalidSpecError, TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.masking import from_masks, masks
from topokit.topologies import Topology


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
    for dtype in (bool, np.float32, np.int64, np.uint8):
        back = from_masks({name: mask.astype(dtype) for name, mask in made.items()})
        assert (back, back.names) == (net, tuple(made))


def test_what_a_masked_array_masks_is_0():
    mask = np.array([[1, 0], [0, 1], [1, 1]])
    assert from_masks({"a": np.ma.masked_array(np.ones_like(mask), mask == 0)}) == from_masks({"a": mask})


def test_names_must_be_as_many_as_layers_and_differ():
    net = complete(2, 3, 2)
    with pytest.raises(InvalidSpecError, match=r"^1 name for 2 layers"):
        masks(net, ["a"])
    with pytest.raises(InvalidSpecError, match="must differ"):
        masks(net, ["a", "a"])


def test_masks_that_do_not_fit_into_memory(free_memory):
    net = Topology.from_dense([np.eye(1000)])
    made = masks(net, ["a"])
    free_memory(10_000)
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


@pytest.mark.parametrize("given", ["masks.safetensors", complete(2, 2)])
def test_masks_are_a_dictionary(given):
    with pytest.raises(InvalidSpecError, match=r"masks must be a dictionary of arrays, as load_masks gives, not "):
        from_masks(given)
