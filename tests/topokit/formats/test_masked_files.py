"""Masks on a file of weights: 0 off the edges, and every other byte as it was."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError, OutputExistsError, TopokitError
from topokit.families.bernoulli import Bernoulli
from topokit.formats import (
    TensorFile,
    load,
    load_all,
    load_masks,
    parameter_shapes,
    read_parameters,
    save,
    save_masked,
    save_masks,
)
from topokit.masking import Masks, Parameter, from_masks

RNG = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path):
    tensors = {
        "conv.weight": RNG.standard_normal((4, 2, 3, 3)).astype(np.float16),
        "fc10.weight": RNG.standard_normal((3, 5)),
        "fc2.weight_orig": RNG.standard_normal((3, 4)).astype(np.float32),
        "fc2.weight_mask": np.ones((3, 4), np.float32),
        "fc2.bias": np.ones(3, np.float32),
    }
    save_file(tensors, tmp_path / "model", {"format": "pt", "of": "somebody"})
    return tmp_path / "model", tensors


def test_only_the_masked_numbers_change(model, tmp_path):
    path, tensors = model
    masks = {name: RNG.random(tensors[name].shape) < 0.5 for name in ("conv.weight", "fc10.weight")}
    masks["fc2.weight"] = RNG.random((3, 4)) < 0.5
    kept = save_masked(path, masks, tmp_path / "out")
    assert kept == {name: int(mask.sum()) for name, mask in masks.items()}
    after = load_file(tmp_path / "out")
    for name, before in tensors.items():
        mask = masks.get(name.removesuffix("_orig").removesuffix("_mask"), np.ones(before.shape, bool))
        assert np.array_equal(after[name], np.where(mask, before, 0))
        assert after[name].dtype == before.dtype
    with safe_open(tmp_path / "out", "numpy") as file:
        assert file.metadata() == {"format": "pt", "of": "somebody"}
    all_of_them = save_masked(path, {name: np.ones_like(mask) for name, mask in masks.items()}, tmp_path / "same")
    assert (tmp_path / "same").read_bytes() == path.read_bytes()
    assert all_of_them["fc10.weight"] == 15


def test_a_weight_is_left_where_the_mask_and_the_files_own_one_keep_it(tmp_path):
    own = np.array([[1, 0, 1], [1, 1, 0]], np.float32)
    tensors = {"fc.weight_orig": np.ones((2, 3), np.float32), "fc.weight_mask": own}
    save_file(tensors, tmp_path / "model")
    mask = np.array([[1, 1, 0], [1, 0, 1]])
    assert save_masked(tmp_path / "model", {"fc.weight": mask}, tmp_path / "out") == {"fc.weight": 2}
    assert load_file(tmp_path / "out")["fc.weight_mask"].tolist() == [[1, 0, 0], [1, 0, 0]]
    save_file({**tensors, "fc.weight_mask": own.T.copy()}, tmp_path / "bad")
    with pytest.raises(FileFormatError, match=r"fc.weight_mask has the shape 3 x 2, but fc.weight has 2 x 3: they"):
        save_masked(tmp_path / "bad", {"fc.weight": mask}, tmp_path / "out", force=True)


def test_the_name_of_a_module_is_its_weights(model, tmp_path):
    path, tensors = model
    mask = RNG.random((3, 4)) < 0.5
    assert parameter_shapes(path, ["fc2", "conv"]) == [(3, 4), (4, 2, 3, 3)]
    assert save_masked(path, {"fc2": mask}, tmp_path / "out") == {"fc2.weight": int(mask.sum())}
    after = load_file(tmp_path / "out")
    assert np.array_equal(after["fc2.weight_orig"], np.where(mask, tensors["fc2.weight_orig"], 0))
    assert np.array_equal(after["fc2.weight_mask"], mask)
    for name in ("fc2.weight_mask", "fc2.weight_orig"):
        with pytest.raises(InvalidSpecError, match=f"{name} of .* belongs to the parameter fc2.weight: give that name"):
            save_masked(path, {name: mask}, tmp_path / "out", force=True)
    with pytest.raises(InvalidSpecError, match=r"two names mean fc2.weight of .*: give one mask for each"):
        save_masked(path, {"fc2": mask, "fc2.weight": mask}, tmp_path / "out", force=True)


def test_the_name_of_a_mask_is_not_its_parameters(tmp_path):
    with pytest.raises(InvalidSpecError, match=r"fc1.weight_mask is a mask's name: give its parameter's, fc1.weight$"):
        save_masks({"fc1.weight_mask": np.ones((2, 2))}, tmp_path / "masks")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".txt"])
def test_safetensors_have_no_other_suffix(model, tmp_path, suffix):
    masks, out = {"fc10.weight": np.ones((3, 5))}, tmp_path / f"out{suffix}"
    for write in (lambda: save_masks(masks, out), lambda: save_masked(model[0], masks, out)):
        with pytest.raises(InvalidSpecError, match=rf"a safetensors file does not end in \{suffix}: end it in .safe"):
            write()
    assert not out.exists()


def test_masks_of_biases_are_passed_over_in_files_of_others(tmp_path):
    weight = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    tensors = {"fc.weight_mask": weight, "fc.bias_mask": np.ones(3, np.float32)}
    save_file(tensors, tmp_path / "model")
    assert [*load_masks(tmp_path / "model")] == ["fc.weight"]
    assert load(tmp_path / "model").edges == load_all(tmp_path / "model")[0].edges == 4
    save_file(tensors | {"conv.weight_mask": np.ones((1,) * 6, np.float32)}, tmp_path / "model")
    with pytest.raises(FileFormatError, match=r"the mask of conv.weight is F32 of shape \[1, 1, 1, 1, 1, 1\]"):
        load_masks(tmp_path / "model")
    about = {"topokit.kind": "masks", "topokit.schema": "1", "names": '["fc.weight", "fc.bias"]'}
    save_file(tensors, tmp_path / "ours", about)
    with pytest.raises(FileFormatError, match=r"the mask of fc.bias is F32 of shape \[3\]"):
        load_masks(tmp_path / "ours")


PARAMETERS = {  # shape in the model, layout, groups -> place of a weight: output, input
    "transposed": ((4, 3, 2, 2), "in-out", 1, lambda i: (i[1], i[0])),
    "transposed in groups": ((4, 3, 2, 2), "in-out", 2, lambda i: (i[0] // 2 * 3 + i[1], i[0])),
    "in groups": ((6, 2, 3), "out-in", 3, lambda i: (i[0], i[0] // 2 * 2 + i[1])),
    "of Flax": ((2, 2, 3, 4), "last", 1, lambda i: (i[3], i[2])),
    "of Flax in groups": ((2, 3, 4), "last", 2, lambda i: (i[2], i[2] // 2 * 3 + i[1])),
    "of a matrix": ((4, 3), "in-out", 1, lambda i: (i[1], i[0])),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_masks_have_the_shape_that_the_model_stores(tmp_path, name):
    shape, layout, groups, place = PARAMETERS[name]
    mask = RNG.random(shape) < 0.3
    mask.ravel()[[0, -1]] = True
    stored = Parameter.of(shape, layout, groups)
    assert stored.stored == shape
    save_masks(Masks({"up": mask}, {"up": stored, "not saved": stored}), tmp_path / "masks")
    assert np.array_equal(load_masks(tmp_path / "masks")["up"], mask)
    assert read_parameters(tmp_path / "masks") == load_masks(tmp_path / "masks").parameters == {"up": stored}
    net = load(tmp_path / "masks")
    assert net == from_masks(load_masks(tmp_path / "masks")) == from_masks(net.masks())
    save_masks(net.masks(), tmp_path / "again")
    assert load(tmp_path / "again") == net
    with pytest.raises(InvalidGraphError, match="the mask of up has the shape 2 x 2, but its parameter has"):
        from_masks(Masks({"up": np.eye(2)}, {"up": stored}))
    expected = {place(at) for at in zip(*mask.nonzero(), strict=True)}
    assert {(target, source) for source, target in zip(net[0].sources, net[0].targets, strict=True)} == expected
    assert net.widths == (stored.shape[1] * groups, stored.shape[0])
    filters = tuple(range(2, 2 + len(stored.shape[2:])))
    kept = stored.whole(mask).any(axis=filters, keepdims=True) & stored.whole(np.ones(shape, bool))
    assert np.array_equal(stored.whole(net.masks()["up"]), kept)  # by channel: whole filters
    (by_weight,) = load_all(tmp_path / "masks")
    assert np.array_equal(by_weight.masks()["up"], mask)


@pytest.mark.parametrize(
    "stored",
    [
        [],
        None,
        0,
        {"other": {"layout": "last", "groups": 1}},
        {"up": {"layout": "first", "groups": 1}},
        {"up": {"layout": ["last"], "groups": 1}},
        {"up": {"layout": "in-out", "groups": 0}},
        {"up": {"layout": "in-out", "groups": True}},
        {"up": {"layout": "in-out"}},
        {"up": {"layout": "in-out", "groups": 3}},
        {"up": {"layout": "last", "groups": 2}},
    ],
)
def test_damaged_records_of_parameters(tmp_path, stored):
    about = {"topokit.kind": "masks", "topokit.schema": "1", "names": '["up"]', "stored": json.dumps(stored)}
    save_file({"up_mask": np.ones((4, 3), bool)}, tmp_path / "masks", about)
    for read in (load, load_all, read_parameters):
        with pytest.raises(FileFormatError, match=r"stored must be a JSON object|does not fit its layout or groups"):
            read(tmp_path / "masks")


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 2, 1, 5)])  # of a Conv1d and a Conv3d
def test_masks_of_convolutions_of_one_and_three_dimensions(tmp_path, shape):
    mask = np.arange(np.prod(shape)).reshape(shape) % 3 == 0
    mask[2, 1] = False  # a filter without a weight
    save_masks({"conv.weight": mask, "fc.weight": np.ones((2, 8))}, tmp_path / "masks")
    assert np.array_equal(load_masks(tmp_path / "masks")["conv.weight"], mask)
    net = load(tmp_path / "masks")
    assert (net.widths, net.by_channel) == ((3, 4, 2), True)  # fc reads two features of each channel
    assert np.array_equal(net.layer(0).to_dense().T, mask.reshape(4, 3, -1).any(axis=2))
    first, second = load_all(tmp_path / "masks")
    assert np.array_equal(first.layer(0).to_dense().T, mask.reshape(4, -1))
    assert second.widths == (8, 2)
    weights = np.random.default_rng(0).random(shape, np.float32) + 1
    save_file({"conv.weight": weights}, tmp_path / "model")
    assert save_masked(tmp_path / "model", {"conv": mask}, tmp_path / "masked") == {"conv.weight": mask.sum()}
    assert np.array_equal(load_file(tmp_path / "masked")["conv.weight"], np.where(mask, weights, 0))


def test_types_that_numpy_lacks(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    mask = RNG.random((6, 7)) < 0.5
    for dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.complex64):
        weight = torch.randn(6, 7).to(dtype)
        save_torch({"a.weight": weight, "b": torch.ones(3)}, tmp_path / "in")
        save_masked(tmp_path / "in", {"a.weight": mask}, tmp_path / "out", force=True)
        wide = torch.complex64 if dtype == torch.complex64 else torch.float32
        assert torch.equal(load_torch(tmp_path / "out")["a.weight"].to(wide), weight.to(wide) * torch.from_numpy(mask))
    save_torch({"a.weight": torch.ones(6, 7).to(torch.float8_e8m0fnu)}, tmp_path / "in")
    with pytest.raises(InvalidSpecError, match=r"a.weight in .* has the type F8_E8M0, which has no 0"):
        save_masked(tmp_path / "in", {"a.weight": mask}, tmp_path / "out", force=True)
    save_torch({"a": torch.tensor([[1.5, -0.1]]).bfloat16()}, tmp_path / "in")
    assert TensorFile(tmp_path / "in").read("a").tolist() == torch.tensor([[1.5, -0.1]]).bfloat16().float().tolist()


def test_shapes_and_the_order_of_names(model):
    path, _ = model
    assert parameter_shapes(path, ["fc2.weight", "conv.weight"]) == [(3, 4), (4, 2, 3, 3)]
    assert [name for name in TensorFile(path).shapes if name.endswith("weight")] == ["conv.weight", "fc10.weight"]
    names = list(TensorFile(path).shapes)
    assert names.index("fc2.weight_orig") < names.index("fc10.weight")


def test_what_is_refused_writes_nothing(model, tmp_path):
    path, _ = model
    out, mask = tmp_path / "out", {"fc10.weight": np.ones((3, 5))}
    for masks, said in [
        ({"fc9.weight": np.ones((3, 5))}, r"no parameter named fc9.weight: it has conv.weight, .*fc10.weight"),
        ({"fc10.weight": np.ones((5, 3))}, "shape 5 x 3, but fc10.weight in .* has 3 x 5"),
        ({"conv.weight": np.ones((4, 2))}, "shape 4 x 2, but conv.weight in .* has 4 x 2 x 3 x 3"),
    ]:
        with pytest.raises(InvalidSpecError, match=said):
            save_masked(path, masks, out)
    save(Bernoulli(widths=(3, 3), density=".5", seed=1), tmp_path / "net")
    save_masks(mask, tmp_path / "masks")
    for name, said in [("net", "not a state dict but a topokit topology"), ("masks", "but a topokit masks file")]:
        with pytest.raises(FileFormatError, match=said):
            save_masked(tmp_path / name, mask, out)
    with pytest.raises(TopokitError, match="cannot read"):
        save_masked(tmp_path / "missing", mask, out)
    (tmp_path / "short").write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="damaged"):
        save_masked(tmp_path / "short", mask, out)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        save_masked(path, mask, path)
    assert path.read_bytes() == before
    assert not out.exists()
    mask["fc10.weight"][0] = 0
    save_masked(path, mask, path, force=True)
    assert not load_file(path)["fc10.weight"][0].any()
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".topokit")]


@pytest.mark.parametrize(("dtype", "points"), [(np.uint8, [131]), (np.int8, [[-3], [5]])])
def test_quantised_weights_get_their_zero_points(tmp_path, dtype, points):
    weight = np.array([[131, 7, 131], [9, 3, 131]], np.int64).astype(dtype)
    points = np.array(points, dtype)
    mask = np.array([[1, 0, 1], [0, 1, 1]])
    others = {"fc.bias": np.ones(2, np.float32), "fc.weight_scale": np.ones(1, np.float32)}
    save_file({"fc.weight": weight, "fc.weight_zero_point": points, **others}, tmp_path / "model.safetensors")
    save_masked(tmp_path / "model.safetensors", {"fc.weight": mask}, tmp_path / "masked.safetensors")
    written = load_file(tmp_path / "masked.safetensors")
    assert np.array_equal(written["fc.weight"], np.where(mask, weight, np.broadcast_to(points, weight.shape)))
    assert all(np.array_equal(written[name], value) for name, value in others.items())


def test_packed_weights_are_refused(tmp_path):
    save_file({"fc.weight": np.ones((40, 1), np.uint8), "fc.weight.absmax": np.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InvalidSpecError, match=r"fc.weight in .*: packed or compressed weights"):
        save_masked(tmp_path / "model.safetensors", {"fc.weight": np.ones((40, 1))}, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
