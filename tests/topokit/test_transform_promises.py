"""Every promise that a transform passes on, against the table in docs/architecture.md and a recount."""

from fractions import Fraction
from functools import reduce

import numpy as np
import pytest

from topokit.families.fixed_fan_in import FixedFanIn
from topokit.families.radix_net import RadixNet
from topokit.layered import Promises
from topokit.topologies import Topology
from topokit.transforms import concatenate, crop, kron, permute, reverse


def assert_promises_true(net):
    """Whatever is promised is recounted with Python integers."""
    layers = [layer.to_dense().astype(object) for layer in net.build().stream()]
    paths = reduce(np.dot, layers)
    promises = net.promises
    if promises.connected:
        assert (paths >= 1).all()
    if promises.paths is not None:
        assert set(paths.ravel()) == {promises.paths}
    if promises.density is not None:
        assert promises.density == Fraction(sum(dense.sum() for dense in layers), sum(dense.size for dense in layers))
    if promises.degrees is not None:
        for (out, into), dense in zip(promises.degrees, layers, strict=True):
            assert out is None or set(dense.sum(axis=1)) == {out}
            assert into is None or set(dense.sum(axis=0)) == {into}


@pytest.mark.parametrize(
    "net",
    [
        RadixNet(radices=[(2, 3), (3, 2)], kron=(2, 1, 3, 1, 1)),
        RadixNet(radices=(2, 5), kron=(4, 3, 1)),
        RadixNet(radices=(3, 4), direction=-1),
    ],
    ids=lambda net: net.slug,
)
def test_promises_are_passed_on_as_the_table_says_and_hold(net):
    every = {"soundness", "connectivity", "path-symmetry", "regularity", "density"}
    ends = (net.widths[0] - 1, *net.widths[1:-1], net.widths[-1] - 2)
    interior = (net.widths[0], net.widths[1] - 1, *net.widths[2:])
    table = [
        (crop(net, net.widths), every),
        (crop(net, ends), {"soundness", "connectivity", "path-symmetry"}),
        (crop(net, ends, "last"), {"soundness", "connectivity", "path-symmetry"}),
        (crop(net, interior), {"soundness"}),
        (concatenate(net, reverse(net), net), every),
        (concatenate(crop(net, ends), reverse(crop(net, ends))), {"soundness", "connectivity", "path-symmetry"}),
        (concatenate(crop(net, interior), reverse(net)), {"soundness"}),
        (kron(net, range(1, len(net.widths) + 1)), every),
        (kron(crop(net, ends), range(1, len(net.widths) + 1)), {"soundness", "connectivity", "path-symmetry"}),
        (permute(net, seed=1), every),
        (reverse(net), every),
        (reverse(Topology.from_dense([np.eye(3, dtype=bool)])), {"soundness"}),
        (kron(Topology.from_dense([np.eye(3, dtype=bool)]), (1, 2)), {"soundness"}),
    ]
    for made, names in table:
        assert made.promises.names == names, made.slug
        assert_promises_true(made)


def test_a_promise_of_no_path_at_all_is_passed_on():
    none = Topology.from_dense([np.zeros((2, 3), bool)], promises=Promises(paths=0))
    some = Topology.from_dense([np.ones((3, 4), bool)], promises=Promises(paths=1))
    for net in (concatenate(none, some), kron(concatenate(none, some), (2, 3, 2)), reverse(none)):
        assert net.promises.paths == 0
        assert_promises_true(net)


def test_degrees_where_only_one_side_is_known():
    net = FixedFanIn(widths=(9, 6, 4), fan_in=(3, "5/2"), seed=0)
    assert net.promises.degrees == ((None, 3), (None, None))
    wide = kron(net, (2, 1, 3))
    assert wide.promises.degrees == ((None, 6), (None, None))
    assert wide.promises.density == Fraction(36 + 30, 18 * 6 + 6 * 12)
    assert kron(Topology.from_dense([np.eye(2)]), (2, 1)).promises.density is None
    first = FixedFanIn(widths=(9, 6), fan_in=3, seed=0)
    turned = concatenate(reverse(first), first)
    assert turned.promises.degrees == ((3, None), (None, 3))
    assert turned.promises.density == Fraction(1, 3)
    assert_promises_true(wide)
    assert_promises_true(turned)
