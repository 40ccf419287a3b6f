"""Options of families that are refused: each message says which number breaks which rule, in one line."""

from functools import partial

import pytest

import topokit as tk
from topokit.errors import InvalidSpecError

BERNOULLI = partial(tk.Bernoulli, widths=(3, 2), density=0.5, seed=0)
FIXED_FAN_IN = partial(tk.FixedFanIn, widths=(3, 2, 2), seed=0)
REGULAR = partial(tk.Regular, like=tk.RadixNet(radices=[(2, 3)]), seed=0)
SMALL_WORLD = partial(tk.SmallWorld, widths=(8, 4, 2), fan_in=3, rewire=0, seed=0)
N_OF_M = partial(tk.NOfM, widths=(8, 4), n=2, m=4, seed=0)
BLOCK = partial(tk.Block, widths=(8, 8), block=4, density=".5", seed=0)
TWICE = {"radices": [(2, 2)]}


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (BERNOULLI, {"widths": (3,)}, "must be of at least 2 node layers, not 1"),
        (BERNOULLI, {"widths": (3, 0)}, "widths must be at least 1, not 0"),
        (BERNOULLI, {"widths": (3, 2.0)}, "widths must be integers"),
        (BERNOULLI, {"widths": (3, 2**31)}, "at most 2147483647"),
        (BERNOULLI, {"widths": 3}, "widths must be a list of integers"),
        (BERNOULLI, {"widths": {3, 2}}, "widths must be a list of integers"),
        (BERNOULLI, {"density": 1.01}, "density must be from 0 to 1, not 1.01"),
        (BERNOULLI, {"density": "-0.1"}, "density must be from 0 to 1, not -0.1"),
        (BERNOULLI, {"density": float("nan")}, "density must be numbers such as 0.1"),
        (BERNOULLI, {"density": "ten"}, "density must be numbers such as 0.1"),
        (BERNOULLI, {"density": None}, "density must be numbers such as 0.1"),
        (BERNOULLI, {"widths": (3, 2, 2), "density": (0.1,) * 3}, "density has 3 numbers"),
        (BERNOULLI, {"seed": -1}, "seed must be at least 0, not -1"),
        (BERNOULLI, {"seed": 1.5}, "seed must be integers"),
        (FIXED_FAN_IN, {"fan_in": (1, 3)}, "layer 1: fan_in must be from 0 to 2"),
        (FIXED_FAN_IN, {"fan_in": "7/2"}, "layer 0: fan_in must be from 0 to 3"),
        (FIXED_FAN_IN, {"fan_in": -1}, "fan_in must be from 0 to 3"),
        (FIXED_FAN_IN, {"fan_in": 1, "seed": "0"}, "seed must be integers"),
        (REGULAR, {"seed": -1}, "seed must be at least 0, not -1"),
        (REGULAR, {"seed": True}, "seed must be integers"),
        (REGULAR, {"like": 3}, "the topology whose degrees are kept must be a topology, not int"),
        (SMALL_WORLD, {"fan_in": "5/2"}, "layer 0: fan_in must be a whole number from 0 to 8, not 2.5"),
        (SMALL_WORLD, {"fan_in": (8, 5)}, "layer 1: fan_in must be a whole number from 0 to 4, not 5"),
        (SMALL_WORLD, {"fan_in": -1}, "fan_in must be a whole number from 0 to 8, not -1"),
        (SMALL_WORLD, {"rewire": "1.5"}, "rewire must be from 0 to 1, not 1.5"),
        (SMALL_WORLD, {"rewire": -1}, "rewire must be from 0 to 1, not -1"),
        (SMALL_WORLD, {"rewire": (0, 0, 0)}, "rewire has 3 numbers"),
        (N_OF_M, {"n": 5}, "n must be from 1 to m = 4, not 5"),
        (N_OF_M, {"n": 0}, "n must be at least 1"),
        (N_OF_M, {"widths": (8, 6, 4)}, "node layer 1 has 6 nodes: it must be a multiple of m = 4"),
        (BLOCK, {"widths": (8, 6)}, "node layer 1 has 6 nodes: it must be a multiple of block = 4"),
        (BLOCK, {"block": 0}, "block must be at least 1"),
        (BLOCK, {"density": "1.5"}, "density must be from 0 to 1"),
        (tk.Butterfly, {"nodes": 1}, "nodes must be at least 2"),
        (tk.Butterfly, {"nodes": 12}, "nodes must be a power of 2, not 12"),
        (tk.Butterfly, {"nodes": 2**32}, "more than 2^32 - 1 nodes"),
        (tk.GraphChallenge, {"neurons": 2048, "layers": 120}, "1024, 4096, 16384, 65536, not 2048"),
        (tk.GraphChallenge, {"neurons": 1024, "layers": 0}, "layers must be at least 1"),
        (tk.GraphChallenge, {"neurons": "x", "layers": 1}, "neurons must be integers of at least 1, not 'x'"),
        (tk.LPS, {"p": 7, "q": 13}, "p must be a prime that is 1 modulo 4, such as 5, 13 or 17, not 7"),
        (tk.LPS, {"p": 9, "q": 13}, "p must be a prime that is 1 modulo 4, such as 5, 13 or 17, not 9"),
        (tk.LPS, {"p": 5, "q": 21}, "q must be a prime that is 1 modulo 4, such as 5, 13 or 17, not 21"),
        (tk.LPS, {"p": 13, "q": 13}, "two different primes, not both 13"),
        (tk.LPS, {"p": 13, "q": 5}, "q must be above 2 sqrt(p), so above 7, not 5"),
        (tk.LPS, {"p": 5, "q": 2053}, "q must be at most 2048"),
        (tk.LPS, {"p": 10**400, "q": 13}, "q must be above"),
        (tk.LPS, {"p": 5, "q": 13, "layers": 0}, "layers must be at least 1"),
        (tk.Margulis, {"side": 1}, "side must be at least 2, not 1"),
        (tk.Margulis, {"side": 2**16}, "more than 2^32 - 1 nodes"),
        (tk.Margulis, {"side": 3, "layers": 0}, "layers must be at least 1"),
        (tk.RadixNet, {"radices": []}, "radices must be"),
        (tk.RadixNet, {"radices": "22"}, "radices must be"),
        (tk.RadixNet, {"radices": [(2, 1)]}, "at least 2, not 1"),
        (tk.RadixNet, {"radices": [(2, 2.0)]}, "not 2.0"),
        (tk.RadixNet, {"radices": [(2, True)]}, "not True"),
        (tk.RadixNet, {"radices": [(2, 2), ()]}, "at least one radix"),
        (tk.RadixNet, {"radices": [(3, 4), (2, 5), (12,)]}, "system 2 [2, 5] has product 10; it must be 12"),
        (tk.RadixNet, {"radices": [(3, 4), (5,)]}, "system 2, the last, [5] has product 5; it must divide 12"),
        (tk.RadixNet, {**TWICE, "kron": (1, 2)}, "kron has 2 widths; 2 radices need 3"),
        (tk.RadixNet, {**TWICE, "kron": (1, 0, 1)}, "kron must be at least 1, not 0"),
        (tk.RadixNet, {**TWICE, "diagonals": (1,)}, "diagonals has 1 number; 2 edge layers"),
        (tk.RadixNet, {**TWICE, "kron": (4, 6, 1), "diagonals": (4, 1)}, "layer 0 cannot have 4 diagonals"),
        (tk.RadixNet, {**TWICE, "direction": 0}, "direction must be 1 or -1"),
        (tk.RadixNet, {**TWICE, "direction": -2}, "direction must be 1 or -1"),
    ],
)
def test_bad_numbers_are_refused(make, options, said):
    with pytest.raises(InvalidSpecError) as refused:
        make(**options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_lists_may_be_arrays_ranges_or_iterators():
    net = tk.RadixNet(radices=[(2, 3)], kron=(1, 2, 1))
    assert net == tk.RadixNet(radices=range(2, 4), kron=iter((1, 2, 1)))
    assert net == tk.RadixNet(radices=(system for system in [range(2, 4)]), kron=(b for b in (1, 2, 1)))
    assert tk.crop(net, iter((6, 9, 6))) == tk.crop(net, (6, 9, 6))
    assert BERNOULLI(widths=iter((3, 2, 2)), density=iter((0.5, 1))) == BERNOULLI(widths=(3, 2, 2), density=(0.5, 1))


@pytest.mark.parametrize(("kind", "name"), [(tk.RadixNet, "radices"), (tk.Bernoulli, "widths")])
def test_options_without_a_name(kind, name):
    with pytest.raises(TypeError, match=f"^{kind.__name__} takes its options as keywords, such as {name}=..., and no"):
        kind([(2, 2)])
