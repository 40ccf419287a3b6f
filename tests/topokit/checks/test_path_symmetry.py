"""Path symmetry by counting and by probing, against dense products of Python integers."""

from functools import reduce
from itertools import pairwise
from math import prod
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.checks import METHODS, Verdict, _probe
from topokit.checks.path_symmetry import path_symmetry
from topokit.errors import TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.layered import Promises
from topokit.topologies import Topology


def dense_counts(net):
    return reduce(np.dot, [layer.to_dense().astype(int).astype(object) for layer in net.stream()])


def confirm_witness(found, counts):
    """Two pairs, with the counts that a dense recount gives them, and these differ."""
    assert found.verdict is Verdict.FAILS
    assert [counts[tuple(pair)] for pair in found.witness["pairs"]] == [int(n) for n in found.witness["paths"]]
    assert len(set(found.witness["paths"])) == 2


def multiplying(*branches):
    """Two layers that multiply the paths to node i by branches[i]."""
    split = np.repeat(np.eye(len(branches)), branches, axis=1)
    return [split, split.T]


FOOLS_A_FIXED_PRIME = [np.ones((1, 2)), *multiplying(2, 1) * 31, np.eye(2)]
FOOLS_64_BITS = [np.ones((1, 2)), *multiplying(2, 1), *multiplying(2, 2) * 64]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("radices", "kron"),
    [([(3, 4), (2, 6), (4,)], (2, 1, 3, 2, 1, 2)), ([(2, 2, 2)], (10, 10)), ([(5,)], None), ([(2,) * 6] * 20, None)],
)
def test_radix_nets_are_symmetric_with_the_promised_count(radices, kron, method):
    net = RadixNet(radices=radices, kron=kron)
    found = path_symmetry(net, method)
    assert found.verdict is Verdict.HOLDS
    assert found.values == {"paths": str(net.paths)}
    assert found.method == ("probe" if method == "probe" else "exact")
    assert found.error_bound <= 1e-9
    assert (found.error_bound == 0) == (method != "probe")


@pytest.mark.parametrize("method", METHODS)
def test_another_count_than_the_promised_one_fails(method):
    layers = list(RadixNet(radices=[(2, 3)], kron=(5,)).build().stream())
    found = path_symmetry(Topology(layers, promises=Promises(paths=7)), method)
    assert found.verdict is Verdict.FAILS
    assert "5 paths, but 7 are promised" in found.reason
    assert found.witness["paths"] == ["5", "5"]


def test_a_promise_that_only_the_primes_of_a_probe_confirm_fails():
    net = RadixNet(radices=[(2, 3)], kron=(5,))
    promised = 5 + prod(probe.prime for probe in _probe.run_probes(net, 2, seed=0))
    found = path_symmetry(Topology(net.build().stream(), promises=Promises(paths=promised)), "probe", seed=0)
    assert found.verdict is Verdict.FAILS
    assert found.witness["paths"] == ["5", "5"]


@pytest.mark.parametrize("method", METHODS)
def test_no_paths_at_all_is_symmetric_and_said(method):
    net = Topology.from_dense([np.ones((3, 2)), np.zeros((2, 4))])
    found = path_symmetry(net, method)
    assert found.verdict is Verdict.HOLDS
    if method != "probe":
        assert found.values == {"paths": "0"}
        assert "no input reaches any output" in found.reason
    assert path_symmetry(Topology(net.stream(), promises=Promises(paths=1)), method).verdict is Verdict.FAILS


def test_an_unpromised_count_is_known_modulo_the_primes_of_a_probe():
    found = path_symmetry(Topology(RadixNet(radices=[(4,) * 3] * 10).build().stream()), "probe")
    assert found.verdict is Verdict.HOLDS
    assert len(found.values["paths_modulo"]) == 2
    for prime, residue in found.values["paths_modulo"].items():
        assert int(residue) == 64**9 % int(prime)


@st.composite
def nearly_complete(draw):
    """Complete layers with now and then a hole: some are symmetric, some not."""
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    matrices = [np.ones(shape, bool) for shape in pairwise(widths)]
    for matrix in matrices:
        for hole in draw(st.lists(st.integers(0, matrix.size - 1), max_size=1)):
            matrix.flat[hole] = False
    return Topology.from_dense(matrices)


@given(nearly_complete())
@settings(deadline=None, max_examples=150)
def test_all_methods_agree_with_a_dense_recount(net):
    counts = dense_counts(net)
    symmetric = counts.min() == counts.max()
    for method in METHODS:
        found = path_symmetry(net, method)
        assert (found.verdict is Verdict.HOLDS) == symmetric
        if not symmetric:
            confirm_witness(found, counts)
            assert found.error_bound == 0
    if not symmetric:
        assert path_symmetry(net, "exact").values == {"min": str(counts.min()), "max": str(counts.max())}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "counts",
    [
        [[1, 2, 3], [1, 2, 3]],  # equal rows: P x is constant for every x
        [[1, 1, 1], [2, 2, 2]],  # equal columns
        [[2, 2, 2], [2, 2, 1]],
        [[0, 0, 0], [0, 0, 1]],
    ],
)
def test_each_way_of_not_being_symmetric_is_seen(counts, method):
    """One edge from the input to each of as many middle nodes as there are paths, and one on to the output."""
    counts = np.array(counts)
    inputs, outputs = np.nonzero(counts)
    inputs, outputs = (np.repeat(ends, counts[counts > 0]) for ends in (inputs, outputs))
    net = Topology.from_dense([np.eye(2, dtype=int)[:, inputs], np.eye(3, dtype=int)[outputs]])
    assert np.array_equal(dense_counts(net), counts)
    confirm_witness(path_symmetry(net, method), counts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layers", [FOOLS_A_FIXED_PRIME, FOOLS_64_BITS], ids=["prime", "64 bits"])
def test_counts_that_agree_modulo_what_others_reduce_by_are_told_apart(layers, method):
    net = Topology.from_dense(layers)
    confirm_witness(path_symmetry(net, method), dense_counts(net))


def test_a_fixed_prime_or_64_bits_would_be_fooled(monkeypatch):
    """That the networks of the test above are the counterexamples they are meant to be."""
    assert len(FOOLS_A_FIXED_PRIME) == 64
    assert max(matrix.shape[1] for matrix in FOOLS_A_FIXED_PRIME) == 3
    assert set(dense_counts(Topology.from_dense(FOOLS_A_FIXED_PRIME)).flat) == {2**31, 1}
    monkeypatch.setattr(_probe, "random_prime", Mock(return_value=2**31 - 1))
    assert path_symmetry(Topology.from_dense(FOOLS_A_FIXED_PRIME), "probe").verdict is Verdict.HOLDS
    assert {count % 2**64 for count in dense_counts(Topology.from_dense(FOOLS_64_BITS)).flat} == {0}


def test_the_reason_tells_counts_apart_whose_leading_digits_agree():
    layers = [np.ones((1, 3)), *multiplying(3, 3, 1) * 50, np.array([[1, 0], [0, 1], [0, 1]])]
    found = path_symmetry(Topology.from_dense(layers))
    assert found.witness == {"pairs": [[0, 0], [0, 1]], "paths": [str(3**50), str(3**50 + 1)]}
    assert found.reason == (
        "input 0 reaches output 0 on about 7.178e23 paths, but input 0 reaches output 1 on about 7.178e23 paths, 1 more"
    )
    assert path_symmetry(Topology.from_dense([np.array([[1, 0]])])).reason == (
        "input 0 reaches output 1 on 0 paths, but input 0 reaches output 0 on 1 path"
    )


def test_auto_probes_what_would_cost_too_much_to_count(monkeypatch):
    net = Topology.from_dense(np.random.default_rng(0).random((3, 30, 30)) < 0.5)
    assert path_symmetry(net).method == "exact"
    monkeypatch.setattr("topokit.checks.path_symmetry.BUDGET", 1000)
    found = path_symmetry(net)
    assert found.method == "probe"
    confirm_witness(found, dense_counts(net))
    assert path_symmetry(net, "exact").method == "exact"


def test_auto_probes_what_needs_too_much_memory_and_exact_refuses_it(monkeypatch):
    net = RadixNet(radices=[(2, 2)])
    monkeypatch.setattr("topokit.measures._sweep.require_memory", Mock(side_effect=TooLargeError("counting paths")))
    assert path_symmetry(net).method == "probe"
    with pytest.raises(TooLargeError):
        path_symmetry(net, "exact")
