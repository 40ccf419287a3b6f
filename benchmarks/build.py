"""How fast a large RadiX-Net is built, beside the general Kronecker product of SciPy, in one run.

Prints edges per second and peak memory for five ways, each in a fresh process on one thread:

- build: every layer made on its own and held, with its GraphBLAS matrix;
- stream: every layer made in one recycled buffer, with its GraphBLAS matrix;
- shared: `build()` as a user calls it, equal layers made once;
- scipy: the same layers by scipy.sparse.kron, all of them held, as in build;
- fresh: as much memory as build holds, filled with one number.

    python benchmarks/build.py [--layers 120] [--repeat 3] [--json FILE]

Fresh memory costs more than filling it, most of all where no process has touched it before: minimum and median of the
wall time are printed, and the median of the processor time, which other work on the machine disturbs less.
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
from pathlib import Path

WAYS = ("build", "stream", "shared", "scipy", "fresh")


def network(layers: int):
    """65536 neurons a layer, 32 edges a neuron: radix 2, twelve place values, Kronecker width 16."""
    from topokit import RadixNet

    return RadixNet(radices=[(2,) * 12] * (layers // 12), kron=(16,) * (layers + 1))


def build(net) -> int:
    """Every layer on its own, all of them held."""
    held = [net.layer(i) for i in range(len(net))]
    return sum(layer.matrix.nvals for layer in held)


def stream(net) -> int:
    """Every layer, one at a time."""
    return sum(layer.matrix.nvals for layer in net.stream())


def shared(net) -> int:
    """Equal layers once."""
    return sum(layer.matrix.nvals for layer in net.build().stream())


def scipy(net) -> int:
    """The same edges by a general Kronecker product; the network is only asked for its numbers."""
    import numpy as np
    from scipy.sparse import csr_array, kron

    n, ones, held = net.nodes, np.ones((16, 16), bool), []
    for _, place in net.places:
        u = np.arange(n)
        columns = np.stack([u, (u + place) % n], 1).ravel()
        base = csr_array((np.ones(2 * n, bool), columns, np.arange(0, 2 * n + 1, 2)), shape=(n, n))
        held.append(kron(ones, base, format="csr"))
    return sum(matrix.nnz for matrix in held)


def fresh(net) -> int:
    """No edges: the memory of their arrays, which the operating system clears at first use."""
    import numpy as np

    sizes = zip(net.layer_edges, net.widths, strict=False)
    held = [(np.full(edges, 7, np.uint64), np.full(width + 1, 7, np.uint64)) for edges, width in sizes]
    return sum(indices.size for indices, _ in held)


def measure(way: str, layers: int) -> None:
    """Print one measurement of this process as JSON."""
    import resource

    net = network(layers)
    if way not in ("scipy", "fresh"):
        from topokit.csr import graphblas

        graphblas().Matrix  # noqa: B018 (its import is not what is timed)
    start, cpu = time.perf_counter(), time.process_time()
    edges = globals()[way](net)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert edges == net.edges
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"edges": edges, "seconds": seconds, "cpu": cpu, "peak_mib": peak}))


def main() -> None:
    """Run every way in turn, several times, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=120, help="edge layers, a multiple of 12")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", help="write the measurements here")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args.layers)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(args.repeat):
        for way in WAYS:
            command = [sys.executable, __file__, "--measure", way, "--layers", str(args.layers)]
            runs[way].append(
                json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
            )
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "python-graphblas")}
    about = {"python": platform.python_version(), **versions, "threads": 1, "layers": args.layers}
    print(" ".join(f"{name} {value}" for name, value in about.items()))
    slow = statistics.median(run["cpu"] for run in runs["scipy"])
    print("way             edges   min s  median s   cpu s  Medges/cpu s  x scipy  / fresh  peak MiB  B/edge")
    for way, measured in runs.items():
        seconds = [run["seconds"] for run in measured]
        cpu = statistics.median(run["cpu"] for run in measured)
        ratio = statistics.median(run["cpu"] / other["cpu"] for run, other in zip(measured, runs["fresh"], strict=True))
        peak, edges = max(run["peak_mib"] for run in measured), measured[0]["edges"]
        print(
            f"{way:<8}{edges:>13,}{min(seconds):>8.2f}{statistics.median(seconds):>10.2f}{cpu:>8.2f}"
            f"{edges / cpu / 1e6:>14.0f}{slow / cpu:>9.1f}{ratio:>9.2f}{peak:>10.0f}{peak * 2**20 / edges:>8.2f}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
