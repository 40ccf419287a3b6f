"""A Dask cluster on this machine; and random networks of all kinds, to be compared with slow second implementations.

`random_net(seed)` is quick to make and small enough for dense matrices and networkx: shallow and deep ones of every
family, half of them transformed, and pruned ones with nodes that have lost all edges on one side or on both.
"""

from itertools import pairwise
from math import prod

import numpy as np
import pytest

import topokit as tk
from topokit.families import FAMILIES


def radix_net(rng):
    radices = rng.integers(2, 4, size=rng.integers(1, 4)).tolist()
    systems = [radices] * rng.integers(1, 3)
    layers = sum(map(len, systems))
    kron = rng.integers(1, 3, size=layers + 1).tolist() if prod(radices) < 12 else (1,) * (layers + 1)
    return tk.RadixNet(radices=systems, kron=kron, direction=int(rng.choice([1, -1])))


def widths(rng, multiple=1):
    """A few wide node layers, or many narrow ones."""
    deep = rng.random() < 0.2
    count, widest = (rng.integers(15, 50), 5) if deep else (rng.integers(2, 7), 13)
    return (multiple * rng.integers(1, max(2, widest // multiple), size=count)).tolist()


def shares(rng, count):
    return [f"{share}/20" for share in rng.integers(1, 21, size=count - 1)]


def bernoulli(rng):
    chosen = widths(rng)
    return tk.Bernoulli(widths=chosen, density=shares(rng, len(chosen)), seed=int(rng.integers(2**32)))


def block(rng):
    size = int(rng.integers(1, 4))
    chosen = widths(rng, size)
    return tk.Block(widths=chosen, block=size, density=shares(rng, len(chosen)), seed=int(rng.integers(2**32)))


def fixed_fan_in(rng):
    chosen = widths(rng)
    fan_in = [int(rng.integers(0, width + 1)) for width in chosen[:-1]]
    return tk.FixedFanIn(widths=chosen, fan_in=fan_in, seed=int(rng.integers(2**32)))


def n_of_m(rng):
    m = int(rng.integers(1, 5))
    return tk.NOfM(widths=widths(rng, m), n=int(rng.integers(1, m + 1)), m=m, seed=int(rng.integers(2**32)))


def small_world(rng):
    chosen = widths(rng)
    fan_in = [int(rng.integers(0, width + 1)) for width in chosen[:-1]]
    return tk.SmallWorld(widths=chosen, fan_in=fan_in, rewire=shares(rng, len(chosen)), seed=int(rng.integers(2**32)))


def corner(net, rng):
    """So many first nodes of each node layer of a network that is too wide for dense matrices of Python integers."""
    return tk.crop(net, rng.integers(1, 40, size=len(net) + 1).tolist())


def pruned(rng):
    """Dense random layers in which whole rows and columns are empty, now and then a whole layer."""
    layers = []
    for shape in pairwise(widths(rng)):
        layer = rng.random(shape) < rng.choice([0.3, 0.6, 1])
        layer[rng.random(shape[0]) < 0.2] = False
        layer[:, rng.random(shape[1]) < 0.2] = False
        layers.append(layer)
    return tk.Topology.from_dense(layers)


MAKERS = {
    "radix-net": radix_net,
    "butterfly": lambda rng: tk.Butterfly(nodes=2 ** int(rng.integers(1, 5))),
    "graph-challenge": lambda rng: corner(tk.GraphChallenge(neurons=1024, layers=int(rng.integers(1, 9))), rng),
    "regular": lambda rng: tk.Regular(like=bernoulli(rng), seed=int(rng.integers(2**32))),
    "fixed-fan-in": fixed_fan_in,
    "n-of-m": n_of_m,
    "block": block,
    "bernoulli": bernoulli,
    "small-world": small_world,
    "lps": lambda rng: corner(tk.LPS(p=17, q=13, layers=int(rng.integers(1, 4))), rng),
    "margulis": lambda rng: tk.Margulis(side=int(rng.integers(2, 5)), layers=int(rng.integers(1, 9))),
    "pruned": pruned,
}
"""A maker for every family, and one for networks of no family."""

CHANGES = (
    lambda net, rng: tk.crop(net, [int(rng.integers(1, width + 1)) for width in net.widths]),
    lambda net, rng: tk.permute(net, seed=int(rng.integers(2**32))),
    lambda net, rng: tk.kron(net, rng.integers(1, 3, size=len(net.widths)).tolist()),
    lambda net, _: tk.reverse(net),
    lambda net, _: tk.concatenate(net, tk.reverse(net)),
)


def random_net(seed):
    """The random network of this number; neighbouring numbers have different makers."""
    rng = np.random.default_rng(seed)
    net = list(MAKERS.values())[seed % len(MAKERS)](rng)
    return rng.choice(CHANGES)(net, rng) if rng.random() < 0.5 else net


@pytest.fixture(scope="module")  # an idle cluster takes a sixth of a processor
def cluster():
    """Two worker processes and their scheduler."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def makers():
    """Family -> what makes a random network of it."""
    missing = {*FAMILIES} - {*MAKERS}
    assert not missing, f"add a maker of {', '.join(missing)} to MAKERS in tests/topokit/conftest.py"
    return MAKERS


@pytest.fixture(scope="session")
def random_nets():
    """300 random networks, in memory: (seed, network)."""
    nets = ((seed, random_net(seed)) for seed in range(300))
    return [(seed, net if isinstance(net, tk.Topology) else net.build()) for seed, net in nets]
