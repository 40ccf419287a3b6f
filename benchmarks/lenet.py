"""How many training steps of LeNet-300-100 a second: dense, sparse, and many seeds stacked in one program.

A step is what `topokit train` does with a batch of 100 images of 28 x 28 pixels that lie in memory: fetch them,
forward, backward, fused Adam, learning rate. `radix` is the default topology, 90 % sparse. A stack of K networks makes
K steps at once; `shared` networks see the same batches (`--order-seed`), `own` ones their own. Each process measures
all ways in turn, 20 steps each, over and over, so that what else the machine does falls on all of them. Printed are the
minimum over all processes, the median of the processes' medians, network-steps a second by that median, and the median
of the processes' ratios to one dense network.

    python benchmarks/lenet.py [--threads 2] [--processes 5] [--seconds 10] [--json FILE]
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

# name: (sparse or not, kernel, networks, whether they share batches)
WAYS: dict[str, tuple[bool, str, int, bool]] = {
    "dense": (False, "auto", 1, True),
    "masked": (True, "masked", 1, True),
    "csr": (True, "csr", 1, True),
    "radix": (True, "auto", 1, True),
    "dense x 8, own": (False, "auto", 8, False),
    "dense x 8, shared": (False, "auto", 8, True),
    "radix x 8, own": (True, "auto", 8, False),
    "radix x 8, shared": (True, "auto", 8, True),
    "radix x 16, own": (True, "auto", 16, False),
    "radix x 16, shared": (True, "auto", 16, True),
}

RUN = 20  # steps of a way one after another, as in training: each finds in the caches what the one before has left


def stepper(name: str) -> Callable[[], None]:
    """A function that makes one step of that way."""
    import numpy as np
    import torch

    from topokit_train.config import TrainConfig
    from topokit_train.datasets import Dataset
    from topokit_train.runs import default_topology
    from topokit_train.training import Trainer

    sparse, kernel, networks, shared = WAYS[name]
    random = np.random.default_rng(0)
    images, labels = (
        random.integers(n, size=(6000, *rest), dtype=np.uint8) for n, rest in ((256, (1, 28, 28)), (10, ()))
    )
    data = Dataset(
        name="noise",
        train_images=images,
        train_labels=labels,
        test_images=images[:1],
        test_labels=labels[:1],
        classes=10,
    )
    config = TrainConfig(epochs=10**6, order_seed=0 if shared else None)
    topology = default_topology() if sparse else None
    trainer = Trainer(config, topology, data, device=torch.device("cpu"), kernel=kernel, seeds=range(networks))
    batches = list(torch.split(trainer.order(), config.batch_size))

    def step() -> None:
        batches.append(batch := batches.pop(0))
        trainer.step(*trainer.fetch(batch))

    return step


def measure(args: argparse.Namespace) -> None:
    """Print one process's measurements as JSON: (minimum, median) milliseconds of each way."""
    import torch

    torch.set_num_threads(args.threads)
    ways = {name: stepper(name) for name in WAYS}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for step in ways.values():
        step()
    end = time.perf_counter() + args.seconds
    while time.perf_counter() < end or len(taken["dense"]) < 3:
        for name, step in ways.items():
            step()  # finds the caches as the way before has left them
            for _ in range(RUN):
                start = time.perf_counter()
                step()
                taken[name].append((time.perf_counter() - start) * 1e3)
    print(json.dumps({name: (min(times), statistics.median(times)) for name, times in taken.items()}))


def main() -> None:
    """Measure all ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each process")
    parser.add_argument("--json", help="write the measurements here")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return
    command = [sys.executable, __file__, "--measure", "--threads", str(args.threads), "--seconds", str(args.seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        for _ in range(args.processes)
    ]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    about = {"python": platform.python_version(), **versions, "threads": args.threads}
    print(" ".join(f"{name} {value}" for name, value in about.items()))
    print("way                   min ms  median ms  network-steps/s  x dense")
    for name, (_, _, networks, _) in WAYS.items():
        low, median = min(run[name][0] for run in runs), statistics.median(run[name][1] for run in runs)
        ratio = networks * statistics.median(run["dense"][1] / run[name][1] for run in runs)
        print(f"{name:<20}{low:>8.2f}{median:>11.2f}{1e3 * networks / median:>17.0f}{ratio:>9.2f}")
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
