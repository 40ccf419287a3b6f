"""The example of docs/extending.md is a family: registered as the page says, it is built, rebuilt and proved."""

import re
from pathlib import Path

import numpy as np

import topokit as tk
from topokit.families import FAMILIES
from topokit.recipes import from_recipe

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


def test_the_example_is_a_family(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "ring_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FAMILIES.places, "ring", "ring_of_the_docs:Ring")
    for nodes, layers in ((2, 1), (3, 2), (7, 3)):
        net = FAMILIES["ring"](nodes=nodes, layers=layers)
        assert tk.verify(net.build()).verdict.value == "holds"
        assert {*tk.verify(net.build()).required} == {"soundness", "regularity", "density"}
        assert tk.fingerprint(from_recipe(net.recipe)) == tk.fingerprint(net)
        for layer in net.stream():
            itself = np.eye(nodes, dtype=bool)
            assert np.array_equal(layer.to_dense(), itself | np.roll(itself, 1, axis=1))
