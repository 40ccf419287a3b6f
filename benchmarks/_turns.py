"""Training steps of several ways, timed in turns: what the benchmarks of whole networks have in common.

Each process measures all ways in turn, a run of steps each, over and over, so that what else the machine does falls on
all of them.
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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Step = Callable[[], object]


def noise(images: int = 6000) -> Any:
    """A dataset of random images of 28 x 28 pixels."""
    import numpy as np

    from topokit_train.datasets import Dataset

    random = np.random.default_rng(0)
    pixels, labels = (
        random.integers(n, size=(images, *rest), dtype=np.uint8) for n, rest in ((256, (1, 28, 28)), (10, ()))
    )
    return Dataset(
        name="noise",
        train_inputs=pixels,
        train_targets=labels,
        test_inputs=pixels[:1],
        test_targets=labels[:1],
        classes=10,
    )


def step_of(trainer: Any) -> Step:
    """A function that makes a step with the next batch, as training does: fused if it can be."""
    from topokit_train.fused_steps import steps_of

    def endless() -> Iterator[object]:
        while True:  # one epoch after another
            for step in steps_of(trainer):
                yield step()

    steps = endless()
    return lambda: next(steps)


def measure(steppers: Mapping[str, Callable[[], Step]], threads: int, seconds: float, run: int) -> None:
    """Print one process's measurements as JSON: (minimum, median) milliseconds of each way.

    A way makes `run` steps one after another, as in training: each finds in the caches what the one before has left.
    """
    import torch

    torch.set_num_threads(threads)
    ways = {name: stepper() for name, stepper in steppers.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for step in ways.values():
        step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < 3:
        for name, step in ways.items():
            step()  # finds the caches as the way before has left them
            for _ in range(run):
                start = time.perf_counter()
                step()
                taken[name].append((time.perf_counter() - start) * 1e3)
    print(json.dumps({name: (min(times), statistics.median(times)) for name, times in taken.items()}))


def main(
    script: str,
    title: str,
    steppers: Mapping[str, Callable[[], Step]],
    base: Mapping[str, str],
    networks: Mapping[str, int] | None = None,
    run: int = 20,
) -> None:
    """Measure all ways and print the table.

    Args:
        script: the benchmark's file, which is run anew in each process.
        title: for --help.
        steppers: way -> a function that makes its step.
        base: way -> the way that it is compared with.
        networks: way -> how many networks make a step at once; one where left out.
        run: steps of a way before the next one's turn.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each process")
    parser.add_argument("--json", help="write the measurements here")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(steppers, args.threads, args.seconds, run)
        return
    command = [sys.executable, script, "--measure", "--threads", str(args.threads), "--seconds", str(args.seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    runs = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)
        for _ in range(args.processes)
    ]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    about = {"python": platform.python_version(), **versions, "threads": args.threads}
    print(" ".join(f"{name} {value}" for name, value in about.items()))
    print("way                         min ms  median ms  network-steps/s    speed  of")
    for name in steppers:
        count = (networks or {}).get(name, 1)
        low, median = min(one[name][0] for one in runs), statistics.median(one[name][1] for one in runs)
        ratio = count * statistics.median(one[base[name]][1] / one[name][1] for one in runs)
        row = f"{name:<26}{low:>8.2f}{median:>11.2f}{1e3 * count / median:>17.0f}{ratio:>9.2f}  {base[name]}"
        print(row)
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
