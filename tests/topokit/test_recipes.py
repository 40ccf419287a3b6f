"""A recipe and its network are the same thing, and a bad recipe is never anything but an InvalidSpecError."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.errors import InvalidSpecError
from topokit.families.bernoulli import Bernoulli
from topokit.families.fixed_fan_in import FixedFanIn
from topokit.families.radix_net import RadixNet
from topokit.families.regular import Regular
from topokit.recipes import from_recipe
from topokit.topologies import fingerprint
from topokit.transforms import concatenate, crop, kron, permute, reverse

RADIX = RadixNet(radices=[(2, 3), (3,)], kron=(1, 2, 2, 1), direction=-1)
SPECS = [
    RADIX,
    Bernoulli(widths=(7, 5, 3), density=(0.1, "1/3"), seed=2),
    Bernoulli(widths=(7, 5), density="1e-320", seed=2**70),
    FixedFanIn(widths=(7, 5, 3), fan_in=(2, 2.5), seed=2),
    Regular(like=crop(RADIX, (5, 11, 12, 6)), seed=4),
    Bernoulli.equivalent_to(RADIX, 5),
    FixedFanIn.equivalent_to(crop(RADIX, (5, 11, 12, 6)), 5),
    crop(RADIX, (5, 12, 12, 4), "last"),
    concatenate(RADIX, reverse(RADIX), RADIX),
    kron(RADIX, (1, 2, 3, 4)),
    permute(RADIX, seed=3, keep_ends=True),
    permute(RADIX, permutations=[None, range(11, -1, -1), None, (1, 0, 2, 3, 4, 5)]),
    reverse(Regular(like=permute(RADIX, seed=3), seed=0)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.slug)
def test_a_spec_survives_its_recipe_as_json(spec):
    rebuilt = from_recipe(json.loads(json.dumps(spec.recipe)))
    assert rebuilt == spec
    assert rebuilt.recipe == spec.recipe == spec.build().recipe
    assert fingerprint(rebuilt) == fingerprint(spec)


def test_rebuilding_makes_no_layer():
    options = {"widths": [2**31 - 1] * 3, "density": 1, "seed": 0}
    huge = {"family": "regular", "options": {"like": {"family": "bernoulli", "options": options}, "seed": 0}}
    tracemalloc.start()
    net = from_recipe({"transform": "crop", "options": {"of": huge, "widths": [2**30] * 3}})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(net) == 2
    assert peak < 1e6


def nested(depth):
    recipe = RADIX.recipe
    for _ in range(depth):
        recipe = {"transform": "reverse", "options": {"of": recipe}}
    return recipe


def list_of_depth(depth):
    value = 2
    for _ in range(depth):
        value = [value]
    return value


def test_moderate_nesting_is_rebuilt():
    assert from_recipe(nested(20)).widths == RADIX.widths


def radix(**options):
    return {"family": "radix-net", "options": {"radices": [[2, 2]], **options}}


def bernoulli(**options):
    return {"family": "bernoulli", "options": {"widths": [3, 2], "density": 0.5, "seed": 0, **options}}


def margulis(layers):
    return {"family": "margulis", "options": {"side": 2, "layers": layers}}


def permuted(recipe):
    return {"transform": "permute", "options": {"of": recipe, "seed": 0}}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (None, "a recipe must be a JSON object, not NoneType"),
        ([], "a recipe must be a JSON object, not list"),
        ("radix-net", "a recipe must be a JSON object, not str"),
        ({}, 'a recipe holds "family" or "transform"'),
        ({"family": "radix-net"}, 'a recipe holds "family" or "transform"'),
        ({**radix(), "transform": "crop"}, 'a recipe holds "family" or "transform"'),
        ({**radix(), "version": 1}, 'a recipe holds "family" or "transform"'),
        ({"family": "radixnet", "options": {}}, "no family named 'radixnet': did you mean radix-net?"),
        ({"transform": "radix-net", "options": {}}, "no transform named 'radix-net'"),
        ({"family": ["radix-net"], "options": {}}, "the family must be a name"),
        ({"family": "radix-net", "options": [1]}, "the options a JSON object"),
        (radix(radix=3), "an option 'radix'; it has radices, kron, diagonals, direction"),
        ({"family": "radix-net", "options": {7: 1}}, "an option 7"),
        ({"family": "bernoulli", "options": {"widths": [3, 2], "density": 0.5}}, "bernoulli needs seed"),
        ({"transform": "crop", "options": {"of": RADIX.recipe}}, "crop needs widths"),
        ({"transform": "reverse", "options": {"of": None}}, "a recipe must be a JSON object, not NoneType"),
        ({"transform": "reverse", "options": {"of": [RADIX.recipe]}}, "a recipe must be a JSON object, not list"),
        ({"transform": "concatenate", "options": {"of": RADIX.recipe}}, "a list of at least two networks"),
        ({"transform": "concatenate", "options": {"of": [RADIX.recipe, 3]}}, "a recipe must be a JSON object, not int"),
        ({"transform": "concatenate", "options": {"of": "of"}}, "a recipe must be a JSON object, not str"),
        (nested(40), "nested more than 64 deep"),
        (nested(3000), "nested more than 64 deep"),
        (radix(radices=list_of_depth(100_000)), "nested more than 64 deep"),
        (radix(radices=[[10**5000, 2]]), "integers must be below 2^1000"),
        (radix(radices=[[-(10**5000)]]), "integers must be below 2^1000"),
        (radix(radices=[[2**40]]), "a product of 2^32 or more"),
        (radix(radices=[[2] * 10**5, [2]]), "a product of 2^32 or more"),
        (radix(radices=[[2]], kron=[2**31, 1]), "node layer 0 would have more than"),
        (radix(radices={}), "radices must be one or more lists"),
        (radix(direction="forward"), "direction must be integers"),
        (margulis(65_537), "layers must be at most 65536, not 65537"),
        ({"family": "lps", "options": {"p": 5, "q": 13, "layers": 10**8}}, "layers must be at most 65536"),
        ({"family": "graph-challenge", "options": {"neurons": 1024, "layers": 10**8}}, "layers must be at most 65536"),
        (
            {"transform": "concatenate", "options": {"of": [permuted(margulis(65_536))] * 2}},
            "concatenate: the networks have more than 65,536 layers",
        ),
        (bernoulli(density="1e999999999"), "density must be numbers such as"),
        (bernoulli(density="1/0"), "density must be numbers such as"),
        (bernoulli(density=float("inf")), "density must be numbers such as"),
        (bernoulli(density=True), "density must be numbers such as"),
        (bernoulli(density={"p": 1}), "density must be numbers such as"),
        (bernoulli(density=[]), "density has 0 numbers: give one"),
        (bernoulli(widths="7" * 10**6), "widths must be a list of integers"),
        (bernoulli(density="x" * 10**6), "density must be numbers such as"),
        (bernoulli(seed="x" * 10**6), "seed must be integers"),
        (radix(radices="2" * 10**6), "radices must be one or more lists"),
        (radix(**{"x" * 10**6: 0}), "the recipe gives radix-net an option"),
        ({"family": "x" * 10**6, "options": {}}, "no family named"),
        (bernoulli(seed=None), "seed must be integers"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str) else "",
)
def test_a_bad_recipe_says_in_one_line_what_is_wrong(recipe, message):
    with pytest.raises(InvalidSpecError) as refused:
        from_recipe(recipe)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.just("1/2"),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.sampled_from(["of", "seed", "family"]), parts),
    max_leaves=8,
)


def paths_into(value, path=()):
    """The place of every part of a JSON value."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from paths_into(part, (*path, key))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SPECS), st.data())
def test_a_mutated_recipe_is_a_spec_or_an_invalid_spec_error(spec, data):
    recipe = {"root": json.loads(json.dumps(spec.recipe))}
    *place, key = ("root", *data.draw(st.sampled_from(list(paths_into(recipe["root"])))))
    part = recipe
    for step in place:
        part = part[step]
    part[key] = data.draw(JSON)
    try:
        rebuilt = from_recipe(recipe["root"])
    except InvalidSpecError:
        return
    assert from_recipe(json.loads(json.dumps(rebuilt.recipe))) == rebuilt
