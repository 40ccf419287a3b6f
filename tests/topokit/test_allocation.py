"""Densities per layer: published numbers, the formulas, an exact total; and the families that use them."""

from fractions import Fraction
from itertools import pairwise
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit as tk
from topokit.allocation import ALLOCATIONS
from topokit.errors import InvalidSpecError
from topokit.recipes import from_recipe

WIDTHS = (784, 300, 100, 10)
LENET = [(300, 784), (100, 300), (10, 100)]

layer_shapes = st.lists(st.lists(st.integers(1, 60), min_size=2, max_size=4), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("how", "density", "wanted"),
    [
        ("uniform", ".1", (0.1, 0.1, 0.1)),
        ("erk", ".1", (0.0796, 0.2302, 1)),
        ("erk", ".05", (0.0385, 0.1113, 0.9185)),
        ("erk", ".01", (0.0077, 0.0223, 0.1837)),
        ("igq", ".1", (0.0644, 0.3507, 0.9419)),
    ],
)
def test_lenet_300_100(how, density, wanted):
    assert [round(float(share), 4) for share in tk.allocate(LENET, density, how)] == list(wanted)


def test_erk_by_hand():
    # 10 % of 80 weights are 8; epsilon = 8 / (11 + 12), and a kernel's height and width count among its dimensions
    assert tk.allocate([(4, 3, 2, 2), (8, 4)], "0.1", "erk") == (Fraction(11, 138), Fraction(3, 23))
    # 26 of 104 weights: epsilon = 26/24 would need more than the small layer has; 22 are left for the large one
    assert tk.allocate([(2, 2), (10, 10)], "1/4", "erk") == (1, Fraction(22, 100))


def test_erk_solves_again_until_no_layer_is_above_1():
    # 16.5 of 103 weights: epsilon = 16.5/25 = .66 overfills the first layer alone, and 15.5/23 = .674 the second
    assert tk.allocate([(1, 1), (1, 2), (10, 10)], "33/206", "erk") == (1, 1, Fraction(27, 200))


@pytest.mark.parametrize("how", ALLOCATIONS)
@settings(max_examples=60, deadline=None)
@given(shapes=layer_shapes, density=st.fractions(0, 1))
def test_the_total_is_exact(how, shapes, density):
    densities = tk.allocate(shapes, density, how)
    assert len(densities) == len(shapes)
    assert all(0 <= share <= 1 for share in densities)
    assert sum(share * prod(shape) for share, shape in zip(densities, shapes, strict=True)) == density * sum(
        map(prod, shapes)
    )


@settings(max_examples=60, deadline=None)
@given(shapes=layer_shapes, density=st.fractions("1/100", "99/100"))
def test_layers_follow_the_formulas(shapes, density):
    sizes = list(map(prod, shapes))
    erk = tk.allocate(shapes, density, "erk")
    scales = [share * size / sum(shape) for share, size, shape in zip(erk, sizes, shapes, strict=True)]
    (epsilon,) = {scale for scale, share in zip(scales, erk, strict=True) if share < 1} or {max(scales)}
    assert all(scale <= epsilon for scale in scales)  # a dense layer would have got more
    igq = tk.allocate(shapes, density, "igq")
    forces = [float((1 / share - 1) / size) for share, size in zip(igq, sizes, strict=True)]
    assert max(forces) == pytest.approx(min(forces), rel=1e-9)


@pytest.mark.parametrize("density", ["1e-300", "1e-999", f"{10**400 - 1}/{10**400}"])
@pytest.mark.parametrize("how", ALLOCATIONS)
def test_densities_next_to_0_and_1_are_exact_too(how, density):
    densities = tk.allocate(LENET, density, how)
    assert sum(share * prod(shape) for share, shape in zip(densities, LENET, strict=True)) == Fraction(density) * 266200
    assert all(0 <= share <= 1 for share in densities)


@pytest.mark.parametrize(
    ("shapes", "density", "how", "said"),
    [
        (LENET, ".1", "erg", "no allocation named 'erg': did you mean erk?"),
        (LENET, ".1", None, "no allocation named 'None'"),
        (LENET, "1.1", "erk", "density must be from 0 to 1, not 1.1"),
        (LENET, "-.1", "igq", "density must be from 0 to 1, not -0.1"),
        (LENET, "much", "uniform", "density must be numbers"),
        (LENET, (0.1, 0.2), "erk", "density has 2 numbers"),
        ([], ".1", "erk", "shapes must be a list"),
        (7, ".1", "erk", "shapes must be a list"),
        ([(3, 4), (3,)], ".1", "erk", r"must be \(out, in\) or \(out, in, height, width\)"),
        ([(3, 0)], ".1", "erk", "shapes must be at least 1, not 0"),
        ([(3, 2.5)], ".1", "erk", "shapes must be integers"),
        ([(2**32, 2**32)], ".1", "igq", "less than 2\\^63 weights"),
    ],
)
def test_bad_input_is_refused(shapes, density, how, said):
    with pytest.raises(InvalidSpecError, match=said):
        tk.allocate(shapes, density, how)


# The families that use them

FAMILIES = {
    "bernoulli": lambda **options: tk.Bernoulli(widths=WIDTHS, **options),
    "fixed-fan-in": lambda **options: tk.FixedFanIn(widths=WIDTHS, **options),
    "block": lambda **options: tk.Block(widths=WIDTHS, block=2, **options),
}


@pytest.mark.parametrize("how", ALLOCATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_has_the_densities(family, how):
    net = FAMILIES[family](density=".05", allocation=how, seed=1)
    shares = tk.allocate(LENET, ".05", how)
    wanted = [float(share) * prod(pair) for share, pair in zip(shares, pairwise(WIDTHS), strict=True)]
    slack = {"bernoulli": [5 * edges**0.5 for edges in wanted], "fixed-fan-in": [0.51] * 3, "block": [2.01] * 3}
    for layer, edges, allowed in zip(net.stream(), wanted, slack[family], strict=True):
        assert abs(layer.edges - edges) <= allowed
    assert from_recipe(net.recipe).recipe == net.recipe
    assert tk.fingerprint(from_recipe(net.recipe)) == tk.fingerprint(net)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_density_is_divided_and_more_are_refused(family):
    make = FAMILIES[family]
    assert tk.fingerprint(make(density=[".05"], allocation="erk", seed=1)) == tk.fingerprint(
        make(density=".05", allocation="erk", seed=1)
    )
    with pytest.raises(InvalidSpecError, match="allocation erk divides one density among the layers"):
        make(density=(".05", ".1", ".1"), allocation="erk", seed=1)
    with pytest.raises(InvalidSpecError, match="allocation must be one of uniform, erk, igq, not 'erg'"):
        make(density=".05", allocation="erg", seed=1)
    with pytest.raises(InvalidSpecError, match="density must be from 0 to 1"):
        make(density="1.05", allocation="igq", seed=1)
    assert make(density=".05", allocation="erk", seed=1).slug != make(density=".05", seed=1).slug


def test_fixed_fan_in_takes_a_fan_in_or_a_density():
    by_density, by_fan_in = (
        tk.FixedFanIn(widths=(20, 30, 40), seed=0, **options) for options in ({"density": ".3"}, {"fan_in": (6, 9)})
    )
    assert tk.fingerprint(by_density) == tk.fingerprint(by_fan_in)
    assert by_density.promises == by_fan_in.promises
    for options, said in (
        ({}, "needs either fan_in or density, and not both"),
        ({"fan_in": 3, "density": ".3"}, "needs either fan_in or density, and not both"),
        ({"fan_in": 3, "allocation": "erk"}, "allocation erk divides a density: give density, not fan_in"),
    ):
        with pytest.raises(InvalidSpecError, match=said):
            tk.FixedFanIn(widths=(20, 30, 40), seed=0, **options)
