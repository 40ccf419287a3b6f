"""How fast a training step of one sparse layer is in every way there is, beside a dense layer of the same shape.

A step is the forward and backward product of one layer, with the input's gradient unless it is a network's first.
`dense` is torch's F.linear, `masked dense` the same with weight * mask, `torch csr` and `torch coo` are torch's own
sparse products, `topokit NAME` are the kernels, and then come other packages, as far as they are installed. Each is
handed the same values, and its output and gradients are compared with the dense layer's before it is timed.
Each process measures all ways in turn, over and over, so that what else the machine does falls on all of them.
Printed are the minimum over all processes, the median of the processes' medians, and the medians of the ratios.

    python benchmarks/layers.py [--layers NAME...] [--batches 128 512] [--threads 2] [--processes 5] [--json FILE]
    python benchmarks/layers.py --sweep [--plot FILE.svg] [--widths 512 1024] [--radices 64 8 2]
    python benchmarks/layers.py --memory [--layers NAME...]

glibc hands large blocks back to the system, and fetching the dense weight's gradient anew costs more than filling it:
every layer is measured as it is and with MALLOC_MMAP_THRESHOLD_ raised, which keeps them and favours dense.
`--sweep` goes over square layers of RadiX-Nets and of Bernoulli networks, their density radix / 128, with the latter
setting only, and ends in a table of how many times faster than dense each way is. `--memory` counts bytes.

`--clock cpu` counts processor time and is steadier where other programs run; use it with one thread only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _sweep
import torch
from _cases import CLASSES, LAYERS, RADICES, layer_of, points
from _memory import ENVIRONMENT, footprint
from _peers import PEERS, versions
from _ways import NAMES, steps, ways

ALLOCATORS = {"as it is": {}, "keeps blocks": {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": "-1"}}


def timed(args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """(minimum, median) milliseconds of each way."""
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    layer, first = layer_of(args.measure, args.shuffled)
    runs = steps(layer, args.batches[0], first, args.ways)
    taken: dict[str, list[float]] = {way: [] for way in runs}
    waiting = list(runs)
    while waiting:
        for way in waiting:
            start = clock()
            runs[way]()
            taken[way].append((clock() - start) * 1e3)
        waiting = [way for way in waiting if len(taken[way]) < 3 or sum(taken[way]) < args.seconds * 1e3]
    return {way: (min(times), statistics.median(times)) for way, times in taken.items()}


def measure(args: argparse.Namespace) -> None:
    """Print as JSON what one process measures."""
    torch.set_num_threads(args.threads)
    if args.memory:
        layer, first = layer_of(args.measure, args.shuffled)
        print(json.dumps(footprint(layer, args.batches[0], first, args.ways[0])))
    else:
        print(json.dumps(timed(args)))


def child(args: argparse.Namespace, name: str, batch: int, ways: list[str], environment: dict[str, str]) -> Any:
    """What a fresh process measures."""
    command = [
        *(sys.executable, __file__, "--measure", name, "--batches", str(batch), "--ways", *ways),
        *("--threads", str(args.threads), "--seconds", str(args.seconds), "--clock", args.clock),
        *["--shuffled"] * args.shuffled,
        *["--memory"] * args.memory,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), **environment}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def time_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every layer, or every point of a sweep, and print a row for each way."""
    cases: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in args.layers]
    allocators, batches = ALLOCATORS, args.batches
    if args.sweep:
        grid = points(args.widths, args.radices)
        cases = [(str(at), {"family": at.family, "width": at.width, "density": at.density}) for at in grid]
        allocators, batches = {"keeps blocks": ALLOCATORS["keeps blocks"]}, args.batches[:1]
    print("layer               batch  allocator     way                     min ms  median ms  x dense   x csr")
    results = []
    for name, about in cases:
        for batch in batches:
            for allocator, settings in allocators.items():
                runs = [child(args, name, batch, args.ways, settings) for _ in range(args.processes)]
                results.append({"layer": name, **about, "batch": batch, "allocator": allocator, "runs": runs})
                for way in runs[0]:
                    low, middle = min(run[way][0] for run in runs), _sweep.median(results[-1], way)
                    ratios = (_sweep.speedup(results[-1], way, to) for to in ("dense", "topokit csr"))
                    shown = f"{low:>9.2f}{middle:>11.2f} " + "".join(map(_sweep.ratio_cell, ratios))
                    print(f"{name:<20}{batch:>5}  {allocator:<12}  {way:<21}{shown}", flush=True)
    if args.sweep:
        print("\n" + _sweep.summary(results, batches[0]))
    return results


def weigh_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Count the memory of every layer and way, each in a process of its own, and print it."""
    batch, results = args.batches[0], []
    print("MiB                                              parameters,      saved for      peak of")
    print("layer               batch  way                   gradient, Adam   backward       a step    x dense")
    for name in args.layers:
        layer, _ = layer_of(name, args.shuffled)
        for way in (way for way in ways(layer, batch) if way == "dense" or way in args.ways):
            row = child(args, name, batch, [way], ENVIRONMENT)
            results.append({"layer": name, "batch": batch, "way": way, **row})
            dense = next(seen["peak"] for seen in results if (seen["layer"], seen["way"]) == (name, "dense"))
            shown = "".join(f"{row[part] / 2**20:>14.2f}" for part in ("parameters", "saved", "peak"))
            print(f"{name:<20}{batch:>5}  {way:<21}{shown}{row['peak'] / dense:>10.3f}", flush=True)
    return results


def header(args: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    there = versions()
    about = {"date": str(datetime.date.today()), "python": platform.python_version()}
    about |= {name: version(name) for name in ("torch", "numpy")}
    about |= {"threads": args.threads, "clock": args.clock, "processes": args.processes, **there}
    print(" ".join(f"{name} {value}" for name, value in about.items()))
    if missing := [name for name in PEERS if name not in there]:
        print("not installed, so left out:", ", ".join(missing))
    return about


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), metavar="NAME")
    parser.add_argument("--ways", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="these, and dense")
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512], help="--sweep, --memory: the first one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way in each process; three steps at least")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--shuffled", action="store_true", help="number the nodes at random")
    parser.add_argument("--sweep", action="store_true", help="over width and density instead of --layers")
    parser.add_argument(
        "--widths", nargs="+", type=int, default=[512, 1024, 2048, 4096], help=f"multiples of {CLASSES}"
    )
    parser.add_argument("--radices", nargs="+", type=int, choices=RADICES, default=RADICES, help=f"density * {CLASSES}")
    parser.add_argument("--plot", metavar="FILE.svg", help="of a sweep: step time against density")
    parser.add_argument("--memory", action="store_true", help="count bytes instead of time")
    parser.add_argument("--json", help="write the measurements here")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return
    if args.plot and not args.sweep:
        parser.error("--plot draws a sweep: give --sweep too")
    if wrong := [width for width in args.widths if width < 1 or width % CLASSES]:
        parser.error(f"--widths must be multiples of {CLASSES}, not {wrong[0]}")
    about = header(args)
    results = weigh_all(args) if args.memory else time_all(args)
    if args.plot:
        _sweep.plot(results, args.batches[0], args.plot)
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
