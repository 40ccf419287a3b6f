"""What holds for everything in a registry, the next entry included."""

import re
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

import topokit as tk
from topokit.edges import validate
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.formats import FORMATS
from topokit.recipes import from_recipe
from topokit.reprs import SCREEN
from topokit.transforms import TRANSFORMS, concatenate, crop, kron, permute, reverse

RADIX = tk.RadixNet(radices=[(2, 3), (3, 2)], kron=(1, 2, 1, 3, 2))
FILE_NAMES = {"safetensors": "net.safetensors", "npz": "net.npz", "graphml": "net.graphml"}

EXAMPLES = {
    "radix-net": [
        *(RADIX, tk.RadixNet(radices=[(4, 3), (6,)], direction=-1), tk.RadixNet(radices=[(5,)])),
        tk.RadixNet(radices=[(2, 3)], kron=(4, 6, 3), diagonals=(1, 3)),
        tk.RadixNet(radices=[(2, 3)], kron=(4, 8, 4), diagonals=(1, 2)),
    ],
    "butterfly": [tk.Butterfly(nodes=2), tk.Butterfly(nodes=16)],
    "graph-challenge": [tk.GraphChallenge(neurons=1024, layers=layers) for layers in (1, 2)],
    "regular": [
        tk.Regular(like=RADIX, seed=1),
        tk.Regular(like=tk.Bernoulli(widths=(9, 5, 7), density=".4", seed=2), seed=1),
    ],
    "fixed-fan-in": [
        tk.FixedFanIn(widths=(9, 5, 7), fan_in=3, seed=1),
        tk.FixedFanIn(widths=(9, 5, 7), fan_in=("5/2", 1), seed=4),
        tk.FixedFanIn(widths=(9, 5, 7), density=".4", allocation="igq", seed=4),
    ],
    "n-of-m": [tk.NOfM(widths=(8, 12, 3), n=2, m=4, seed=1), tk.NOfM(widths=(6, 6, 5), n=3, m=3, seed=1)],
    "block": [
        tk.Block(widths=(12, 9, 6), block=3, density=".4", seed=1),
        tk.Block(widths=(4, 4, 4), block=2, density=("0", "1"), seed=1),
        tk.Block(widths=(12, 8, 4), block=2, density=".4", allocation="erk", seed=1),
    ],
    "bernoulli": [
        tk.Bernoulli(widths=(9, 5, 7), density=".4", seed=2),
        tk.Bernoulli(widths=(3, 3), density=(0,), seed=2),
        tk.Bernoulli(widths=(9, 5, 7), density=".4", allocation="erk", seed=2),
    ],
    "small-world": [
        tk.SmallWorld(widths=(9, 5, 7), fan_in=3, rewire=".3", seed=1),
        tk.SmallWorld(widths=(6, 6, 4), fan_in=(2, 5), rewire=(0, 1), seed=1),
    ],
    "lps": [tk.LPS(p=5, q=13), tk.LPS(p=17, q=13, layers=2)],
    "margulis": [tk.Margulis(side=5), tk.Margulis(side=2, layers=9)],
    "crop": [crop(RADIX, (5, 12, 6, 18, 11)), crop(RADIX, (6, 10, 6, 18, 12), keep="last")],
    "concatenate": [concatenate(RADIX, tk.RadixNet(radices=[(3, 4)]))],
    "kron": [kron(RADIX, (2, 1, 3, 1, 1))],
    "permute": [permute(RADIX, seed=3)],
    "reverse": [reverse(RADIX)],
}
CASES = [pytest.param(spec, id=f"{name}-{k}") for name, specs in EXAMPLES.items() for k, spec in enumerate(specs)]


def test_every_family_and_transform_has_an_example():
    assert {*FAMILIES, *TRANSFORMS} == set(EXAMPLES), "add examples to EXAMPLES in this file"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_a_public_name(name):
    family = FAMILIES[name]
    assert getattr(tk, family.__name__, None) is family, "add it to topokit/__init__.pyi"


@pytest.mark.parametrize("spec", CASES)
def test_layers_are_canonical_and_the_same_alone_and_streamed(spec):
    assert len(spec) == len(spec.widths) - 1 == len(spec.layer_edges)
    for i, layer in enumerate(spec.stream()):
        validate(layer.indptr, layer.indices, layer.shape)
        assert layer.shape == spec.widths[i : i + 2]
        assert layer.edges == spec.layer_edges[i]
        assert np.array_equal(spec.layer(i).to_dense(), layer.to_dense())
        assert np.array_equal(spec.layer(spec.same_layer(i)).to_dense(), layer.to_dense())
    built = spec.build()
    for i, layer, kept in zip(
        reversed(range(len(spec))), spec.stream(reverse=True), built.stream(reverse=True), strict=True
    ):
        assert np.array_equal(spec.layer(i).to_dense(), layer.to_dense())
        assert np.array_equal(kept.to_dense(), layer.to_dense())
    with pytest.raises(IndexError):
        spec.layer(len(spec))
    assert tk.fingerprint(spec) == tk.fingerprint(built)


@pytest.mark.parametrize("spec", CASES)
def test_recipes_rebuild_the_same_network(spec):
    again = from_recipe(spec.recipe)
    assert tk.fingerprint(again) == tk.fingerprint(spec)
    assert again.recipe == spec.recipe
    assert again.promises == spec.promises


@pytest.mark.parametrize("spec", CASES)
def test_every_promise_is_proved(spec):
    report = tk.verify(spec.build())
    assert report.verdict.value == "holds", str(report)
    assert {*report.required} == spec.promises.names


@pytest.mark.parametrize("spec", CASES)
def test_no_setting_of_a_network_can_be_changed(spec):
    for field in fields(spec):
        with pytest.raises(FrozenInstanceError):
            setattr(spec, field.name, getattr(spec, field.name))


@pytest.mark.parametrize("spec", CASES)
def test_settings_are_given_by_name(spec):
    with pytest.raises(TypeError, match="positional argument"):
        type(spec)(getattr(spec, fields(spec)[0].name))


@pytest.mark.parametrize("spec", CASES)
def test_every_network_is_a_value(spec):
    dense = [layer.to_dense() for layer in spec]
    assert spec.density == sum(one.sum() for one in dense) / sum(one.size for one in dense)
    assert spec.possible_edges == sum(one.size for one in dense)
    others = (spec.build(), from_recipe(spec.recipe), tk.from_masks(spec.masks()), tk.from_dense(dense))
    for other in (*others, tk.from_scipy([layer.to_scipy() for layer in spec.layers])):
        assert spec == other == spec
        assert hash(spec) == hash(other)
    flipped = [one.copy() for one in dense]
    flipped[-1][0, 0] ^= True
    assert spec != tk.from_dense(flipped)
    assert len(repr(spec)) <= SCREEN
    assert len(spec._repr_html_().split("<img")[0]) < 3000


@pytest.mark.parametrize("spec", CASES)
def test_slugs_are_file_names(spec):
    assert re.fullmatch(r"[a-z0-9][a-zA-Z0-9._-]{0,100}", spec.slug), spec.slug


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("spec", CASES)
def test_every_format_keeps_every_network(spec, name, tmp_path):
    path = tmp_path / FILE_NAMES.get(name, "folder")
    tk.save(spec, path, to=name)
    back = tk.load(path)
    assert back.widths == spec.widths
    assert tk.fingerprint(back) == tk.fingerprint(spec)


@pytest.mark.parametrize("kind", RANDOM_EQUIVALENTS)
@pytest.mark.parametrize("spec", CASES)
def test_every_network_has_random_equivalents(spec, kind):
    twin = FAMILIES[kind].equivalent_to(spec, 5)
    assert twin.widths == spec.widths
    assert tk.verify(twin.build()).verdict.value == "holds"
    assert tk.fingerprint(FAMILIES[kind].equivalent_to(spec, 5)) == tk.fingerprint(twin)
    if kind != "bernoulli":
        assert twin.layer_edges == spec.layer_edges
