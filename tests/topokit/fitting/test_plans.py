"""What a search knows of a network before it is made, against the network."""

from functools import reduce
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.errors import InvalidSpecError
from topokit.fitting._plans import Plan, kept_edges
from topokit.fitting._search import Search, _near, _smooth, divisors, node_counts


@st.composite
def shares(draw):
    """A factor of N' and its place, a step, and two widths."""
    radix, place, rest = (draw(st.integers(low, 5)) for low in (2, 1, 1))
    widths = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    return radix * place * rest, radix, place, draw(st.integers(1, 4)), widths


@settings(max_examples=200, deadline=None)
@given(shares())
def test_edges_left_by_a_crop_are_counted_in_closed_form(case):
    nodes, radix, place, step, (a, b) = case
    u, v = np.arange(a)[:, None], np.arange(b)
    shift = (v - u) % nodes
    joined = (shift % place == 0) & (shift < radix * place) & ((u // nodes - v // nodes) % step == 0)
    assert kept_edges(nodes, radix, place, step, (a, b)) == joined.sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(2, 40), st.sampled_from([0.05, 0.2, 0.5, 1.0]))
def test_plans_are_networks_with_what_they_say(widths, nodes, density):
    for plan in Search(widths, density).plans(nodes):
        net = plan.net()
        assert net.widths == tuple(widths)
        assert net.layer_edges == plan.layer_edges
        assert plan.steps[0] <= -(-widths[0] // nodes)  # else whole copies of the next layer would have no input
        assert plan.steps[-1] <= -(-widths[-1] // nodes)
        base = getattr(net, "of", net)
        assert (base.widths, base.edges) == (plan.covered, plan.edges_before)
        assert (base.promises.paths is not None) == (1 in plan.steps)
        layers = [layer.to_dense().astype(object) for layer in net.stream()]
        if 1 in plan.steps and not plan.kills:
            assert (reduce(np.dot, layers) > 0).all()
            assert all(layer.any(axis=0).all() and layer.any(axis=1).all() for layer in layers)
        ends = not all(layers[-1].any(axis=1)) or not all(layers[0].any(axis=0))
        if not plan.cropped_inside:
            assert plan.kills == ends


def test_the_ends_get_more_copies_where_a_step_asks_for_them():
    plan = Plan((784, 300, 100), 100, (10, 10), (3, 1))
    assert plan.kron == (9, 3, 1)
    assert plan.possible
    assert plan.net().promises.paths == 1
    assert not Plan((784, 300, 100), 100, (10, 10), (2, 1)).possible
    assert plan in Search((784, 300, 100), 0.05).plans(100)


def test_a_search_with_few_layers_finds_every_network():
    found = {plan.radices for plan in Search((36, 36, 36), 0.2).plans(36) if set(plan.steps) == {1}}
    single = {(r, 36 // r) for r in divisors(36) if 1 < r < 36}
    assert found == single | {(36, r) for r in divisors(36)[1:]}


def test_plans_beyond_2_to_the_32_are_left_out():
    (plan, *_) = Search((2**32 - 1,) * 3, 0.5).plans(3)
    assert max(plan.covered) == 2**32 - 1
    assert Search((2**32 - 1,) * 3, 0.5).plans(2) == []
    with pytest.raises(InvalidSpecError, match="node layer 0 would have more than"):
        Plan((2**32 - 1,) * 3, 2, (2, 2), (1, 1)).net()


@pytest.mark.parametrize("number", [1, 2, 36, 97, 1009 * 1013, 720720])
def test_divisors(number):
    assert divisors(number) == tuple(n for n in range(1, number + 1) if number % n == 0)
    assert set(divisors(number, below=10)) <= set(divisors(number))


def test_steps_on_either_side_of_the_wanted_one():
    assert _near((1, 2, 4, 8), 3) == {1, 2, 4}
    assert _near((1, 2, 4, 8), 4) == {1, 2, 4}
    assert _near((1, 2, 4, 8), 9) == {1, 8}
    assert _near(range(1, 21), 0.5) == {1}


def test_nodes_that_crop_nothing_inside_come_first():
    tame, others = node_counts((784, 300, 100), 0.1)
    assert sorted(tame) == [n for n in range(2, 301) if 300 % n == 0]
    assert tame[0] == 100  # two radices of 10 make a density of 10 / 100
    assert not set(tame) & set(others)
    assert all(300 % n for n in others)
    tame, others = node_counts((20, 20), 0.5)
    assert set(tame) >= {2, 4, 5, 10, 20}
    assert others == []
    assert node_counts((2**32 - 1, 2**32 - 2, 2**32 - 1), 0.1)[0] == []


def test_a_number_of_nodes_has_no_more_radices_than_layers_or_prime_factors():
    two_layers, _ = node_counts((64,) * 3, 0.1)
    # 64 = 8 * 8 has a density of .125. Three radices of 32 would have .1, but there are two layers.
    assert two_layers[0] == 64
    five_layers, _ = node_counts((4,) * 6, 0.7)
    # 4 = 2 * 2 has a density of .5. Two radices of 2 nodes would have .71, but 2 is prime.
    assert five_layers[0] == 4


def test_smooth_numbers():
    assert _smooth(200) == {n for n in range(2, 201) if n == gcd(n, (2 * 3 * 5 * 7) ** 8)}
