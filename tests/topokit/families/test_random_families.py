"""Random families: the law of what they draw, degrees kept, seeds, and what they need."""

import json
import tracemalloc
from collections import Counter
from fractions import Fraction
from functools import partial
from itertools import combinations, pairwise, product
from math import comb, prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import topokit as tk
from topokit.edges import validate
from topokit.errors import TooLargeError
from topokit.families._random import subsets
from topokit.recipes import from_recipe

examples = settings(max_examples=60, deadline=None)

LENET = tk.crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))


@st.composite
def networks(draw):
    """Random edges, with empty and full rows and columns among them."""
    widths = draw(st.lists(st.integers(1, 12), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    layers = []
    for shape in pairwise(widths):
        dense = rng.random(shape) < rng.random(shape[1])  # each target has a density of its own
        dense[draw(st.integers(0, shape[0] - 1))] = draw(st.booleans())
        dense[:, draw(st.integers(0, shape[1] - 1))] = draw(st.booleans())
        layers.append(dense)
    return tk.Topology.from_dense(layers)


def degrees(layer):
    dense = layer.to_dense()
    return dense.sum(axis=1).tolist(), dense.sum(axis=0).tolist()


def edge_set(layer):
    return set(zip(layer.sources.tolist(), layer.indices.tolist(), strict=True))


SQUARE = tk.RadixNet(radices=[(4, 4), (4, 4)])  # layers 0 and 2 are equal, their random equivalents are not
DRAWN = [
    *(partial(family.equivalent_to, SQUARE) for family in (tk.Regular, tk.FixedFanIn, tk.Bernoulli)),
    lambda seed: tk.NOfM(widths=(16,) * 5, n=2, m=4, seed=seed),
    lambda seed: tk.Block(widths=(32,) * 5, block=4, density=".5", seed=seed),
    lambda seed: tk.SmallWorld(widths=(16,) * 5, fan_in=5, rewire=".5", seed=seed),
]


@pytest.mark.parametrize("make", DRAWN, ids=lambda make: make(seed=0).name)
def test_layers_and_seeds_have_streams_of_their_own(make):
    net, other = make(seed=0), make(seed=1)
    layers = [net.layer(0), net.layer(2), other.layer(0)]
    assert len({layer.indices.tobytes() for layer in layers}) == 3
    assert tk.fingerprint(net) == tk.fingerprint(make(seed=0)) != tk.fingerprint(other)


WIDTHS = (784, 300, 100, 10)
PINNED = {
    "4d38028e2cb5a2b74823cb5ecd42bf66bef22653b02fc7aee780de2c6a68396a": tk.Regular.equivalent_to(LENET, 0).recipe,
    "6587f5ed5b27d58631f462c9fdae074ec1114af479a6ecc236dad13019b2f112": tk.FixedFanIn.equivalent_to(LENET, 0).recipe,
    "63be6244734f13070fc395a5f692991bb65fa02a07cb90f67464680804d413fc": tk.Bernoulli.equivalent_to(LENET, 0).recipe,
    "975d482de3cf95cf45678ab8ca314ff515d0fd46843380b9d31122379f5edbb7": {
        "family": "small-world",
        "options": {"widths": (300, 100, 40), "fan_in": (30, 80), "rewire": ".3", "seed": 0},
    },
    # recipes from before allocations
    "e96a6bb75ff08cdc65effa647b9aedc4ee0b4993ade5bde773985df1ce326a18": {
        "family": "bernoulli",
        "options": {"widths": WIDTHS, "density": ["1/20"] * 3, "seed": 3},
    },
    "d61156ce1bf4008e99e2061ae851fc817078ee95f46cf6a4e2e2c0993571c90d": {
        "family": "fixed-fan-in",
        "options": {"widths": WIDTHS, "fan_in": ["196/5", "15", "5"], "seed": 3},
    },
    "7e0881e9bbd7f80d6534a502ea0dd0967dac9f7f760ed4bbdf84235afda5adf2": {
        "family": "block",
        "options": {"widths": (64, 32, 16), "block": 4, "density": ["3/10", "1/2"], "seed": 3},
    },
}


@pytest.mark.parametrize("fingerprint", PINNED, ids=lambda fingerprint: PINNED[fingerprint]["family"])
def test_a_seed_means_the_same_network_for_ever(fingerprint):
    """A saved network names its seed: should NumPy ever change its streams, this must be noticed."""
    assert tk.fingerprint(from_recipe(PINNED[fingerprint])) == fingerprint


# Bernoulli


@pytest.mark.parametrize("density", ["1/3", "0.8"])
def test_every_bernoulli_pattern_has_its_exact_probability(density):
    draws, p = 4000, Fraction(density)
    seen = Counter(
        tk.Bernoulli(widths=(2, 2), density=density, seed=seed).layer(0).to_dense().tobytes() for seed in range(draws)
    )
    patterns = [bytes(cells) for cells in product((0, 1), repeat=4)]
    expected = [draws * float(p ** sum(cells) * (1 - p) ** (4 - sum(cells))) for cells in patterns]
    assert chisquare([seen[cells] for cells in patterns], expected).pvalue > 1e-3


def test_bernoulli_edges_are_spread_as_independent_draws_are():
    net = tk.Bernoulli(widths=(200, 300), density=0.07, seed=3)
    dense = net.layer(0).to_dense()
    for axis, cells in ((0, 200), (1, 300)):
        sums = dense.sum(axis=axis)
        assert abs(sums.mean() - 0.07 * cells) < 5 * np.sqrt(0.07 * 0.93 * cells / sums.size)
        assert 0.7 < sums.var() / (cells * 0.07 * 0.93) < 1.35
    both = (dense[:-1, :-1] & dense[1:, 1:]).mean()
    assert abs(both - 0.07**2) < 5 * np.sqrt(0.07**2 / dense.size)


def test_bernoulli_takes_the_exact_density_of_every_layer():
    twin = tk.Bernoulli.equivalent_to(LENET, 0)
    assert twin.densities == (Fraction(1, 10), Fraction(1, 10))
    mixed = tk.Bernoulli(widths=(3, 2, 2, 5), density=(0, Fraction(1, 7), 1.0), seed=0)
    assert mixed.densities == (0, Fraction(1, 7), 1)
    assert mixed.layer_edges[0] == 0
    assert mixed.layer_edges[2] == 10
    assert tk.Bernoulli(widths=(2, 2, 2), density=".1", seed=0).densities == (Fraction(1, 10),) * 2
    assert tk.Bernoulli(widths=(2, 2), density=np.float32(0.1), seed=np.int64(0)).densities == (Fraction(1, 10),)
    assert twin.promises.names == {"soundness"}


# Fixed fan-in


@pytest.mark.parametrize(("fan_in", "sizes"), [(1, [(1, 1)]), (3, [(3, 3)]), ("3/2", [(1, 2), (2, 1)]), (4, [(4, 4)])])
def test_every_choice_of_sources_is_equally_likely(fan_in, sizes):
    subsets = {k: [frozenset(chosen) for chosen in combinations(range(4), k)] for k in range(5)}
    possible = [pair for one, two in sizes for pair in product(subsets[one], subsets[two])]
    assert len(possible) == sum(comb(4, one) * comb(4, two) for one, two in sizes)
    seen = Counter()
    for seed in range(2000):
        dense = tk.FixedFanIn(widths=(4, 2), fan_in=fan_in, seed=seed).layer(0).to_dense()
        seen[tuple(frozenset(np.flatnonzero(column).tolist()) for column in dense.T)] += 1
    assert set(seen) <= set(possible)
    assert len(possible) == 1 or chisquare([seen[pair] for pair in possible]).pvalue > 1e-3


@examples
@given(st.integers(1, 20), st.integers(1, 20), st.fractions(0, 1), st.integers(0, 2**64))
def test_fan_ins_are_the_two_integers_around_the_mean(sources, targets, share, seed):
    mean = share * sources
    net = tk.FixedFanIn(widths=(sources, targets), fan_in=mean, seed=seed)
    layer = net.layer(0)
    validate(layer.indptr, layer.indices, layer.shape)
    fan_in = degrees(layer)[1]
    assert set(fan_in) <= {int(mean), int(mean) + 1}
    assert abs(sum(fan_in) - mean * targets) <= Fraction(1, 2)
    assert net.layer_edges == (sum(fan_in),)
    assert net.promises.density == Fraction(sum(fan_in), sources * targets)
    assert net.promises.degrees == (((None, fan_in[0]),) if len(set(fan_in)) == 1 else None)


@examples
@given(networks(), st.integers(0, 2**64))
def test_twins_have_the_edges_of_the_network(net, seed):
    fixed = tk.FixedFanIn.equivalent_to(net, seed)
    assert fixed.widths == net.widths
    assert fixed.layer_edges == net.layer_edges
    bernoulli = tk.Bernoulli.equivalent_to(net, seed)
    cells = map(prod, pairwise(net.widths))
    assert tuple(p * n for p, n in zip(bernoulli.densities, cells, strict=True)) == net.layer_edges


# Regular


@examples
@given(networks(), st.integers(0, 2**64))
def test_every_single_node_keeps_its_degrees(net, seed):
    twin = tk.Regular.equivalent_to(net, seed)
    assert twin.widths == net.widths
    assert twin.layer_edges == net.layer_edges
    for old, new in zip(net.stream(), twin.stream(), strict=True):
        validate(new.indptr, new.indices, new.shape)
        assert degrees(new) == degrees(old)


@examples
@given(networks())
def test_edges_move_in_every_layer_that_can_be_mixed(net):
    fixed = {int(note.split()[1]) for note in tk.Regular.equivalent_to(net, 0).notes}
    assume(len(fixed) < len(net))
    twins = [tk.Regular.equivalent_to(net, seed) for seed in range(40)]
    for i in range(len(net)):
        moved = any(edge_set(twin.layer(i)) != edge_set(net.layer(i)) for twin in twins)
        assert moved == (i not in fixed)


def test_the_equivalent_to_a_radix_net_shares_no_more_edges_with_it_than_chance():
    twin = tk.Regular.equivalent_to(LENET, 0)
    for old, new in zip(LENET.stream(), twin.stream(), strict=True):
        assert degrees(new) == degrees(old)
        shared = len(edge_set(old) & edge_set(new)) / old.edges
        assert abs(shared - 0.1) < 5 * np.sqrt(0.1 * 0.9 / old.edges)
    assert twin.notes == ()


def test_hubs_on_both_sides_are_mixed():
    """Nodes of very unequal degrees: mixing again leaves no less of the start than mixing once."""
    rng = np.random.default_rng(0)
    weights = rng.pareto(1.2, (2, 600)) + 0.05
    dense = rng.random((600, 600)) < np.minimum(np.outer(*weights) * 0.003, 1)
    assert min(dense.sum(axis=0).max(), dense.sum(axis=1).max()) > 30 * dense.sum() / 600
    net = tk.Topology.from_dense([dense])

    def shared_with_start(twin):
        return len(edge_set(net.layer(0)) & edge_set(twin.layer(0))) / net.edges

    once = [tk.Regular.equivalent_to(net, seed) for seed in range(3)]
    often = once
    for _ in range(3):
        often = [tk.Regular.equivalent_to(twin.build(), twin.seed + 10) for twin in often]
    assert abs(np.mean([*map(shared_with_start, once)]) - np.mean([*map(shared_with_start, often)])) < 0.01


def test_a_layer_without_another_graph_stays_and_is_named():
    complete, empty = np.ones((4, 5), bool), np.zeros((5, 3), bool)
    staircase, mixed = np.tril(np.ones((3, 4), bool)), np.eye(4, 6, dtype=bool)
    net = tk.Topology.from_dense([complete, empty, staircase, mixed])
    twin = tk.Regular.equivalent_to(net, 3)
    sentence = "layer {} is the only graph with these degrees, so its random equivalent is the layer itself"
    assert twin.notes == tuple(sentence.format(i) for i in (0, 1, 2))
    assert twin.build().notes == twin.notes
    for i in range(3):
        np.testing.assert_array_equal(twin.layer(i).to_dense(), net.layer(i).to_dense())


def test_regular_keeps_what_its_degrees_decide_and_promises_nothing_else():
    net = tk.RadixNet(radices=(4, 5), kron=(2, 3, 1))
    twin = tk.Regular.equivalent_to(tk.permute(net, seed=0), 0)
    assert twin.promises.degrees == net.promises.degrees
    assert twin.promises.density == net.promises.density
    assert twin.promises.names == {"soundness", "regularity", "density"}
    assert tk.Regular.equivalent_to(net.build(), 0).recipe["options"]["like"] == net.recipe
    assert tk.Regular.equivalent_to(tk.Topology.from_dense([np.eye(3)]), 0).recipe is None


# n-of-m and block


def test_every_node_has_n_of_each_m_sources():
    net = tk.NOfM(widths=(12, 8, 5), n=3, m=4, seed=3)
    for layer in net.stream():
        dense = layer.to_dense()
        groups = dense.T.reshape(dense.shape[1], -1, 4)
        assert (groups.sum(axis=2) == 3).all()
    assert net.layer_edges == (72, 30)
    assert net.promises.degrees == ((None, 9), (None, 6))
    assert net.promises.density == Fraction(3, 4)


def test_each_choice_of_n_of_m_is_equally_likely():
    layer = tk.NOfM(widths=(4, 6000), n=2, m=4, seed=0).layer(0)
    found = Counter(map(tuple, layer.to_dense().T.tolist()))
    assert len(found) == comb(4, 2)
    assert chisquare(list(found.values())).pvalue > 1e-4


def test_blocks_are_there_or_not_as_a_whole():
    net = tk.Block(widths=(12, 20, 8), block=4, density=("1/3", "1/2"), seed=2)
    for layer, blocks in zip(net.stream(), (5, 5), strict=True):
        sources, targets = layer.shape
        sums = layer.to_dense().reshape(sources // 4, 4, targets // 4, 4).sum(axis=(1, 3))
        assert set(sums.ravel()) == {0, 16}
        assert (sums == 16).sum() == blocks
    assert net.promises.density == Fraction(160, 12 * 20 + 20 * 8)


def test_each_choice_of_blocks_is_equally_likely():
    nets = (tk.Block(widths=(4, 4), block=2, density=".5", seed=seed) for seed in range(1200))
    found = Counter(net.layer(0).to_dense()[::2, ::2].tobytes() for net in nets)
    assert len(found) == comb(4, 2)
    assert chisquare(list(found.values())).pvalue > 1e-4


# File names and memory


def test_names_of_files_tell_the_layers_numbers_apart():
    widths, made = (40, 40, 40), []
    for numbers in ((30, 20), (20, 30), 20, (20, 20), 30):
        made += [
            tk.FixedFanIn(widths=widths, fan_in=numbers, seed=0),
            tk.SmallWorld(widths=widths, fan_in=numbers, rewire=0, seed=0),
        ]
    for shares in ((".3", ".2"), (".2", ".3"), ".2", (".2", ".2"), (".2", ".20001")):
        made += [
            tk.Bernoulli(widths=widths, density=shares, seed=0),
            tk.FixedFanIn(widths=widths, density=shares, seed=0),
            tk.SmallWorld(widths=widths, fan_in=20, rewire=shares, seed=1),
        ]
    recipes = {json.dumps(net.recipe) for net in made}
    assert len({net.slug for net in made}) == len(recipes) == len(made) - 5
    assert made[0].slug == "fixed-fan-in-40.40.40-of-30.20-seed-0"
    assert made[4].slug == "fixed-fan-in-40.40.40-of-20-seed-0"


def test_huge_networks_cost_nothing_until_a_layer_is_made():
    widest = (2**31 - 1,) * 3
    tracemalloc.start()
    full = tk.Bernoulli(widths=widest, density=1, seed=0)
    fixed = tk.FixedFanIn(widths=widest, fan_in=2**31 - 1, seed=0)
    twin = tk.Regular(like=full, seed=0)
    assert full.edges == fixed.edges == twin.edges == 2 * (2**31 - 1) ** 2
    for net in (full, fixed, twin):
        with pytest.raises(TooLargeError):
            net.layer(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_where_all_is_wanted_nothing_is_drawn():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    np.testing.assert_array_equal(subsets(rng, np.array([7, 7], np.uint64), 7), np.arange(14))
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("density", [0.002, 0.5])
def test_drawing_needs_memory_for_the_edges_only(density):
    widths = (int((100_000 / density) ** 0.5),) * 2
    bernoulli = tk.Bernoulli(widths=widths, density=density, seed=0)
    fixed = tk.FixedFanIn(widths=widths, fan_in=round(density * widths[0]), seed=0)
    for net, limit in ((bernoulli, 40), (fixed, 40), (tk.Regular(like=fixed.build(), seed=0), 65)):
        tracemalloc.start()
        edges = net.layer(0).edges
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit * edges
