"""The file of the weights that are left."""

import numpy as np
import pytest
from safetensors import safe_open

import topokit as tk
from topokit.formats import load_masks
from topokit_train.pruning.pruner import save_kept

DRAW = np.random.default_rng(3)


def masks(*shapes):
    return {f"part{k}.weight": DRAW.random(shape) < 0.4 for k, shape in enumerate(shapes)}


def kind(path):
    with safe_open(path, framework="numpy") as file:
        return file.metadata()["topokit.kind"]


def test_layers_that_chain_are_a_topology(tmp_path):
    kept = masks((5, 8), (3, 5))
    path = tmp_path / "topology-0.6.safetensors"
    path.write_text("of an earlier run")
    save_kept(kept, path)
    assert kind(path) == "topology"
    net = tk.load(path)
    assert net.widths == (8, 5, 3)
    for name, mask in tk.masks(net, list(kept)).items():
        np.testing.assert_array_equal(mask, kept[name])


@pytest.mark.parametrize(
    "shapes",
    [[(4, 2, 3, 3), (6, 4, 3, 3), (5, 24)], [(5, 8), (3, 4)], [(8, 1, 5, 5), (8, 8)]],
    ids=["lenet", "gap", "conv"],
)
def test_layers_that_do_not_chain_by_weight_are_masks(tmp_path, shapes):
    kept = masks(*shapes)
    save_kept(kept, tmp_path / "topology-0.6.safetensors")
    assert kind(tmp_path / "topology-0.6.safetensors") == "masks"
    back = load_masks(tmp_path / "topology-0.6.safetensors")
    assert list(back) == list(kept)
    assert all(np.array_equal(back[name], kept[name]) for name in kept)
