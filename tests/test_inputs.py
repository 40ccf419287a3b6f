"""One topology or its name wherever a topology is taken, and one name wherever several are."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import topokit as tk
from topokit.challenge import infer
from topokit.errors import FileFormatError, InvalidSpecError
from topokit.layer import Layer
from topokit.placement.filling import fill
from topokit.placement.weights import Weight
from topokit.topologies import Topology

TEXT = "radix-net radices=2,3 kron=1,2,1"
NET = tk.topology(TEXT)
IMAGES: Layer = Topology.from_dense([np.ones((3, 6), bool)])[0]

TAKE = {
    "verify": lambda net: tk.verify(net).verdict,
    "profile": lambda net: tk.profile(net, "paths").measures,
    "compare": lambda net: tk.compare(net, twins=2, kind="bernoulli").comparisons,
    "masks": lambda net: {name: mask.tolist() for name, mask in tk.masks(net).items()},
    "fingerprint": tk.fingerprint,
    "density": tk.density,
    "degrees": lambda net: [one.constant for one in tk.degrees(net)],
    "path_counts": lambda net: tk.path_counts(net).tolist(),
    "to_networkx": lambda net: sorted(tk.to_networkx(net).edges),
    "describe": lambda net: tk.topology(tk.describe(net)),
    "crop": lambda net: tk.crop(net, (4, 4, 4)),
    "kron": lambda net: tk.kron(net, (1, 2, 1)),
    "concatenate": lambda net: tk.concatenate(net, net),
    "permute": lambda net: tk.permute(net, 0),
    "reverse": tk.reverse,
    "like": lambda net: tk.Regular(like=net, seed=0),
    "draw": lambda net: [text.get_text() for text in tk.draw(net).texts],
    "infer": lambda net: infer(net, IMAGES, -0.01).categories.tolist(),
    "fill": lambda net: list(fill(net, {"fc1": Weight((12, 6)), "fc2": Weight((6, 12))})),
}


@pytest.mark.parametrize("name", TAKE)
def test_a_description_and_a_file_are_taken_for_a_topology(name, tmp_path):
    NET.save(tmp_path / "net.safetensors")
    expected = TAKE[name](NET)
    for given in (TEXT, str(tmp_path / "net.safetensors"), tmp_path / "net.safetensors"):
        if name != "draw":  # whose heading names the file
            assert TAKE[name](given) == expected
    assert TAKE[name](tmp_path / "net.safetensors")
    for wrong in (None, 3, np.ones((2, 3)), {"fc1": NET}, object()):
        if name not in ("fill", "describe") or not isinstance(wrong, dict):
            with pytest.raises(InvalidSpecError, match="must be a topology, not"):
                TAKE[name](wrong)


def test_save_takes_a_description(tmp_path):
    assert tk.save(TEXT, tmp_path / "net.npz") == tk.fingerprint(NET)


def test_one_name_stands_for_a_list_of_it():
    assert [one.check for one in tk.verify(NET, "density").results] == ["density"]
    assert tk.verify(NET, require="density").required == {"density"}
    assert list(tk.profile(NET, "paths").measures) == ["paths"]
    one = tk.Bernoulli(widths=(4, 3), density=0.5, seed=0)
    assert list(tk.masks(one, "fc1.weight")) == ["fc1.weight"]
    weights = {"fc1.weight": np.ones((3, 4)), "fc2.weight": np.ones((2, 3))}
    assert tk.extract(weights, layers="fc2").names == ("fc2.weight",)
    assert list(fill(one, {"a": Weight((3, 4)), "b": Weight((3, 4))}, "b")) == ["b"]
    assert tk.Topology(one, names="fc1").names == ("fc1",)


@pytest.mark.parametrize("call", [lambda: tk.verify(NET, 3), lambda: tk.profile(NET, [None])])
def test_what_is_no_name_is_refused(call):
    with pytest.raises(InvalidSpecError, match="names must be a name or several, not"):
        call()


def test_a_runs_folder_stands_for_its_topology(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    NET.save(run / "checkpoint.safetensors")
    assert tk.load(run) == NET == tk.topology(str(run))
    tk.reverse(NET).save(run / "topology-0.5.safetensors")  # as a pruning run does, whose checkpoint is dense
    assert tk.load(run) == tk.reverse(NET)
    shutil.copy(run / "checkpoint.safetensors", run / "topology-0.9.safetensors")
    with pytest.raises(FileFormatError, match=r"topology-0\.5\.safetensors, topology-0\.9\.safetensors"):
        tk.load(run)
    seeds = tmp_path / "seeds"
    for seed in (0, 1):
        (seeds / f"seed{seed}").mkdir(parents=True)
        NET.save(seeds / f"seed{seed}" / "checkpoint.safetensors")
    with pytest.raises(FileFormatError, match=str(Path("seed0/checkpoint.safetensors, seed1"))):
        tk.verify(seeds)


def test_a_recipe_in_a_file_names_no_other_file(tmp_path):
    NET.save(tmp_path / "net.safetensors")
    for recipe in ("concatenate", "reverse"):
        with pytest.raises(InvalidSpecError, match="a recipe must be a JSON object"):
            tk.from_recipe({"transform": recipe, "options": {"of": str(tmp_path / "net.safetensors")}})
