"""Fit the cost of convolutions, by which `auto` compares `masked` with products of patches, to steps on this machine.

    python benchmarks/convolutions.py [--seconds .4] [--cases NAME...]

Times a training step (forward and all gradients) of convolutions with the kernels masked, csr and native in turn, in
the processor time of one thread: the least of many steps. The edges are random, by weight. The non-negative least
squares of the relative errors give the coefficients of `masked`, and common ones of the other two. They belong in
topokit_train/layers/patches.py, and are relative to the costs of the kernels' products, which benchmarks/costs.py fits.
Then come the times of each case, and the kernel that `auto` takes with the old and the new coefficients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from topokit import Topology
from topokit.layered import Layer
from topokit.measures.structure import structure
from topokit_train.kernels import KERNELS
from topokit_train.layers.choice import choose
from topokit_train.layers.patches import Convolution

CPU = torch.device("cpu")
IMAGES = 32
DENSITIES = (0.5, 0.1, 0.05)
NAMES = ("masked", "csr", "native")


class Case(NamedTuple):
    """A convolution of square images, padded so that a stride of 1 keeps their size."""

    channels: int
    out: int
    size: int
    side: int
    stride: int = 1
    groups: int = 1
    first: bool = False  # whether it reads the data, whose gradient nobody needs

    @property
    def convolution(self) -> Convolution:
        settings = {"stride": self.stride, "padding": self.size // 2, "groups": self.groups}
        return Convolution(nn.Conv2d(self.channels, self.out, self.size, **settings, device="meta"))

    def layer(self, density: float) -> Layer:
        """Random edges by weight, within the groups."""
        sources = self.channels * self.size**2
        mask = np.random.default_rng(0).random((sources, self.out)) < density
        group = np.arange(sources)[:, None] * self.groups // sources == np.arange(self.out) * self.groups // self.out
        return Topology.from_dense([mask & group]).layer(0)


CASES = {
    "64 x 56 x 56": Case(64, 64, 3, 56),
    "128 x 28 x 28": Case(128, 128, 3, 28),
    "256 x 14 x 14": Case(256, 256, 3, 14),
    "512 x 7 x 7": Case(512, 512, 3, 7),
    "128 x 7 x 7": Case(128, 128, 3, 7),
    "128 x 56 x 56, stride 2": Case(128, 128, 3, 56, stride=2),
    "LeNet-5, conv1": Case(1, 20, 5, 28, first=True),
    "LeNet-5, conv2": Case(20, 50, 5, 14),
    "1 to 32 x 28 x 28": Case(1, 32, 3, 28, first=True),
    "3 to 64 x 32 x 32": Case(3, 64, 3, 32, first=True),
    "16 x 32 x 32": Case(16, 16, 3, 32),
    "1x1, 64 to 256 x 56 x 56": Case(64, 256, 1, 56),
    "1x1, 256 to 64 x 56 x 56": Case(256, 64, 1, 56),
    "1x1, 512 to 2048 x 7 x 7": Case(512, 2048, 1, 7),
    "1x1, 256 to 1024 x 14 x 14": Case(256, 1024, 1, 14),
    "depthwise, 128 x 14 x 14": Case(128, 128, 3, 14, groups=128),
    "depthwise, 512 x 7 x 7": Case(512, 512, 3, 7, groups=512),
    "4 groups, 128 x 28 x 28": Case(128, 128, 3, 28, groups=4),
}


class Timed(NamedTuple):
    """What is known of a case at one density: milliseconds, features and microseconds a place, by kernel."""

    name: str
    density: float
    before: str
    taken: dict[str, float]
    features: dict[str, tuple[float, ...]]
    each: dict[str, float]


def step(name: str, case: Case, layer: Layer) -> Callable[[], object]:
    """Return a function that makes a step with a kernel."""
    convolution, kernel = case.convolution, KERNELS[name]
    plan = kernel.prepare(convolution.pattern(kernel, layer))
    values = plan.from_canonical(torch.randn(layer.edges)).requires_grad_()
    images = torch.randn(IMAGES, case.channels, case.side, case.side).requires_grad_(not case.first)
    wanted = [values] if case.first else [images, values]
    grad = torch.randn_like(convolution(images, values, None, plan))
    return lambda: torch.autograd.grad(convolution(images, values, None, plan), wanted, grad)


def least(steps: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the least milliseconds of each step, of at least three."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    while any(len(each) < 4 or sum(each) < seconds for each in taken.values()):
        for name, run in steps.items():
            start = time.thread_time()
            run()
            taken[name].append(1e3 * (time.thread_time() - start))
    return {name: min(each[1:]) for name, each in taken.items()}


def measured(names: list[str], seconds: float) -> Iterator[Timed]:
    """Time each case at each density."""
    for name in names:
        case = CASES[name]
        convolution, places = case.convolution, IMAGES * (-(-case.side // case.stride)) ** 2
        for density in DENSITIES:
            layer = case.layer(density)
            found = structure(layer)
            taken = least({one: step(one, case, layer) for one in NAMES}, seconds)
            features = {one: convolution.features(KERNELS[one], layer, found, "cpu") for one in NAMES}
            before = choose(layer, CPU, torch.float32, work=convolution).kernel
            yield Timed(name, density, before, taken, features, {one: 1e3 * taken[one] / places for one in NAMES})


def fitted(done: list[Timed], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return common coefficients of kernels."""
    rows = np.array([one.features[name] for one in done for name in names])
    wanted = np.array([one.each[name] for one in done for name in names])
    coefficients, _ = nnls(rows / wanted[:, None], np.ones(len(wanted)))
    found: NDArray[np.float64] = coefficients
    return found


def main() -> None:
    """Time all cases, fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.4, help="time for each kernel and case")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES], metavar="NAME", help="default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = list(measured(args.cases, args.seconds))
    dense, patches = fitted(done, ("masked",)), fitted(done, ("csr", "native"))
    for name, coefficients in (("_MASKED", dense), ("_PATCHES", patches)):
        print(f"{name} = (" + ", ".join(f"{one:.2g}" for one in coefficients) + ")")
    for one in done:
        costs = {name: float((dense if name == "masked" else patches) @ one.features[name]) for name in NAMES}
        after, fastest = min(costs, key=costs.__getitem__), min(one.taken, key=one.taken.__getitem__)
        print(
            f"{one.name:27} {one.density:4}  "
            + "  ".join(f"{name} {taken:6.1f} ms" for name, taken in one.taken.items())
            + f"  auto {one.before:6} {one.taken.get(one.before, np.nan) / one.taken[fastest]:.2f}"
            + f"  fitted {after:6} {one.taken[after] / one.taken[fastest]:.2f} times the fastest one's time"
        )


if __name__ == "__main__":
    main()
