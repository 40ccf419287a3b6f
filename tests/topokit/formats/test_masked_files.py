"""Masks on a file of weights: 0 off the edges, and every other byte as it was."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from topokit.errors import FileFormatError, InvalidSpecError, OutputExistsError, TopokitError
from topokit.families.bernoulli import Bernoulli
from topokit.formats import parameter_shapes, save, save_masked, save_masks, stored

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
    save_torch({"a": torch.tensor([[1.5, -0.1]]).bfloat16()}, tmp_path / "in")
    assert stored(tmp_path / "in").read("a").tolist() == torch.tensor([[1.5, -0.1]]).bfloat16().float().tolist()


def test_shapes_and_the_order_of_names(model):
    path, _ = model
    assert parameter_shapes(path, ["fc2.weight", "conv.weight"]) == [(3, 4), (4, 2, 3, 3)]
    assert [name for name in stored(path).shapes if name.endswith("weight")] == ["conv.weight", "fc10.weight"]
    names = list(stored(path).shapes)
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
    for name, said in [("net", "topokit .topology"), ("masks", "topokit .masks")]:
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
