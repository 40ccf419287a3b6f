"""Fit the cost of kernel native, by which `auto` compares it with the other kernels, to steps on this machine.

    python benchmarks/costs.py [--seconds .3]

Times a training step (forward and all gradients) of several layers with the kernels csr, band and native in turn, in
the processor time of one thread. The costs of csr and band were fitted on another machine: they set the unit here. The
non-negative least squares of the relative errors give the coefficients; the first of them is then replaced by what one
more layer in a chain takes. They belong in topokit_train/kernels/native.py. Then come what steps in bfloat16 take
over those in float32, which belongs in each kernel's file, the ratio of cost to time of each case in float32, and the
kernel that `auto` takes beside the fastest one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.optimize import nnls

import topokit
from topokit.layered import Layer
from topokit.measures.structure import structure
from topokit_train.chain import Link, chain
from topokit_train.kernels import KERNELS
from topokit_train.kernels.native import features

LAYERS = {
    "784x300": ("radix-net radices=10,10 kron=8,3,1 crop=784,300,100", 0),
    "300x100": ("radix-net radices=10,10 kron=8,3,1 crop=784,300,100", 1),
    "3200x3200, kron 32": ("radix-net radices=10,10 kron=32,32,32", 0),
    "1024x1024, kron 16": ("radix-net radices=8,8 kron=16,16,16", 0),
    "4096x4096, radix 32": ("radix-net radices=32,128", 0),
    "512x512, radix 8": ("radix-net radices=8,64", 0),
    "1024x1024, blocks of 32": ("block widths=1024,1024 block=32 density=.1 seed=0", 0),
    "512x512, blocks of 4": ("block widths=512,512 block=4 density=.1 seed=0", 0),
    "2048x2048, random .1": ("bernoulli widths=2048,2048 density=.1 seed=0", 0),
    "2048x2048, random .01": ("bernoulli widths=2048,2048 density=.01 seed=0", 0),
    "784x300, random .1": ("bernoulli widths=784,300 density=.1 seed=0", 0),
    "300x100, random .5": ("bernoulli widths=300,100 density=.5 seed=0", 0),
    "64x64, random .1": ("bernoulli widths=64,64 density=.1 seed=0", 0),
}
BATCHES = (16, 128, 512)
KNOWN = ("csr", "band")


def step(name: str, layer: Layer, batch: int, dtype: torch.dtype = torch.float32) -> Callable[[], object]:
    """Return a function that makes a step with a kernel."""
    kernel = KERNELS[name]
    plan = kernel.prepare(layer)
    values = torch.randn(layer.edges).to(dtype).requires_grad_()
    x, grad = (torch.randn(width, batch).to(dtype) for width in layer.shape)
    x.requires_grad_()
    return lambda: torch.autograd.grad(kernel.multiply(x, values, plan), (x, values), grad)


def times(names: list[str], layer: Layer, batch: int, seconds: float) -> dict[str, float]:
    """Return the median microseconds of a step with each kernel, in turn."""
    return in_turn({name: step(name, layer, batch) for name in names}, seconds)


def in_turn(steps: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median microseconds of each step."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    while any(len(each) < 5 or sum(each) < seconds for each in taken.values()):
        for name, run in steps.items():
            start = time.thread_time()
            run()
            taken[name].append(time.thread_time() - start)
    return {name: 1e6 * statistics.median(each[1:]) for name, each in taken.items()}


def one_more(seconds: float) -> float:
    """Return the microseconds that one more small layer takes in a chain, beside what its products take."""
    layer = topokit.topology("bernoulli widths=16,16 density=.2 seed=0").layer(0)
    plan = KERNELS["native"].prepare(layer)
    values, x = torch.randn(layer.edges).requires_grad_(), torch.randn(16, 16).requires_grad_()

    def run(count: int) -> float:
        links = [Link(plan, values, None, relu=True)] * count
        taken = []
        while len(taken) < 5 or sum(taken) < seconds:
            start = time.thread_time()
            torch.autograd.grad(chain(x, links), (x, values), torch.ones(16, 16))
            taken.append(time.thread_time() - start)
        return 1e6 * statistics.median(taken[1:])

    return (run(9) - run(1)) / 8


def in_bfloat16(seconds: float) -> dict[str, float]:
    """Return the median over the layers, at batch 128, of each kernel's time in bfloat16 over that in float32."""
    ratios: dict[str, list[float]] = {name: [] for name in KERNELS}
    for text, number in LAYERS.values():
        layer = topokit.topology(text).layer(number)
        for name, kernel in KERNELS.items():
            if kernel.cost(layer, structure(layer), "cpu", 128) < float("inf"):
                types = torch.float32, torch.bfloat16
                taken = in_turn({str(dtype): step(name, layer, 128, dtype) for dtype in types}, seconds)
                ratios[name].append(taken["torch.bfloat16"] / taken["torch.float32"])
    return {name: statistics.median(each) for name, each in ratios.items()}


def cases(seconds: float) -> Iterator[tuple[str, Layer, int, dict[str, float], dict[str, float]]]:
    """Yield name, layer, batch, times and known costs of each case."""
    for name, (text, number) in LAYERS.items():
        layer = topokit.topology(text).layer(number)
        found = structure(layer)
        for batch in BATCHES:
            costs = {one: KERNELS[one].cost(layer, found, "cpu", batch) for one in KNOWN}
            costs = {one: cost for one, cost in costs.items() if cost < float("inf")}
            yield name, layer, batch, times(["native", *costs], layer, batch, seconds), costs


def main() -> None:
    """Time all cases, fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each kernel and case")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = list(cases(args.seconds))
    unit = statistics.median(cost / taken[name] for *_, taken, costs in done for name, cost in costs.items())
    wanted = np.array([unit * taken["native"] for *_, taken, _ in done])
    rows = np.array([features(layer, structure(layer), batch) for _, layer, batch, *_ in done])
    coefficients, _ = nnls(rows / wanted[:, None], np.ones(len(wanted)))
    fitted = rows @ coefficients
    coefficients[0] = unit * one_more(args.seconds)
    print(f"a microsecond here is {unit:.2f} units of cost")
    print("_COST = (" + ", ".join(f"{one:.2g}" for one in coefficients) + ")")
    print("in_bfloat16: " + ", ".join(f"{name} {ratio:.2g}" for name, ratio in in_bfloat16(args.seconds).items()))
    for (name, layer, batch, taken, costs), cost, exact in zip(done, fitted, wanted, strict=True):
        all_costs = {**costs, "native": float(np.dot(coefficients, features(layer, structure(layer), batch)))}
        chosen, fastest = min(all_costs, key=all_costs.__getitem__), min(taken, key=taken.__getitem__)
        print(
            f"{name:26} batch {batch:3}  native {taken['native']:9.0f} us  cost / time {cost / exact:5.2f}  "
            f"auto {chosen:6}  fastest {fastest:6}  {taken[chosen] / taken[fastest]:.2f} times its time"
        )


if __name__ == "__main__":
    main()
