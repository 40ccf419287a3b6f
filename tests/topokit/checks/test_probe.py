"""The probe's primes, arithmetic and error bound."""

from functools import reduce
from itertools import pairwise

import numpy as np
import pytest

from topokit.checks._probe import (
    PRIMES,
    chance_of_error,
    is_prime,
    path_bits,
    probes_needed,
    random_prime,
    run_probes,
)
from topokit.families.radix_net import RadixNet
from topokit.topologies import Topology


def sieve(limit):
    prime = np.ones(limit, bool)
    prime[:2] = False
    for n in range(2, int(limit**0.5) + 1):
        prime[n * n :: n] &= not prime[n]
    return np.flatnonzero(prime)


def test_primality_is_that_of_a_sieve():
    primes = set(sieve(20_000).tolist())
    assert [n for n in range(8, 20_000) if is_prime(n)] == sorted(primes - {2, 3, 5, 7})


def test_strong_pseudoprimes_to_fewer_bases_are_composite():
    """The smallest ones to the bases 2; 2 and 3; 2, 3 and 5."""
    assert not any(is_prime(n) for n in (2_047, 1_373_653, 25_326_001))


def test_drawn_primes_are_primes_of_31_bits_and_differ_from_draw_to_draw():
    random, small = np.random.default_rng(0), sieve(46_342)
    drawn = [random_prime(random) for _ in range(200)]
    assert len(set(drawn)) == 200
    assert all(2**30 <= n < 2**31 and (n % small != 0).all() for n in drawn)
    assert np.mean([n > 1.5 * 2**30 for n in drawn]) == pytest.approx(0.5, abs=0.15)


def test_the_number_of_primes_between_the_powers_of_two():
    assert PRIMES == 105_097_565 - 54_400_028  # the primes below 2^31 and below 2^30, OEIS A007053


def test_the_error_bound_is_the_formula_of_the_docstring():
    assert chance_of_error(590, 1) == pytest.approx(590 / 30 / 50_697_537 + 2**-30, rel=1e-12)
    assert chance_of_error(590, 1) == pytest.approx(4e-7, rel=0.05)
    assert chance_of_error(9584, 1) == pytest.approx(6e-6, rel=0.06)
    assert chance_of_error(9584, 3) == pytest.approx(chance_of_error(9584, 1) ** 3)
    for bits in (0, 1, 30, 590, 9584, 10**6, 10**8):
        count = probes_needed(bits)
        assert chance_of_error(bits, count) <= 1e-9
        assert count == 1 or chance_of_error(bits, count - 1) > 1e-9


def test_path_counts_stay_below_the_power_of_two_assumed():
    for net in (RadixNet(radices=[(2,) * 6] * 20, kron=(16,) * 121), RadixNet(radices=[(7,)])):
        assert net.paths < 2 ** path_bits(net)
    complete = Topology.from_dense([np.ones((4, 8)), np.ones((8, 16)), np.ones((16, 2))])
    assert path_bits(complete) >= 8  # 8 * 16 paths


def wide(widths, density, seed):
    random = np.random.default_rng(seed)
    return Topology.from_dense([random.random(s) < density for s in pairwise(widths)])


@pytest.mark.parametrize(
    "net",
    [wide((5, *(300,) * 9, 3), 1, 0), wide((5, *(300,) * 9, 3), 0.7, 1), wide((9, 8, 7, 6, 5), 0.3, 2)],
    ids=["complete", "dense", "with empty rows"],
)
def test_products_modulo_primes_do_not_wrap(net):
    """300^9 passes 2^64 several times over."""
    counts = reduce(np.dot, [layer.to_dense().astype(int).astype(object) for layer in net.stream()])
    for probe in run_probes(net, 3, seed=5):
        assert probe.paths == counts[0, 0] % probe.prime
        assert (probe.suspects == ()) == (counts.min() == counts.max())


def test_probes_depend_on_the_seed_alone_and_not_on_their_number():
    net = RadixNet(radices=[(3, 3), (9,)])
    assert run_probes(net, 3, seed=1)[:2] == run_probes(net, 2, seed=1)
    primes = {probe.prime for seed in (1, 2) for probe in run_probes(net, 3, seed)}
    assert len(primes) == 6


def test_suspects_hold_two_different_counts_among_them():
    for seed in range(30):
        net = wide((4, 5, 3), 0.6, seed)
        counts = reduce(np.dot, [layer.to_dense().astype(int) for layer in net.stream()])
        (probe,) = run_probes(net, 1, seed)
        if counts.min() == counts.max():
            assert probe.suspects == ()
        else:
            assert len(set(counts[list(probe.suspects)].flat)) > 1
