"""Probes: is a product of matrices c*J (every entry c)? Asked with random vectors, without the product.

Let P be the matrix of path counts. P = c*J holds if and only if P x = c * sum(x) for every vector x, and
then c is entry (u, 0), which a unit vector gives. A probe asks this for one random x modulo one random
prime p of 31 bits (Freivalds 1977). Equal entries of P x alone prove too little: equal rows give them too.

A fixed prime can be fooled by counts that differ by a multiple of it, and 2^64 by any two counts that are
multiples of a high power of two. Two different counts below 2^b are equal modulo at most b/30 of the
50,697,537 primes from 2^30 to 2^31; and if p keeps them apart, at most one x in p is fooled. So one probe
of a P that is not c*J misses it with probability at most b/30/50,697,537 + 2^-30, and independent probes
multiply.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, prod

import numpy as np

from topokit._native import multiply
from topokit.csr import UInt64Array, graphblas
from topokit.layered import Layer, Layered

LOW, HIGH = 2**30, 2**31
PRIMES = 50_697_537  # how many there are from LOW to HIGH
ERROR_BOUND = 1e-9


@dataclass(frozen=True, slots=True)
class Probe:
    """What one probe found.

    Args:
        prime: the modulus p.
        paths: the paths from input 0 to output 0, modulo p.
        suspects: inputs among whose path counts there certainly are two different ones: one input, or two;
            none where the probe found no fault.
    """

    prime: int
    paths: int
    suspects: tuple[int, ...]


def path_bits(net: Layered) -> int:
    """A b such that all path counts are below 2^b: a path is a choice of a node in each interior node layer."""
    return prod(net.widths[1:-1]).bit_length()


def chance_of_error(bits: int, probes: int) -> float:
    """An upper bound on the probability that so many probes all miss a P that is not c*J.

    Args:
        bits: all path counts are below 2**bits.
        probes: number of independent probes.
    """
    return (bits / 30 / PRIMES + 1 / LOW) ** probes


def probes_needed(bits: int) -> int:
    """How many probes bring the chance of error down to ERROR_BOUND."""
    return ceil(log(ERROR_BOUND) / log(chance_of_error(bits, 1)))


def run_probes(net: Layered, count: int, seed: int) -> list[Probe]:
    """Make `count` independent probes in one pass over the layers, last one first.

    Entries are reduced modulo the primes only when the next product could pass 2^64.

    Cost: O(edges * count) time, one layer in memory.
    """
    randoms = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,))) for i in range(count)]
    primes = [random_prime(random) for random in randoms]
    outputs = net.widths[-1]
    drawn = [r.integers(prime, size=outputs, dtype=np.uint64) for r, prime in zip(randoms, primes, strict=True)]
    totals = [sum(vector.tolist()) for vector in drawn]
    vectors, bound = np.stack([*drawn, *[np.eye(1, outputs, dtype=np.uint64)[0]] * count], axis=1), HIGH
    modulus = np.array(primes * 2, np.uint64)
    for layer in net.stream(reverse=True):
        largest = int(layer.out_degrees.max())
        if bound * largest >= 2**64:
            vectors, bound = vectors % modulus, HIGH
        vectors = _product(layer, vectors)
        bound *= largest
    vectors = (vectors % modulus).T
    return list(map(_judged, primes, totals, vectors[:count], vectors[count:]))


def _product(layer: Layer, vectors: UInt64Array) -> UInt64Array:
    """Return a layer's matrix times vectors, shape (targets, vectors): each source gets the sums over its targets."""
    rows = layer.native_rows()
    if rows is not None:
        return multiply(rows, vectors, reverse=True)
    gb = graphblas()
    semiring = gb.semiring.plus_second["UINT64"]
    products = (layer.matrix.mxv(gb.Vector.from_dense(vector), semiring).new() for vector in vectors.T.copy())
    return np.stack([product.to_dense(fill_value=0) for product in products], axis=1)


def _judged(prime: int, total: int, product: UInt64Array, column: UInt64Array) -> Probe:
    """Return what P x (`product`) and the first column of P show, for an x with this total."""
    paths = int(column[0])
    unequal = np.flatnonzero(column != paths)  # rows that differ from row 0 in their first entry
    if unequal.size:
        return Probe(prime, paths, (0, int(unequal[0])))
    uneven = np.flatnonzero(product != paths * total % prime)  # rows that are not constant
    return Probe(prime, paths, tuple(uneven[:1].tolist()))


def random_prime(random: np.random.Generator) -> int:
    """A prime drawn uniformly from those between 2^30 and 2^31."""
    while not is_prime(number := int(random.integers(LOW, HIGH))):
        pass
    return number


def is_prime(n: int) -> bool:
    """Whether n is prime, for n from 8 to 3,215,031,750: Miller and Rabin's test with the bases 2, 3, 5 and 7.

    No composite number below that limit passes all four (Pomerance, Selfridge & Wagstaff 1980).
    """
    if n % 2 == 0:
        return False
    twos = ((n - 1) & (1 - n)).bit_length() - 1
    odd = (n - 1) >> twos
    squares = ([pow(base, odd << k, n) for k in range(twos)] for base in (2, 3, 5, 7))
    return all(chain[0] == 1 or n - 1 in chain for chain in squares)
