"""Structure: what is reported is there, edge by edge, and what was built in is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit import Bernoulli, FixedFanIn, RadixNet, Regular, Topology
from topokit.measures._cycles import CyclicOrders
from topokit.measures.structure import structure, structures


def radix_mask(radix, place, nodes, kron, direction):
    """ones(a, b) (x) the circulant of a mixed radix system's layer, edge by edge."""
    base = np.zeros((nodes, nodes), bool)
    for u in range(nodes):
        for k in range(radix):
            base[u, (u + direction * k * place) % nodes] = True
    return np.kron(np.ones(kron, bool), base)


def mask_of(found, shape):
    """The pattern that a structure describes, written out pair of classes by pair of classes."""
    mask, band = np.zeros(shape, bool), found.band
    ends = [np.split(side.members, np.cumsum(side.sizes)[:-1]) for side in (found.sources, found.targets)]
    for cycle in range(band.stride):
        first = cycle * band.length
        for i in range(band.length):
            for k in range(band.radix):
                mask[np.ix_(ends[0][first + i], ends[1][first + (i + k) % band.length])] = True
    return mask


def structure_of(mask):
    return structure(Topology.from_dense([mask]).layer(0))


@st.composite
def radix_layers(draw):
    """(mask, radix, place value, nodes) of a layer somewhere in a system of three radices, with copies of its nodes."""
    radices = draw(st.lists(st.integers(2, 5), min_size=3, max_size=3))
    i = draw(st.integers(0, 2))
    place, nodes = int(np.prod(radices[:i])), int(np.prod(radices))
    kron = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return radix_mask(radices[i], place, nodes, kron, draw(st.sampled_from([1, -1]))), radices[i], place, nodes


def confirm(found, mask, radix, place, nodes):
    assert np.array_equal(mask_of(found, mask.shape), mask)
    length = nodes // place
    expected = (place, 1, 1) if radix == length else (place, length, radix)
    assert (found.band.stride, found.band.length, found.band.radix) == expected


@given(radix_layers(), st.data())
@settings(deadline=None, max_examples=250)
def test_a_radix_layer_is_found_however_its_nodes_are_numbered_while_each_keeps_a_copy(case, data):
    mask, radix, place, nodes = case
    sources, targets = (data.draw(st.integers(nodes, width)) for width in mask.shape)
    mask = mask[:sources, :targets] if data.draw(st.booleans()) else mask[-sources:, -targets:]
    confirm(structure_of(mask), mask, radix, place, nodes)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shuffled = mask[random.permutation(sources)][:, random.permutation(targets)]
    confirm(structure_of(shuffled), shuffled, radix, place, nodes)


@given(radix_layers(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=150)
def test_one_edge_more_or_less_is_seen(case, seed):
    mask, *_ = case
    random = np.random.default_rng(seed)
    u, v = random.integers(mask.shape[0]), random.integers(mask.shape[1])
    mask[u, v] ^= True
    found = structure_of(mask)
    assert found.band is None or np.array_equal(mask_of(found, mask.shape), mask)


@pytest.mark.parametrize("length", range(4, 9))
def test_every_radix_up_to_the_length_is_found(length):
    for radix in range(1, length + 1):
        mask = radix_mask(radix, 3, 3 * length, (1, 1), 1)
        found = structure_of(mask)
        assert np.array_equal(mask_of(found, mask.shape), mask)
        if radix == 1:  # then each node is a block of its own
            assert (found.band.stride, found.band.length) == (3 * length, 1)
        else:
            confirm(found, mask, radix, 3, 3 * length)


@pytest.mark.parametrize("direction", [1, -1])
def test_the_direction_is_read_from_the_numbers_of_the_nodes(direction):
    net = RadixNet(radices=[(3, 4, 5)], kron=(2, 1, 1, 3), direction=direction)
    found = list(structures(net))
    assert [part.band.direction for part in found] == [direction, direction, None]
    mask = net.layer(0).to_dense()
    assert structure_of(np.roll(mask, 5, axis=1)).band.direction is None


def test_nodes_without_edges_are_left_out():
    mask = np.insert(np.insert(radix_mask(3, 2, 12, (2, 1), 1), 4, False, axis=0), [0, 7], False, axis=1)
    found = structure_of(mask)
    assert np.array_equal(mask_of(found, mask.shape), mask)
    assert 4 not in found.sources.members
    assert not {0, 8} & {*found.targets.members.tolist()}
    nothing = structure_of(np.zeros((3, 2), bool))
    assert nothing.band is None
    assert nothing.sources.members.size == nothing.targets.sizes.size == 0
    assert str(nothing) == "none"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("family", "said"), [(Bernoulli, "none"), (FixedFanIn, "fan-in 12"), (Regular, "fan-in 12, fan-out 12")]
)
def test_random_layers_have_no_band(family, said, seed):
    found = list(structures(family.equivalent_to(RadixNet(radices=[(6, 5)], kron=(2, 2, 2)), seed)))
    assert ([one.band for one in found], str(found[0])) == ([None, None], said)


def test_cycles_of_two_lengths_are_no_band():
    mask = np.zeros((11, 11), bool)
    mask[:5, :5], mask[5:, 5:] = (radix_mask(2, 1, length, (1, 1), 1) for length in (5, 6))
    assert structure_of(mask).band is None


def test_a_wrong_order_is_not_believed(monkeypatch):
    mask = radix_mask(3, 1, 12, (1, 1), 1)
    wrong = CyclicOrders(np.arange(12)[None], np.array([[1, 0, *range(2, 12)]]), 3)
    monkeypatch.setattr("topokit.measures._cycles._walk", lambda *_: wrong)
    assert structure_of(mask).band is None


def test_a_structure_says_in_one_line_what_it_is():
    net = RadixNet(radices=[(10, 10)], kron=(8, 3, 1))
    cropped = Topology.from_dense([net.layer(0).to_dense()[:784], net.layer(1).to_dense()])
    assert [str(found) for found in structures(cropped)] == [
        "band: radix 10, stride 1, length 100, forward, x 7..8 x 3",
        "10 blocks of 30 x 10",
    ]
    assert str(structure_of(np.ones((3, 2), bool))) == "1 block of 3 x 2"
