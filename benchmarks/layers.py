"""How fast a training step of one sparse layer is under each kernel, beside a dense layer of the same shape.

A step is the forward and backward product of one layer, with the input's gradient unless it is a network's first.
`dense` is torch's F.linear on rows of features; the kernels take features first, as they pass them to each other.
Each process measures all kernels in turn, over and over, so that what else the machine does falls on all of them.
Printed are the minimum over all processes, the median of the processes' medians, and the medians of the ratios.

    python benchmarks/layers.py [--layers NAME...] [--batches 128 512] [--threads 2] [--processes 5] [--json FILE]

glibc hands large blocks back to the system, and fetching the dense weight's gradient anew costs more than filling it:
every layer is measured as it is and with MALLOC_MMAP_THRESHOLD_ raised, which keeps them and favours dense.

`--clock cpu` counts processor time and is steadier where other programs run; use it with one thread only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# name: (radices, kron, crop, layer, whether it is a network's first)
LAYERS: dict[str, tuple] = {
    "784x300 first": ([(10, 10)], (8, 3, 1), (784, 300, 100), 0, True),
    "300x100": ([(10, 10)], (8, 3, 1), None, 1, False),
    "3200x3200 90%": ([(10, 10)], (32, 32, 1), None, 0, False),
    "4096x4096 n=64": ([(4, 16)], (64, 64, 1), None, 0, False),
    "4096x4096 n=256": ([(8, 32)], (16, 16, 1), None, 0, False),
    "4096x4096 n=4096": ([(32, 128)], None, None, 0, False),
    "4096x4096 stride 8": ([(8, 8, 4)], (1, 16, 16, 1), None, 1, False),
}
ALLOCATORS = {"as it is": {}, "keeps blocks": {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": "-1"}}


def layer_of(name: str, shuffled: bool):
    """The layer of that name, and whether it is a network's first."""
    from topokit import RadixNet, crop, permute

    radices, kron, widths, i, first = LAYERS[name]
    net = RadixNet(radices=radices, kron=kron)
    net = crop(net, widths) if widths else net
    return (permute(net, seed=0) if shuffled else net).layer(i), first


def steps(name: str, batch: int, shuffled: bool) -> dict[str, Callable[[], None]]:
    """A training step of each way."""
    import torch
    from torch.nn import functional

    from topokit_train.kernels import KERNELS

    layer, first = layer_of(name, shuffled)
    sources, targets = layer.shape

    def step(product: Callable, x: torch.Tensor, values: torch.Tensor, grad: torch.Tensor) -> Callable[[], None]:
        x.requires_grad_(not first)
        values.requires_grad_()

        def run() -> None:
            x.grad = values.grad = None
            product(x, values).backward(grad)

        return run

    x, grad = torch.randn(batch, sources), torch.randn(batch, targets)
    found = {"dense": step(functional.linear, x, torch.randn(targets, sources), grad)}
    for kernel_name, kernel in KERNELS.items():
        plan = kernel.prepare(layer)
        values = plan.from_canonical(torch.randn(layer.edges))

        def product(x: torch.Tensor, values: torch.Tensor, kernel=kernel, plan=plan) -> torch.Tensor:
            return kernel.multiply(x, values, plan)

        found[kernel_name] = step(product, x.detach().T.contiguous(), values, grad.T.contiguous())
    return found


def measure(args: argparse.Namespace) -> None:
    """Print one process's measurements as JSON: (minimum, median) milliseconds of each way."""
    import torch

    torch.set_num_threads(args.threads)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    ways = steps(args.layers[0], args.batches[0], args.shuffled)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for run in ways.values():
        run()
    end = time.perf_counter() + args.seconds
    while time.perf_counter() < end or len(taken["dense"]) < 3:
        for way, run in ways.items():
            start = clock()
            run()
            taken[way].append((clock() - start) * 1e3)
    print(json.dumps({way: (min(times), statistics.median(times)) for way, times in taken.items()}))


def measured(args: argparse.Namespace, name: str, batch: int, allocator: dict[str, str]) -> list[dict]:
    """The measurements of several processes."""
    command = [
        *(sys.executable, __file__, "--measure", "--layers", name, "--batches", str(batch)),
        *("--threads", str(args.threads), "--seconds", str(args.seconds), "--clock", args.clock),
        *["--shuffled"] * args.shuffled,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), **allocator}
    return [
        json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        for _ in range(args.processes)
    ]


def main() -> None:
    """Measure every layer and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each process")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--shuffled", action="store_true", help="number the nodes at random")
    parser.add_argument("--json", help="write the measurements here")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    about = {"python": platform.python_version(), **versions, "threads": args.threads, "clock": args.clock}
    print(" ".join(f"{name} {value}" for name, value in about.items()))
    print("layer               batch  allocator     way       min ms  median ms  x dense   x csr")
    results = []
    for name in args.layers:
        for batch in args.batches:
            for allocator, settings in ALLOCATORS.items():
                runs = measured(args, name, batch, settings)
                results.append({"layer": name, "batch": batch, "allocator": allocator, "runs": runs})
                for way in runs[0]:
                    low, median = min(run[way][0] for run in runs), statistics.median(run[way][1] for run in runs)
                    ratios = (statistics.median(run[to][1] / run[way][1] for run in runs) for to in ("dense", "csr"))
                    shown = f"{low:>9.2f}{median:>11.2f} " + "".join(f"{ratio:>8.2f}" for ratio in ratios)
                    print(f"{name:<20}{batch:>5}  {allocator:<12}  {way:<7}{shown}", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
