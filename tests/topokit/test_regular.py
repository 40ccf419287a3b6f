"""Regular random networks: every degree is kept, the edges are not, and what cannot be mixed is named."""

from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topokit.edges import validate
from topokit.families.radix_net import RadixNet
from topokit.families.regular import Regular
from topokit.topologies import Topology
from topokit.transforms import crop, permute

examples = settings(max_examples=60, deadline=None)

LENET = crop(RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))


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


@examples
@given(networks(), st.integers(0, 2**64))
def test_every_single_node_keeps_its_degrees(net, seed):
    twin = Regular.equivalent_to(net, seed)
    assert twin.widths == net.widths
    assert twin.layer_edges == net.layer_edges
    for old, new in zip(net.stream(), twin.stream(), strict=True):
        validate(new.indptr, new.indices, new.shape)
        assert degrees(new) == degrees(old)


@examples
@given(networks())
def test_edges_move_in_every_layer_that_can_be_mixed(net):
    fixed = {int(note.split()[1]) for note in Regular.equivalent_to(net, 0).notes}
    assume(len(fixed) < len(net))
    twins = [Regular.equivalent_to(net, seed) for seed in range(40)]
    for i in range(len(net)):
        moved = any(edge_set(twin.layer(i)) != edge_set(net.layer(i)) for twin in twins)
        assert moved == (i not in fixed)


def test_the_equivalent_to_a_radix_net_shares_no_more_edges_with_it_than_chance():
    twin = Regular.equivalent_to(LENET, 0)
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
    net = Topology.from_dense([dense])

    def shared_with_start(twin):
        return len(edge_set(net.layer(0)) & edge_set(twin.layer(0))) / net.edges

    once = [Regular.equivalent_to(net, seed) for seed in range(3)]
    often = once
    for _ in range(3):
        often = [Regular.equivalent_to(twin.build(), twin.seed + 10) for twin in often]
    assert abs(np.mean([*map(shared_with_start, once)]) - np.mean([*map(shared_with_start, often)])) < 0.01


def test_a_layer_without_another_graph_stays_and_is_named():
    complete, empty = np.ones((4, 5), bool), np.zeros((5, 3), bool)
    staircase, mixed = np.tril(np.ones((3, 4), bool)), np.eye(4, 6, dtype=bool)
    net = Topology.from_dense([complete, empty, staircase, mixed])
    twin = Regular.equivalent_to(net, 3)
    sentence = "layer {} is the only graph with these degrees, so its random equivalent is the layer itself"
    assert twin.notes == tuple(sentence.format(i) for i in (0, 1, 2))
    assert twin.build().notes == twin.notes
    for i in range(3):
        np.testing.assert_array_equal(twin.layer(i).to_dense(), net.layer(i).to_dense())


def test_regular_keeps_what_its_degrees_decide_and_promises_nothing_else():
    net = RadixNet(radices=(4, 5), kron=(2, 3, 1))
    twin = Regular.equivalent_to(permute(net, seed=0), 0)
    assert twin.promises.degrees == net.promises.degrees
    assert twin.promises.density == net.promises.density
    assert twin.promises.names == {"soundness", "regularity", "density"}
    assert Regular.equivalent_to(net.build(), 0).recipe["options"]["like"] == net.recipe
    assert Regular.equivalent_to(Topology.from_dense([np.eye(3)]), 0).recipe is None
