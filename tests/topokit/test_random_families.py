"""Random families: the law of what they draw, degrees kept, seeds, and numbers that make no sense."""

import json
import tracemalloc
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise, product
from math import comb, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from topokit.edges import validate
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.families._random import subsets
from topokit.families.bernoulli import Bernoulli
from topokit.families.fixed_fan_in import FixedFanIn
from topokit.families.radix_net import RadixNet
from topokit.families.regular import Regular
from topokit.families.small_world import SmallWorld
from topokit.topologies import Topology, fingerprint
from topokit.transforms import crop

examples = settings(max_examples=60, deadline=None)

LENET = crop(RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))
RANDOM = [
    Bernoulli(widths=(60, 40, 50, 30), density=(0.1, 0.5, 0.9), seed=1),
    FixedFanIn(widths=(60, 40, 50, 30), fan_in=(3, "41/2", 49), seed=1),
    Regular(like=Bernoulli(widths=(60, 40, 50, 30), density=(0.1, 0.5, 0.9), seed=0), seed=1),
    Regular(like=LENET, seed=1),
]


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
    return Topology.from_dense(layers)


def degrees(layer):
    dense = layer.to_dense()
    return dense.sum(axis=1).tolist(), dense.sum(axis=0).tolist()


def edge_set(layer):
    return set(zip(layer.sources.tolist(), layer.indices.tolist(), strict=True))


@pytest.mark.parametrize("net", RANDOM, ids=lambda net: net.name)
def test_a_layer_is_the_same_alone_streamed_or_built_and_is_counted_right(net):
    streamed = [edge_set(layer) for layer in net.stream()]
    assert streamed == [edge_set(net.layer(i)) for i in range(len(net))]
    assert streamed == [edge_set(layer) for layer in net.build().stream()]
    assert streamed == [edge_set(layer) for layer in net.stream(reverse=True)][::-1]
    assert net.layer_edges == tuple(map(len, streamed))
    for layer in net.stream():
        validate(layer.indptr, layer.indices, layer.shape)


@pytest.mark.parametrize("name", RANDOM_EQUIVALENTS)
def test_the_seed_decides_everything(name):
    equivalent_to = FAMILIES[name].equivalent_to
    assert (
        fingerprint(equivalent_to(LENET, 5))
        == fingerprint(equivalent_to(LENET, 5))
        != fingerprint(equivalent_to(LENET, 6))
    )
    square = RadixNet(radices=[(4, 4), (4, 4)])  # layers 0 and 2 are equal, their random equivalents are not
    twin = equivalent_to(square, 0)
    assert edge_set(square.layer(0)) == edge_set(square.layer(2))
    assert edge_set(twin.layer(0)) != edge_set(twin.layer(2))


PINNED = {
    "regular": "4d38028e2cb5a2b74823cb5ecd42bf66bef22653b02fc7aee780de2c6a68396a",
    "fixed-fan-in": "6587f5ed5b27d58631f462c9fdae074ec1114af479a6ecc236dad13019b2f112",
    "bernoulli": "63be6244734f13070fc395a5f692991bb65fa02a07cb90f67464680804d413fc",
}


@pytest.mark.parametrize("name", RANDOM_EQUIVALENTS)
def test_a_seed_means_the_same_network_for_ever(name):
    """A saved network names its seed: should NumPy ever change its streams, this must be noticed."""
    assert fingerprint(FAMILIES[name].equivalent_to(LENET, 0)) == PINNED[name]


# Bernoulli


@pytest.mark.parametrize("density", ["1/3", "0.8"])
def test_every_bernoulli_pattern_has_its_exact_probability(density):
    draws, p = 4000, Fraction(density)
    seen = Counter(
        Bernoulli(widths=(2, 2), density=density, seed=seed).layer(0).to_dense().tobytes() for seed in range(draws)
    )
    patterns = [bytes(cells) for cells in product((0, 1), repeat=4)]
    expected = [draws * float(p ** sum(cells) * (1 - p) ** (4 - sum(cells))) for cells in patterns]
    assert chisquare([seen[cells] for cells in patterns], expected).pvalue > 1e-3


def test_bernoulli_edges_are_spread_as_independent_draws_are():
    net = Bernoulli(widths=(200, 300), density=0.07, seed=3)
    dense = net.layer(0).to_dense()
    for axis, cells in ((0, 200), (1, 300)):
        sums = dense.sum(axis=axis)
        assert abs(sums.mean() - 0.07 * cells) < 5 * np.sqrt(0.07 * 0.93 * cells / sums.size)
        assert 0.7 < sums.var() / (cells * 0.07 * 0.93) < 1.35
    both = (dense[:-1, :-1] & dense[1:, 1:]).mean()
    assert abs(both - 0.07**2) < 5 * np.sqrt(0.07**2 / dense.size)


def test_bernoulli_takes_the_exact_density_of_every_layer():
    twin = Bernoulli.equivalent_to(LENET, 0)
    assert twin.densities == (Fraction(1, 10), Fraction(1, 10))
    mixed = Bernoulli(widths=(3, 2, 2, 5), density=(0, Fraction(1, 7), 1.0), seed=0)
    assert mixed.densities == (0, Fraction(1, 7), 1)
    assert mixed.layer_edges[0] == 0
    assert mixed.layer_edges[2] == 10
    assert Bernoulli(widths=(2, 2, 2), density=".1", seed=0).densities == (Fraction(1, 10),) * 2
    assert Bernoulli(widths=(2, 2), density=np.float32(0.1), seed=np.int64(0)).densities == (Fraction(1, 10),)
    assert twin.promises.names == {"soundness"}


# Fixed fan-in


@pytest.mark.parametrize(("fan_in", "sizes"), [(1, [(1, 1)]), (3, [(3, 3)]), ("3/2", [(1, 2), (2, 1)]), (4, [(4, 4)])])
def test_every_choice_of_sources_is_equally_likely(fan_in, sizes):
    subsets = {k: [frozenset(chosen) for chosen in combinations(range(4), k)] for k in range(5)}
    possible = [pair for one, two in sizes for pair in product(subsets[one], subsets[two])]
    assert len(possible) == sum(comb(4, one) * comb(4, two) for one, two in sizes)
    seen = Counter()
    for seed in range(2000):
        dense = FixedFanIn(widths=(4, 2), fan_in=fan_in, seed=seed).layer(0).to_dense()
        seen[tuple(frozenset(np.flatnonzero(column).tolist()) for column in dense.T)] += 1
    assert set(seen) <= set(possible)
    assert len(possible) == 1 or chisquare([seen[pair] for pair in possible]).pvalue > 1e-3


@examples
@given(st.integers(1, 20), st.integers(1, 20), st.fractions(0, 1), st.integers(0, 2**64))
def test_fan_ins_are_the_two_integers_around_the_mean(sources, targets, share, seed):
    mean = share * sources
    net = FixedFanIn(widths=(sources, targets), fan_in=mean, seed=seed)
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
    fixed = FixedFanIn.equivalent_to(net, seed)
    assert fixed.widths == net.widths
    assert fixed.layer_edges == net.layer_edges
    bernoulli = Bernoulli.equivalent_to(net, seed)
    cells = map(prod, pairwise(net.widths))
    assert tuple(p * n for p, n in zip(bernoulli.densities, cells, strict=True)) == net.layer_edges


# Bad and huge numbers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bernoulli(widths=(3,), density=0.5, seed=0), "must be of at least 2 node layers, not 1"),
        (lambda: Bernoulli(widths=(3, 0), density=0.5, seed=0), "widths must be at least 1, not 0"),
        (lambda: Bernoulli(widths=(3, 2.0), density=0.5, seed=0), "widths must be integers"),
        (lambda: Bernoulli(widths=(3, 2**31), density=0.5, seed=0), "at most 2147483647"),
        (lambda: Bernoulli(widths=(3, 2), density=1.01, seed=0), "density must be from 0 to 1, not 1.01"),
        (lambda: Bernoulli(widths=(3, 2), density="-0.1", seed=0), "density must be from 0 to 1, not -0.1"),
        (lambda: Bernoulli(widths=(3, 2), density=float("nan"), seed=0), "density must be numbers such as 0.1"),
        (lambda: Bernoulli(widths=(3, 2), density="ten", seed=0), "density must be numbers such as 0.1"),
        (lambda: Bernoulli(widths=(3, 2), density=None, seed=0), "density must be numbers such as 0.1"),
        (lambda: Bernoulli(widths=(3, 2, 2), density=(0.1,) * 3, seed=0), "density has 3 numbers"),
        (lambda: Bernoulli(widths=(3, 2), density=0.5, seed=-1), "seed must be at least 0, not -1"),
        (lambda: Bernoulli(widths=(3, 2), density=0.5, seed=1.5), "seed must be integers"),
        (lambda: FixedFanIn(widths=(3, 2, 2), fan_in=(1, 3), seed=0), "layer 1: fan_in must be from 0 to 2"),
        (lambda: FixedFanIn(widths=(3, 2), fan_in="7/2", seed=0), "layer 0: fan_in must be from 0 to 3"),
        (lambda: FixedFanIn(widths=(3, 2), fan_in=-1, seed=0), "fan_in must be from 0 to 3"),
        (lambda: FixedFanIn(widths=(3, 2), fan_in=1, seed="0"), "seed must be integers"),
        (lambda: FixedFanIn(widths=3, fan_in=1, seed=0), "widths must be a list of integers"),
        (lambda: Regular(like=LENET, seed=-1), "seed must be at least 0, not -1"),
        (lambda: Regular(like=LENET, seed=True), "seed must be integers"),
        (lambda: Regular(like=3, seed=0), "the topology whose degrees are kept must be a topology, not int"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InvalidSpecError) as refused:
        make()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_of_files_tell_the_layers_numbers_apart():
    widths, made = (40, 40, 40), []
    for numbers in ((30, 20), (20, 30), 20, (20, 20), 30):
        made += [
            FixedFanIn(widths=widths, fan_in=numbers, seed=0),
            SmallWorld(widths=widths, fan_in=numbers, rewire=0, seed=0),
        ]
    for shares in ((".3", ".2"), (".2", ".3"), ".2", (".2", ".2"), (".2", ".20001")):
        made += [
            Bernoulli(widths=widths, density=shares, seed=0),
            FixedFanIn(widths=widths, density=shares, seed=0),
            SmallWorld(widths=widths, fan_in=20, rewire=shares, seed=1),
        ]
    recipes = {json.dumps(net.recipe) for net in made}
    assert len({net.slug for net in made}) == len(recipes) == len(made) - 5
    assert made[0].slug == "fixed-fan-in-40.40.40-of-30.20-seed-0"
    assert made[4].slug == "fixed-fan-in-40.40.40-of-20-seed-0"


def test_huge_networks_cost_nothing_until_a_layer_is_made():
    widest = (2**31 - 1,) * 3
    tracemalloc.start()
    full = Bernoulli(widths=widest, density=1, seed=0)
    fixed = FixedFanIn(widths=widest, fan_in=2**31 - 1, seed=0)
    twin = Regular(like=full, seed=0)
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
    bernoulli = Bernoulli(widths=widths, density=density, seed=0)
    fixed = FixedFanIn(widths=widths, fan_in=round(density * widths[0]), seed=0)
    for net, limit in ((bernoulli, 40), (fixed, 40), (Regular(like=fixed.build(), seed=0), 65)):
        tracemalloc.start()
        edges = net.layer(0).edges
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit * edges
