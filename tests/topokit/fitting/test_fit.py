"""Fitted networks: every claim recomputed from a candidate's options, by dense products."""

from fractions import Fraction
from functools import reduce
from itertools import pairwise
from math import gcd, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit as tk
from topokit import fitting
from topokit.errors import InvalidSpecError
from topokit.fitting import candidate as candidates
from topokit.fitting import fit, parse_target
from topokit.fitting._search import Search
from topokit.fitting.candidate import examined


def layers_of(options):
    """The biadjacency matrices that options describe, made of rolled identities and Kronecker products."""
    nodes = prod(options["radices"][0])
    radices = [(radix, prod(system[:k])) for system in options["radices"] for k, radix in enumerate(system)]
    kron = options.get("kron", [1] * (len(radices) + 1))
    gcds = [gcd(a, b) for a, b in pairwise(kron)]
    layers = []
    for (radix, place), (a, b), g, d in zip(radices, pairwise(kron), gcds, options.get("diagonals", gcds), strict=True):
        circulant = sum(np.roll(np.eye(nodes, dtype=int), k * place, axis=1) for k in range(radix))
        factor = sum(np.roll(np.eye(g, dtype=int), k * g // d, axis=1) for k in range(d))
        layers.append(np.kron(np.kron(np.ones((a // g, b // g), int), factor), circulant))
    crop = options.get("crop", [layers[0].shape[0], *(layer.shape[1] for layer in layers)])
    return [layer[:a, :b] for layer, (a, b) in zip(layers, pairwise(crop), strict=True)]


def confirm(found, widths, density, tolerance):
    """Every field of a candidate, from its options alone."""
    layers = layers_of(found.options)
    assert (layers[0].shape[0], *(layer.shape[1] for layer in layers)) == found.net.widths == tuple(widths)
    for made, layer in zip(found.net.stream(), layers, strict=True):
        assert np.array_equal(made.to_dense(), layer)
    assert found.layer_densities == tuple(Fraction(int(layer.sum()), layer.size) for layer in layers)
    assert found.density == Fraction(int(sum(layer.sum() for layer in layers)), sum(layer.size for layer in layers))
    assert found.error == abs(found.density - density) / density
    assert found.outside == (found.error > tolerance)
    assert prod(widths) < 2**63  # so that no product of theirs can wrap
    paths = reduce(np.dot, layers)
    assert (found.min_paths, found.max_paths) == (paths.min(), paths.max())
    assert found.disconnected_pairs == (paths == 0).sum()
    assert found.dead_units == dead_units(layers)
    incoming = layers[-1].sum(axis=0)
    assert dict(found.output_in_degrees) == {n: int((incoming == n).sum()) for n in incoming.tolist()}
    lacks_paths = len(layers) > 1 and (paths == 0).any()  # of one layer, these are the absent edges
    assert found.strange == bool(lacks_paths or incoming.min() <= 2)
    for reason in found.reasons:
        numbers = [int(word.strip(",").replace(",", "")) for word in reason.split() if word[0].isdigit()]
        if reason.startswith("no path"):
            assert paths[tuple(numbers[:2])] == 0
            assert numbers[2] == (paths == 0).sum()
        else:
            assert incoming[numbers[0]] == numbers[1] <= 2
            assert numbers[2:3] in ([], [(incoming <= 2).sum()])


def dead_units(layers):
    """Nodes no input reaches, or that reach no output, counted by walking from either end."""
    forward, backward = [np.ones(layers[0].shape[0], bool)], [np.ones(layers[-1].shape[1], bool)]
    for layer in layers:
        forward.append(forward[-1] @ layer > 0)
    for layer in reversed(layers):
        backward.append(layer @ backward[-1] > 0)
    return sum(int((~(a & b)).sum()) for a, b in zip(forward, reversed(backward), strict=True))


def place(found):
    """Where a counted candidate belongs, as the docstring of `fit` says."""
    dense = [float(density) for density in found.layer_densities]
    pairs = found.net.widths[0] * found.net.widths[-1]
    return (
        *(found.strange, found.outside, found.error if found.outside else 0),
        round(Fraction(10 * found.disconnected_pairs, pairs)) if len(dense) > 1 else 0,
        found.dead_units,
        *(found.min_paths != found.max_paths, round(100 * found.error), "crop" in found.options),
        *(found.max_paths / found.min_paths if found.min_paths else float("inf"), "diagonals" in found.options),
        round(max(dense) / min(dense), 9) if min(dense) else float("inf"),
    )


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(1, 30) | st.sampled_from([8, 12, 24]), min_size=2, max_size=5),
    st.integers(1, 100),
    st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1)]),
)
def test_every_claim_is_true(widths, percent, tolerance):
    density = max(Fraction(percent, 100), Fraction(1, sum(a * b for a, b in pairwise(widths))))
    found = fit(widths, density, tolerance=tolerance, limit=6)
    assert 1 <= len(found) <= 6
    for candidate in found:
        assert candidate.counted
        confirm(candidate, widths, density, tolerance)
    assert len({str(candidate.options) for candidate in found}) == len(found)
    order = [(candidate.strange, candidate.outside) for candidate in found]
    assert order == sorted(order)
    places = [place(candidate) for candidate in found]
    assert places == sorted(places)
    assert fit(tuple(widths), str(density), tolerance=tolerance, limit=6) == found


def summary(found):
    return found.options, found.density, found.min_paths, found.max_paths, found.dead_units, found.strange


def test_the_networks_known_for_lenet_300_100():
    tenth = fit((784, 300, 100), 0.1)
    options = {"radices": [[10, 10]], "kron": [8, 3, 1], "crop": [784, 300, 100]}
    assert summary(tenth[0]) == (options, Fraction(1, 10), 3, 3, 0, False)
    assert tenth[0].output_in_degrees == ((30, 100),)
    twentieth = fit((784, 300, 100), 0.05)
    options = {"radices": [[15, 20]], "kron": [3, 1, 1], "crop": [784, 300, 100]}
    assert summary(twentieth[0]) == (options, Fraction(11760 + 2000, 265200), 1, 1, 0, False)
    for found in (*tenth, *twentieth):
        confirm(found, (784, 300, 100), found.wanted, Fraction(1, 10))


@pytest.mark.parametrize(
    ("widths", "density", "options"),
    [
        ((8, 80, 80, 8), "1/4", {"radices": [[2, 2, 2]], "kron": [1, 10, 10, 1]}),
        ((64,) * 13, "1/8", {"radices": [[2, 2, 2, 2]] * 3, "kron": [4] * 13}),
        ((12, 12), 1, {"radices": [[2]], "kron": [6, 6]}),
        ((1, 1), 1, {"radices": [[2]], "crop": [1, 1]}),
    ],
)
def test_what_fits_exactly_comes_first(widths, density, options):
    best = fit(widths, density, limit=1)[0]
    assert best.options == options
    assert best.error == 0


def test_a_narrow_end_is_seen_to_kill_units():
    found = fit((784, 300, 100, 10), 0.1)
    assert all(candidate.dead_units == 0 for candidate in found[:3])
    assert found[0].min_paths == found[0].max_paths > 0
    for candidate in found:
        confirm(candidate, (784, 300, 100, 10), Fraction(1, 10), Fraction(1, 10))


def test_uncropped_networks_go_before_simpler_ones():
    found = [candidate.options for candidate in fit((8, 24, 12), 0.4, limit=20)]
    exact = {"radices": [[2, 2]], "kron": [2, 6, 3], "diagonals": [1, 3]}
    cropped = {"radices": [[3, 2]], "kron": [2, 4, 2], "crop": [8, 24, 12]}  # more even, and without diagonals
    assert found.index(exact) < found.index(cropped)


def test_interior_widths_without_a_common_divisor_are_cropped_and_counted():
    found = fit((101,) * 4, 0.1)
    assert not any(candidate.strange or candidate.outside for candidate in found)
    for candidate in found:
        assert 0 < candidate.min_paths < candidate.max_paths
        assert {1, 2} <= set(candidate.cropped_layers)
        confirm(candidate, (101,) * 4, Fraction(1, 10), Fraction(1, 10))


def test_where_nothing_fits_the_nearest_are_shown_beside_strange_ones():
    found = fit((784, 300, 100), 0.01, limit=6)  # 300 units cannot join all pairs with fewer than 9,600 edges
    sound, strange = found[:3], found[3:]
    assert all(candidate.outside and not candidate.strange for candidate in sound)
    assert all(candidate.density > Fraction(9600, 265200) for candidate in sound)
    assert all(candidate.strange and candidate.disconnected_pairs > 0 for candidate in strange)
    assert fit((784, 300, 100), 0.01, limit=1) == sound[:1]


def test_of_a_single_layer_the_nearest_densities_come_first_and_absent_edges_are_not_strange():
    found = fit((30, 20), 0.5)
    assert (found[0].density, found[0].outside, found.note) == (Fraction(1, 2), False, "")
    assert found[0].disconnected_pairs == 300
    assert not any(candidate.strange for candidate in found)
    assert fit((24, 24), 0.25)[0].density == Fraction(1, 4)  # and not 13/48, which lacks fewer edges
    weak = [candidate for candidate in fit((12, 12), "1/6") if candidate.density == Fraction(1, 6)]
    assert weak
    assert all(len(candidate.reasons) == 1 and "incoming edges" in candidate.reasons[0] for candidate in weak)


@pytest.mark.parametrize(
    ("widths", "nodes"),
    [((90, 60, 30), 15), ((13, 12, 12, 7), 6), ((31, 19), 10), ((36, 24), 4), ((95, 50), 3), ((13, 11, 7), 4)],
)
def test_networks_too_large_to_read_are_proved_by_the_theorem(widths, nodes, monkeypatch):
    tenth = Fraction(1, 10)
    plans = Search(widths, 0.1).plans(nodes)
    counted = [examined(plan, tenth, tenth) for plan in plans]
    monkeypatch.setattr(candidates, "COUNTED", 0)
    for plan, seen in zip(plans, counted, strict=True):
        unread = examined(plan, tenth, tenth)
        assert (seen.counted, unread.counted) == (True, False)
        for name in ("min_paths", "max_paths", "disconnected_pairs", "dead_units", "output_in_degrees"):
            assert getattr(unread, name) in (None, getattr(seen, name))
        assert (unread.min_paths is None) == (len(widths) > 2 and (plan.cropped_inside or 1 not in plan.steps))
        if unread.min_paths is None or "not counted" in str(unread.reasons):
            assert "not counted" in unread.reasons[0]
        else:
            assert unread.strange == seen.strange
            assert unread.dead_units == (None if seen.dead_units else 0)


def test_of_a_layer_too_large_to_read_no_weak_output_is_overlooked(monkeypatch):
    tenth = Fraction(1, 10)
    plans = [
        plan
        for widths in ((95, 50), (31, 19), (36, 24), (60, 7))
        for nodes in range(2, 16)
        for density in (0.02, 0.04, 0.07)
        for plan in Search(widths, density).plans(nodes)
    ]
    counted = [examined(plan, tenth, tenth) for plan in plans]
    monkeypatch.setattr(candidates, "COUNTED", 0)
    unread = [examined(plan, tenth, tenth) for plan in plans]
    assert {(one.strange, other.strange) for one, other in zip(counted, unread, strict=True)} == {
        *((False, False), (True, True)),
        (False, True),  # the numbers do not rule out an output of in-degree 2 or less
    }
    assert all(other.dead_units in (None, one.dead_units) for one, other in zip(counted, unread, strict=True))
    exact = [(one, other) for one, other in zip(counted, unread, strict=True) if other.output_in_degrees]
    assert exact
    assert all(one.output_in_degrees == other.output_in_degrees for one, other in exact)
    assert all(
        "not counted" in other.reasons[0]
        for one, other in zip(counted, unread, strict=True)
        if other.strange > one.strange
    )


def test_the_widest_and_the_deepest():
    (wide,) = fit((2**32 - 1,) * 4, "1e-6", limit=1)
    assert (wide.counted, wide.min_paths, wide.disconnected_pairs, wide.dead_units) == (False, 1, 0, 0)
    assert wide.outside
    assert not wide.strange
    whole, cropped = fit((2**32 - 2, 2**31 - 1, 5), "1e-3", limit=2)
    assert (whole.density, whole.strange, cropped.strange) == (1, False, True)
    assert cropped.disconnected_pairs is None
    (deep,) = fit((65536,) * 121, "1/2048", limit=1)
    assert deep.options == {"radices": [[2] * 12] * 10, "kron": [16] * 121}
    assert deep.min_paths == deep.max_paths == deep.net.promises.paths == 2 ** (5 * 120 - 16)


def test_the_work_is_bounded(monkeypatch):
    spent = []
    plans = fitting.Search.plans

    def watched(search, nodes):
        made = plans(search, nodes)
        spent.append(search.spent)
        return made

    monkeypatch.setattr(fitting.Search, "plans", watched)
    monkeypatch.setattr(fitting, "BUDGET", 20_000)
    fit((720720,) * 31, 0.01, limit=1)
    assert spent[-1] < 20_000 + 4 * max(np.diff(spent, prepend=0))
    read = []
    monkeypatch.setattr(fitting, "examined", lambda *about: read.append(about) or examined(*about))
    assert (len(fit((784, 300, 100), 0.1, limit=3)), len(read)) == (3, fitting.LEAST)
    monkeypatch.setattr(fitting, "TOTAL", 0)
    assert len(fit((784, 300, 100), 0.05)) == 1


@pytest.mark.parametrize(
    ("widths", "density", "options", "said"),
    [
        ((5,), 0.5, {}, "widths must be of at least 2 node layers, not 1"),
        ((5, 0), 0.5, {}, "widths must be at least 1, not 0"),
        ((5, 2.5), 0.5, {}, "integers"),
        ("5,5", 0.5, {}, "list of integers"),
        ((5, 2**32), 0.5, {}, "2^32 - 1"),
        ((5, 5), 0, {}, "above 0 and at most 1"),
        ((5, 5), "1.01", {}, "above 0 and at most 1"),
        ((5, 5), float("nan"), {}, "numbers"),
        ((5, 5), "1/26", {}, "less than one edge of the 25 possible"),
        ((5, 5), 0.5, {"tolerance": "-1/10"}, "tolerance must be at least 0, not '-1/10'"),
        ((5, 5), 0.5, {"tolerance": "-1e999"}, "tolerance must be at least 0"),
        ((5, 5), 0.5, {"tolerance": "some"}, "tolerance must be numbers such as 0.1 or 1/10, not 'some'"),
        ((5, 5), 0.5, {"limit": 0}, "limit must be at least 1"),
        ("784-300 at 100 %", None, {}, "from 0 to below 100 %, not 100 %"),
        ("784-300 at 101 %", None, {}, "from 0 to below 100 %, not 101 %"),
        ("784-0 at 5 %", None, {}, "widths must be at least 1, not 0"),
        ("99999999999-2 at 5 %", None, {}, "node layer 0 would have more than"),
    ],
)
def test_what_makes_no_sense_is_refused(widths, density, options, said):
    with pytest.raises(InvalidSpecError, match=said.replace("^", r"\^")):
        fit(widths, density, **options)


@pytest.mark.parametrize("text", ["784-300-100 at 95 %", " 784 - 300-100  at 95%", "784-300-100 at 95.00 %"])
def test_a_target_names_the_sparsity(text):
    assert parse_target(text) == ((784, 300, 100), Fraction(1, 20))
    assert parse_target("2-2 at .5 %") == ((2, 2), Fraction(199, 200))
    assert parse_target("2-2 at 0 %") == ((2, 2), 1)


@pytest.mark.parametrize(
    "text",
    [
        *("", "784", "784 at 95 %", "784-300", "784-300 at 95", "784-300 at -5 %", "784-300 at 95 % 3"),
        *("784--300 at 5 %", "784-300 at five %", "1" * 5000 + "-2 at 5 %", "2-2 at " + "9" * 5000 + " %"),
        "٣-٣ at ٥ %",
    ],
)
def test_a_target_that_is_none(text):
    with pytest.raises(InvalidSpecError, match=r"such as '784-300-100 at 95 %', not "):
        parse_target(text)


def test_a_candidate_is_a_network_like_any_other():
    best = tk.fit((784, 300, 100), 0.1, limit=1)[0]
    assert tk.verify(best.net).verdict.value == "holds"
    assert tk.fingerprint(best.net.build()) == tk.fingerprint(best.net)
    assert best.to_json()["output_in_degrees"] == {"30": 100}
