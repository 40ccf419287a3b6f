"""Transforms against dense arithmetic."""

import tracemalloc
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.edges import validate
from topokit.errors import InvalidSpecError
from topokit.families.graph_challenge import GraphChallenge
from topokit.families.radix_net import RadixNet
from topokit.topologies import Topology, fingerprint
from topokit.transforms import concatenate, crop, kron, permute, reverse

examples = settings(max_examples=60, deadline=None)

LENET = RadixNet(radices=[(10, 10)], kron=(8, 3, 1))


@st.composite
def networks(draw, min_layers=1):
    """Dense layers with any edges at all, as bool arrays."""
    widths = draw(st.lists(st.integers(1, 6), min_size=min_layers + 1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0, 0.2, 0.5, 0.9, 1]))
    return [rng.random(shape) < density for shape in pairwise(widths)]


def streamed(dense):
    """The network as a Spec, whose streamed layers share one buffer."""
    return permute(Topology.from_dense(dense), permutations=[None] * (len(dense) + 1))


def assert_dense(net, expected):
    """The layers are those expected, canonical, alone and streamed, from either end; counted right."""
    assert net.widths == (expected[0].shape[0], *(dense.shape[1] for dense in expected))
    assert net.layer_edges == tuple(int(dense.sum()) for dense in expected)
    for i, dense in enumerate(expected):
        layer = net.layer(i)
        validate(layer.indptr, layer.indices, layer.shape)
        np.testing.assert_array_equal(layer.to_dense(), dense)
        assert net.same_layer(i) <= i
        np.testing.assert_array_equal(net.layer(net.same_layer(i)).to_dense(), dense)
    for layer, dense in zip(net.stream(), expected, strict=True):
        np.testing.assert_array_equal(layer.to_dense(), dense)
    for layer, dense in zip(net.stream(reverse=True), expected[::-1], strict=True):
        np.testing.assert_array_equal(layer.to_dense(), dense)


@examples
@given(networks(), st.sampled_from(["first", "last"]), st.data())
def test_a_crop_is_a_slice(dense, keep, data):
    net = data.draw(st.sampled_from([Topology.from_dense, streamed]))(dense)
    kept = [data.draw(st.integers(1, width)) for width in net.widths]
    windows = [slice(None, k) if keep == "first" else slice(-k, None) for k in kept]
    expected = [layer[pair] for layer, pair in zip(dense, pairwise(windows), strict=True)]
    assert_dense(crop(net, kept, keep), expected)


@examples
@given(networks(), st.data())
def test_kron_is_numpy_kron(dense, data):
    copies = [data.draw(st.integers(1, 4)) for _ in range(len(dense) + 1)]
    expected = [np.kron(np.ones(shape, bool), layer) for layer, shape in zip(dense, pairwise(copies), strict=True)]
    assert_dense(kron(streamed(dense), copies), expected)


@examples
@given(networks(), networks(), st.integers(0, 2**32))
def test_concatenate_chains_the_layers(one, two, seed):
    joint = np.random.default_rng(seed).random((one[-1].shape[1], two[0].shape[0])) < 0.5
    net = concatenate(Topology.from_dense([*one, joint]), streamed(two), reverse(streamed(two)))
    assert_dense(net, [*one, joint, *two, *(layer.T for layer in two[::-1])])


@examples
@given(networks())
def test_reverse_transposes_every_layer(dense):
    net = streamed(dense)
    assert_dense(reverse(net), [layer.T for layer in dense[::-1]])
    assert fingerprint(reverse(reverse(net))) == fingerprint(net)


@examples
@given(networks(), st.data())
def test_permute_moves_node_u_to_its_new_number(dense, data):
    net = Topology.from_dense(dense)
    permutations = [data.draw(st.none() | st.permutations(range(width))) for width in net.widths]
    moved = permute(net, permutations=permutations)
    numbers = [range(width) if p is None else p for p, width in zip(permutations, net.widths, strict=True)]
    for i, layer in enumerate(dense):
        np.testing.assert_array_equal(moved.layer(i).to_dense()[np.ix_(numbers[i], numbers[i + 1])], layer)
    assert moved.layer_edges == net.layer_edges


def test_a_seed_numbers_both_sides_of_a_node_layer_alike():
    chain = Topology.from_dense([np.eye(50, dtype=bool)] * 4)
    free, kept = permute(chain, seed=7), permute(chain, seed=7, keep_ends=True)
    for net, is_identity in ((free, False), (kept, True)):
        layers = [layer.to_dense() for layer in net.build().stream()]
        assert all((layer.sum(axis=1) == 1).all() for layer in layers)
        assert np.array_equal(reduce(np.dot, layers), np.eye(50, dtype=bool)) == is_identity
        assert not any(np.array_equal(one, two) for one, two in pairwise([np.eye(50, dtype=bool), *layers]))
    assert fingerprint(permute(chain, seed=7)) == fingerprint(free) != fingerprint(permute(chain, seed=8))
    np.testing.assert_array_equal(free.layer(2).to_dense(), list(free.build().stream())[2].to_dense())


def test_a_seed_draws_all_permutations_equally_often():
    one = Topology.from_dense([np.array([[True, False, False]])])
    seen = [int(permute(one, seed=seed).layer(0).indices[0]) for seed in range(600)]
    assert np.abs(np.bincount(seen) - 200).max() < 50


def test_equal_layers_are_known_to_be_equal():
    twice = RadixNet(radices=[(2, 3), (2, 3)])
    assert [kron(twice, (1,) * 5).same_layer(i) for i in range(4)] == [0, 1, 0, 1]
    assert [kron(twice, (1, 1, 1, 2, 1)).same_layer(i) for i in range(4)] == [0, 1, 2, 3]
    assert [crop(twice, (6, 5, 6, 5, 6)).same_layer(i) for i in range(4)] == [0, 1, 0, 1]
    assert [crop(twice, (5, 6, 6, 6, 6)).same_layer(i) for i in range(4)] == [0, 1, 2, 1]
    assert [reverse(crop(twice, (5, 6, 6, 6, 6))).same_layer(i) for i in range(4)] == [0, 1, 0, 3]
    equal = RadixNet(radices=[(2, 3)])
    joined = concatenate(equal, RadixNet(radices=[(3, 2)]), RadixNet(radices=[(2, 3)]))
    assert [joined.same_layer(i) for i in range(6)] == [0, 1, 2, 3, 0, 1]
    assert [permute(twice, seed=0).same_layer(i) for i in range(4)] == [0, 1, 2, 3]


def test_equal_layers_of_a_crop_are_counted_once(monkeypatch):
    read = []
    make = RadixNet.layer
    monkeypatch.setattr(RadixNet, "layer", lambda net, i: read.append(i) or make(net, i))
    assert crop(RadixNet(radices=[(2, 3)] * 5), (6, *(5,) * 10)).layer_edges == (10, *(13, 9) * 4, 13)
    assert read == [0, 1, 2]


def test_counting_the_edges_of_a_crop_holds_one_layer_at_a_time():
    net = permute(RadixNet(radices=[(100, 10)] * 20), seed=0)  # 1,100,000 edges, no two layers alike
    cropped = crop(net, (999,) * 41)
    tracemalloc.start()
    counted = sum(cropped.layer_edges)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counted == sum(layer.edges for layer in cropped.stream())
    assert peak < 6 * 8 * 100_000 < 8 * net.edges


def test_a_transform_of_a_network_without_a_recipe_has_none():
    nameless = Topology.from_dense([np.ones((2, 2), bool)])
    nets = (crop(nameless, (1, 1)), kron(nameless, (1, 1)), permute(nameless, seed=0), reverse(nameless))
    known = RadixNet(radices=(2,))
    for net in (*nets, concatenate(known, nameless), reverse(concatenate(nameless, known))):
        assert net.recipe is None
        assert net.build().recipe is None
    assert reverse(known).recipe == {"transform": "reverse", "options": {"of": known.recipe}}


def test_slugs_are_short_file_names():
    assert crop(LENET, (784, 300, 100), "last").slug == "radix-net-10.10-kron-8.3.1-crop-784.300.100-last"
    assert kron(LENET.build(), (1, 2, 1)).slug == "800.300.100-kron-1.2.1"
    assert permute(reverse(RadixNet(radices=(2,))), seed=5, keep_ends=True).slug.endswith(
        "-reversed-permuted-seed-5-inside"
    )
    long = Topology.from_dense([np.ones((3, 3), bool)] * 100)
    assert concatenate(long, long).slug == "3..3x101-then-3..3x101"
    assert concatenate(*[long] * 50).slug == "3..3x101-then-3..3x101-and-48-more"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: crop(LENET, (784, 301, 100)), "node layer 1 has 300 nodes and 301 are to be kept"),
        (lambda: crop(LENET, (784, 300)), "crop has 2 widths; the network has 3 node layers"),
        (lambda: crop(LENET, (784, 0, 100)), "widths must be at least 1, not 0"),
        (lambda: crop(LENET, "784"), "widths must be a list"),
        (lambda: crop(LENET, (784, 300, 100), "middle"), "keep must be one of first, last, not 'middle'"),
        (lambda: crop("net", (1, 1)), "there is no file, family or transform 'net'"),
        (lambda: kron(LENET, (1, 2)), "kron has 2 widths; the network has 3 node layers"),
        (lambda: kron(LENET, (1, 2.5, 1)), "kron must be integers"),
        (lambda: kron(LENET, (1, 2**32, 1)), "node layer 1 would have more than"),
        (lambda: concatenate(LENET), "at least two networks"),
        (lambda: concatenate(LENET, LENET), "network 0 ends in 100 nodes, but network 1 starts with 800"),
        (lambda: concatenate(LENET, None), "network 1 to concatenate must be a topology, not NoneType"),
        (lambda: permute(LENET), "either seed or permutations, and not both"),
        (lambda: permute(LENET, 1, permutations=[None] * 3), "either seed or permutations, and not both"),
        (lambda: permute(LENET, -1), "seed must be at least 0, not -1"),
        (lambda: permute(LENET, permutations=[None]), "a list of 3, one (or None)"),
        (
            lambda: permute(LENET, permutations=[None, None, [0] * 100]),
            "permutation 2 must hold each of the numbers 0 to 99",
        ),
        (
            lambda: permute(LENET, permutations=[None, None, range(99)]),
            "permutation 2 must hold each of the numbers 0 to 99",
        ),
        (lambda: permute(LENET, permutations=[None] * 3, keep_ends=True), "keep_ends needs seed"),
        (lambda: permute(LENET, 0, keep_ends=1), "keep_ends must be true or false, not 1"),
        (lambda: reverse([LENET]), "the network to reverse must be a topology, not list"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_numbers(make, message):
    with pytest.raises(InvalidSpecError) as refused:
        make()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_said_of_a_network_is_said_of_what_is_made_of_it():
    notes = ["layer 0 is odd", "it is old"]
    net = Topology.from_dense([np.ones((3, 4)), np.ones((4, 3))], notes=notes, by_channel=True)
    for made in (
        crop(net, (2, 4, 2)),
        permute(net, seed=0),
        kron(net, (1, 2, 1)),
        permute(crop(net, (2, 3, 1)), seed=0),
    ):
        assert made.notes == made.build().notes == net.notes
        assert made.by_channel
        assert made.build().by_channel
    assert reverse(net).notes == ("before it was reversed: layer 0 is odd", "it is old")
    assert concatenate(net, net).notes == (
        "of network 0: layer 0 is odd",
        "it is old",
        "of network 1: layer 0 is odd",
    )
    assert concatenate(Topology.from_dense([np.ones((2, 3))]), net).by_channel
    assert not concatenate(Topology.from_dense([np.ones((2, 3))]), RadixNet(radices=[(3,)])).by_channel
    predicted = GraphChallenge(neurons=4096, layers=1)
    assert predicted.notes
    assert permute(predicted, seed=0).notes == reverse(predicted).notes == predicted.notes
    assert crop(RadixNet(radices=(2, 2)), (3, 4, 3)).notes == ()
