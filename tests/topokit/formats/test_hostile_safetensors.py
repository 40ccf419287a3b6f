"""Safetensors files made by hand to be wrong in one way each: the message says which."""

import json

import numpy as np
import pytest
from safetensors.numpy import save as serialize

from topokit.families.radix_net import RadixNet
from topokit.formats import as_tensors, load
from topokit.layered import Promises

NET = RadixNet(radices=[(2, 2)], kron=(1, 2, 1))
TENSORS, METADATA = as_tensors(NET)
METADATA["topokit.kind"] = "topology"


def canonical(tensors=None, **metadata):
    """The bytes of NET's file with other tensors or metadata; None takes an entry out."""
    changed = {**METADATA, **metadata}
    return serialize(
        {name: values for name, values in {**TENSORS, **(tensors or {})}.items() if values is not None},
        {key: value for key, value in changed.items() if value is not None},
    )


def with_header(change):
    """NET's file with its header's JSON changed."""
    content = canonical()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


def u32(*values):
    return np.array(values, np.uint32)


def u64(*values):
    return np.array(values, np.uint64)


def test_the_file_that_the_others_are_made_of_is_fine(path):
    path.write_bytes(with_header(dict.copy))
    assert load(path).promises == NET.promises


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"layer.0.indices": u32(0, 2, 4, 6, 1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 8)}, "node 8; targets are 0 to 7"),
        ({"layer.0.indices": u32(0, 2, 4, 4, 1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)}, "target 4 twice"),
        ({"layer.0.indices": u32(2, 0, 4, 6, 1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)}, "target 0 out of order"),
        ({"layer.0.indptr": u64(0, 8, 4, 12, 16)}, "indptr decreases"),
        ({"layer.0.indptr": u64(0, 4, 8, 12, 17)}, "ends at 17"),
        ({"layer.0.indptr": u64(0, 4, 8, 12, 2**64 - 1)}, "ends at 18446744073709551615"),
        ({"layer.0.indptr": u64(1, 4, 8, 12, 16)}, "starts at 1"),
        ({"layer.0.indptr": u64(0, 4, 8, 16)}, "indptr has 4 entries; 4 sources need 5"),
        ({"layer.0.indptr": np.array([0, 4, 8, 12, 16.0])}, "is F64"),
        ({"layer.0.indptr": np.array([0, 4, 8, 12, 16])}, "is I64"),
        ({"layer.0.indices": TENSORS["layer.0.indices"].astype(np.uint64)}, "must be U32"),
        ({"layer.0.indices": TENSORS["layer.0.indices"].reshape(4, 4)}, "one-dimensional"),
        ({"layer.1.indices": None}, "lacks tensor 'layer.1.indices'"),
        ({"layer.2.indices": u32()}, "holds more than a topology: tensor 'layer.2.indices'"),
        ({"weights": u32()}, "holds more than a topology: tensor 'weights'"),
    ],
)
def test_tensors_that_are_no_graph(path, tensors, said, refusal):
    assert said in refusal(path, canonical(tensors))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"widths": "[4, 8]"}, "holds more than a topology"),
        ({"widths": "[4, 8, 4, 2]"}, "lacks tensor 'layer.2.indices'"),
        ({"widths": "[4, 9, 4]"}, "9 sources need 10"),
        ({"widths": "[4, 8, 3]"}, "targets are 0 to 2"),
        ({"widths": str([1] * 1000)}, "1,000 widths, but only 4 tensors"),
        ({"widths": "[4, 8, 4294967296]"}, "JSON list"),
        ({"widths": "[4, 8, 0]"}, "JSON list"),
        ({"widths": "[4, 8.0, 4]"}, "JSON list"),
        ({"widths": "[true, 8, 4]"}, "JSON list"),
        ({"widths": "4"}, "JSON list"),
        ({"widths": "[" * 100_000}, "JSON list"),
        ({"widths": f"[{'9' * 5000}, 8]"}, "JSON list"),
        ({"widths": None}, "JSON list"),
        ({"topokit.schema": "2"}, "update topokit"),
        ({"topokit.schema": "0"}, "has schema 0"),
        ({"topokit.schema": "one"}, "instead of a version number"),
        ({"topokit.schema": "²"}, "instead of a version number"),
        ({"topokit.schema": None}, "instead of a version number"),
        ({"topokit.kind": None}, "neither a topology"),
        ({"topokit.kind": "picture"}, "neither a topology"),
        ({"fingerprint": None}, "64 hexadecimal digits"),
        ({"fingerprint": "A" * 64}, "64 hexadecimal digits"),
        ({"fingerprint": "0" * 63}, "64 hexadecimal digits"),
        ({"recipe": "[]"}, "must be a JSON object"),
        ({"recipe": "{"}, "damaged"),
        ({"recipe": "[" * 100_000}, "damaged"),
    ],
)
def test_metadata_is_not_trusted(path, metadata, said, refusal):
    assert said in refusal(path, canonical(**metadata))


@pytest.mark.parametrize(
    "content",
    [
        canonical()[:-1],
        canonical()[:100],
        canonical() + b"\0",
        b"\xff" * 7 + b"\x7f" + canonical()[8:],
        (2**40).to_bytes(8, "little") + canonical()[8:],
        with_header(lambda header: header["layer.0.indptr"].update(data_offsets=[0, 48])),
        with_header(lambda header: header["layer.0.indices"].update(data_offsets=[0, 64])),
        with_header(lambda header: header["layer.0.indices"].update(shape=[2**62, 2**62])),
        with_header(lambda header: header["layer.0.indices"].update(shape=[-1])),
        with_header(lambda header: header["layer.0.indices"].update(dtype="F4")),
    ],
    ids=range(10),  # the bytes themselves are not in the same order every time
)
def test_a_header_that_lies_is_refused(path, content, refusal):
    assert "damaged" in refusal(path, content)


@pytest.mark.parametrize(
    "recipe",
    [
        {"family": "radix-net", "options": {"radices": [[2, 3]], "kron": [1, 2, 1]}},
        {"family": "radix-net", "options": {"radices": [[1]]}},
        {"family": "of-a-later-release", "options": {}},
        {},
    ],
)
def test_the_recipe_of_another_network_promises_nothing(path, recipe):
    path.write_bytes(canonical(recipe=json.dumps(recipe)))
    back = load(path)
    assert back.recipe == recipe
    assert back.promises == Promises()


@pytest.mark.parametrize("family", ["regular", "crop", "bernoulli"])
def test_no_layer_of_a_recipe_is_made(family, path, monkeypatch):
    huge = {"family": "radix-net", "options": {"radices": [[4_000_000]], "kron": [1, 2, 1]}}
    recipe = {
        "regular": {"family": "regular", "options": {"like": NET.recipe, "seed": 1}},
        "crop": {"transform": "crop", "options": {"of": huge, "widths": [4, 8, 4]}},
        "bernoulli": {"family": "bernoulli", "options": {"widths": [4, 8, 4], "density": [0.5], "seed": 1}},
    }[family]
    path.write_bytes(canonical(recipe=json.dumps(recipe)))
    monkeypatch.setattr("topokit.csr.Buffers.take", lambda *_: pytest.fail("a layer was made"))
    assert load(path).recipe == recipe


def test_a_checkpoint_without_a_topology(path, refusal):
    metadata = {"topokit.kind": "checkpoint", "topokit.schema": "1"}
    assert "neither a topology" in refusal(path, serialize({"fc1.weight": np.ones(3)}, metadata))


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"a_mask": np.array([[0.5, 1]])}, "values other than 0 and 1"),
        ({"a_mask": np.array([[np.nan, 1]], np.float32)}, "values other than 0 and 1"),
        ({"a_mask": np.array([[-1, 1]])}, "values other than 0 and 1"),
        ({"a_mask": np.ones(3, bool)}, "must be (out, in)"),
        ({"a_mask": np.ones((2, 3, 1, 1, 1, 1), bool)}, "must be (out, in), or (out, in, ...) of a convolution"),
        ({"a_mask": np.ones((2, 3, 0, 3), bool)}, "must be (out, in)"),
        ({"a_mask": np.full((2, 3, 1, 1), 2)}, "values other than 0 and 1"),
        ({"a_mask": np.ones((2, 3, 5, 5), bool), "b_mask": np.ones((4, 9), bool)}, "that of b has 9 inputs"),
        ({"a_mask": np.ones((0, 3), bool)}, "must be (out, in)"),
        ({"a_mask": np.ones((3, 2), bool), "b_mask": np.ones((2, 2), bool)}, "a has 3 outputs, but that of b has 2"),
        ({"a_mask": np.ones((1, 2), np.complex64)}, "must be (out, in)"),
    ],
)
def test_masks_that_are_no_chain_of_zeros_and_ones(path, masks, said, refusal):
    assert said in refusal(path, serialize(masks))


@pytest.mark.parametrize("names", ['["a"]', '["a", "a"]', '["a", "c"]', '"ab"', "[1, 2]", "{", None])
def test_names_must_be_those_of_the_masks(path, names, refusal):
    metadata = {"topokit.kind": "masks", "topokit.schema": "1", **({"names": names} if names else {})}
    refusal(path, serialize({"a_mask": np.ones((2, 2)), "b_mask": np.ones((2, 2))}, metadata))


def test_masks_of_a_later_release(path, refusal):
    metadata = {"topokit.kind": "masks", "topokit.schema": "2", "names": '["a"]'}
    assert "update topokit" in refusal(path, serialize({"a_mask": np.ones((2, 2))}, metadata))
