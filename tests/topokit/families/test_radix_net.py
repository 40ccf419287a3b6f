"""RadiX-Nets against an edge-by-edge oracle and the published counts."""

from fractions import Fraction
from itertools import pairwise
from math import gcd, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.edges import validate
from topokit.families.radix_net import RadixNet


def oracle(systems, kron, direction):
    """The layers as dense matrices, from the definition: sums of powers of a cyclic shift, and numpy.kron."""
    n = prod(systems[0])
    shift = np.roll(np.eye(n, dtype=int), direction, axis=1)
    layers = []
    for system in systems:
        place = 1
        for radix in system:
            base = sum(np.linalg.matrix_power(shift, k * place) for k in range(radix))
            layers.append(np.kron(np.ones((kron[len(layers)], kron[len(layers) + 1]), int), base))
            place *= radix
    return layers


def product(layers):
    total = layers[0].astype(object)
    for layer in layers[1:]:
        total = total.dot(layer.astype(object))
    return total


def factorisations(n):
    return [[n]] + [[d, *rest] for d in range(2, n) if n % d == 0 for rest in factorisations(n // d)]


@st.composite
def specs(draw):
    n = draw(st.integers(2, 24))
    last = draw(st.sampled_from([d for d in range(2, n + 1) if n % d == 0]))
    full = [draw(st.sampled_from(factorisations(n))) for _ in range(draw(st.integers(1, 3)))]
    systems = [
        draw(st.permutations(system))
        for system in [*full, *draw(st.sampled_from([[], [[last]], factorisations(last)[-1:]]))]
    ]
    kron = draw(st.lists(st.integers(1, 3), min_size=sum(map(len, systems)) + 1, max_size=sum(map(len, systems)) + 1))
    return systems, kron, draw(st.sampled_from([1, -1]))


@settings(deadline=None, max_examples=200)
@given(specs())
def test_agrees_with_the_definition_edge_by_edge(case):
    systems, kron, direction = case
    net = RadixNet(radices=systems, kron=kron, direction=direction)
    dense = oracle(systems, kron, direction)
    assert net.widths == (dense[0].shape[0], *(layer.shape[1] for layer in dense))
    assert net.layer_edges == tuple(layer.sum() for layer in dense)
    for i, (layer, wanted) in enumerate(zip(net.stream(), dense, strict=True)):
        validate(layer.indptr, layer.indices, layer.shape)
        assert np.array_equal(layer.to_dense(), wanted)
        assert np.array_equal(net.layer(net.same_layer(i)).to_dense(), wanted)
    promises = net.promises
    assert np.array_equal(product(dense), np.full((net.widths[0], net.widths[-1]), promises.paths, object))
    assert promises.density == Fraction(sum(int(m.sum()) for m in dense), sum(m.size for m in dense))
    for (out_degree, in_degree), wanted in zip(promises.degrees, dense, strict=True):
        assert (wanted.sum(1) == out_degree).all()
        assert (wanted.sum(0) == in_degree).all()


@pytest.mark.parametrize(
    ("systems", "kron", "paths"),
    [
        ([[3, 4], [2, 6], [4]], [2, 1, 3, 2, 1, 2], 288),
        ([[3, 4], [6, 2]], [1, 2, 1, 3, 1], 72),
        ([[10, 10], [10]], [8, 3, 1, 1], 30),
        ([[2, 2, 2]], [1, 10, 10, 1], 100),
        ([[10, 10]], [8, 3, 1], 3),
        ([[10, 10]], [8, 30, 1], 30),
        ([[10, 10]], [1, 5, 2], 5),
        ([[10, 10, 10], [10]], [1, 2, 3, 2, 1], 10 * 12),
        ([[5, 7, 18], [7, 5, 3, 2, 3]], [1, 3, 2, 4, 2, 5, 3, 2, 1], 630 * 1440),
    ],
)
def test_published_networks(systems, kron, paths):
    net = RadixNet(radices=systems, kron=kron)
    assert net.widths == tuple(prod(systems[0]) * width for width in kron)
    assert net.promises.paths == paths
    some = np.eye(net.widths[0], 3, dtype=np.int64)  # paths from three inputs
    for layer in net.stream():
        some = layer.to_scipy(np.int64).T @ some
    assert set(some.ravel()) == {paths}


def test_a_flat_list_is_one_system_and_outer_widths_default_to_one():
    assert RadixNet(radices=[3, 2]) == RadixNet(radices=[(3, 2)], kron=(1, 1, 1))
    assert RadixNet(radices=[(2, 2, 2)], kron=(10, 10)).kron == (1, 10, 10, 1)
    assert RadixNet(radices=np.array([3, 2])[None]) == RadixNet(radices=[3, 2])


def test_slug_and_recipe_tell_specs_apart():
    one = RadixNet(radices=[(10, 10)], kron=(8, 3, 1))
    assert one.slug == "radix-net-10.10-kron-8.3.1"
    assert one.recipe == {
        "family": "radix-net",
        "options": {"radices": [[10, 10]], "kron": [8, 3, 1], "diagonals": None, "direction": 1},
    }
    assert RadixNet(radices=[(2, 3), (6,)], direction=-1).slug == "radix-net-2.3_6-backward"
    split = RadixNet(radices=[(2, 2)], kron=(2, 2, 2), diagonals=(1, 1))
    assert split.slug == "radix-net-2.2-kron-2.2.2-diagonals-1.1"
    assert split.promises.names == {"soundness", "regularity", "density"}
    assert len(RadixNet(radices=[(2,) * 12] * 50, kron=(3,) * 601).slug) < 100


def generalised(systems, kron, diagonals):
    """The layers with the authors' generalised Kronecker factor, from its definition: powers of a permutation."""
    full = oracle(systems, [1] * len(kron), 1)
    for i, base in enumerate(full):
        a, b, d = kron[i], kron[i + 1], diagonals[i]
        g = gcd(a, b)
        shift = np.roll(np.eye(g, dtype=int), 1, axis=1)
        circulant = sum(np.linalg.matrix_power(shift, k * g // d) for k in range(d))
        yield np.kron(np.kron(np.ones((a // g, b // g), int), circulant), base)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_generalised_kronecker_factors_agree_with_their_definition(data):
    systems = data.draw(st.sampled_from([[[2, 3]], [[3], [3]], [[2, 2], [2]]]))
    depth = sum(map(len, systems))
    kron = data.draw(st.lists(st.sampled_from([1, 2, 4, 6, 12]), min_size=depth + 1, max_size=depth + 1))
    divisors = [gcd(a, b) for a, b in pairwise(kron)]
    diagonals = [data.draw(st.sampled_from([d for d in range(1, g + 1) if g % d == 0])) for g in divisors]
    net = RadixNet(radices=systems, kron=kron, diagonals=diagonals)
    dense = list(generalised(systems, kron, diagonals))
    for i, (layer, wanted) in enumerate(zip(net.stream(), dense, strict=True)):
        validate(layer.indptr, layer.indices, layer.shape)
        assert np.array_equal(layer.to_dense(), wanted)
        assert np.array_equal(net.layer(net.same_layer(i)).to_dense(), wanted)
        assert (set(wanted.sum(1)), set(wanted.sum(0))) == tuple({degree} for degree in net.promises.degrees[i])
    assert net.promises.density == Fraction(sum(int(m.sum()) for m in dense), sum(m.size for m in dense))
    paths = set(product(dense).ravel())
    if diagonals == divisors:
        assert net.promises.paths == RadixNet(radices=systems, kron=kron).promises.paths
    assert net.promises.connected == (net.promises.paths is not None)
    if any(d == g for d, g in zip(diagonals, divisors, strict=True)):
        assert paths == {net.promises.paths}
    else:
        assert net.promises.paths is None
