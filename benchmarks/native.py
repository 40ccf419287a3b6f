"""The native library against dense layers, torch's kernels and other packages: one command for each row of its table.

    python benchmarks/native.py ROW [--threads 2] [--processes 5] [--seconds 10] [--clock wall]

ROW is one of

    step        a training step of LeNet-300-100, 90 % sparse, batch 100, against dense with fused Adam
    stack       network-steps a second of 16 stacked networks with common batches, against one dense network
    own         the same with batches of their own
    products    raw products of a layer (forward with bias and ReLU, gradients) without autograd, batch 128 and 512
    chain       the same of two layers one after another, 784-300-100, and how much of the time is the second one's
    modules     the same as modules under autograd, batch first, batch 128, against nn.Linear
    train       `topokit train --dataset mnist --epochs 10` and the same with --topology dense: seconds of training and
                of the whole command
    pair        steps a second of the networks of `step` in one process alone, and in two at the same time

Each process makes the steps of all ways in turn. Printed are, of the processes' medians, the median, and the median of
the ratios dense / way. --clock cpu counts the processor time of one thread, for a machine that does other things.

`pair` measures wall time with one thread in each process, and with --threads; --processes is how often. Its ratio is
that of two processes together to one alone: it needs a machine with two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

import topokit
from topokit._native import description
from topokit.layered import Layer
from topokit_train import sparsify
from topokit_train.kernels import KERNELS
from topokit_train.native import Chain

LENET = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"
LAYERS = {  # text, layer, and whether it is a network's first, which needs no gradient of its input
    "784x300": (LENET, 0, True),
    "300x100": (LENET, 1, False),
    "2048x2048 random .1": ("bernoulli widths=2048,2048 density=.1 seed=0", 0, False),
    "2048x2048 random .05": ("bernoulli widths=2048,2048 density=.05 seed=0", 0, False),
    "2048x2048 random .01": ("bernoulli widths=2048,2048 density=.01 seed=0", 0, False),
    "4096x4096 radix 32": ("radix-net radices=32,128", 0, False),
    "3200x3200 kron 32": ("radix-net radices=10,10 kron=32,32,32", 0, False),
}
Ways = dict[str, Callable[[], object]]


def network_steps(networks: int, shared: bool) -> Iterator[tuple[str, Ways]]:
    """Steps of whole networks, as training makes them."""
    from _turns import noise, step_of

    from topokit_train.config import TrainConfig
    from topokit_train.training import Trainer

    def trainer(sparse: bool, kernel: str, count: int) -> Trainer:
        config = TrainConfig(epochs=10**6, order_seed=0 if shared else None)
        net = [topokit.topology(LENET)] if sparse else []
        return Trainer(config, net, noise(), device=torch.device("cpu"), kernel=kernel, seeds=range(count))

    ways = {"dense": step_of(trainer(False, "auto", 1))}
    ways |= {name: step_of(trainer(True, name, networks)) for name in ("csr", "native")}
    yield f"LeNet-300-100 x {networks}, batch 100", ways


def layers(batches: tuple[int, ...]) -> Iterator[tuple[str, Layer, int, bool]]:
    """Name, edges, batch and whether the input needs no gradient."""
    for name, (text, number, first) in LAYERS.items():
        for batch in batches:
            yield f"{name}, batch {batch}", topokit.topology(text).layer(number), batch, first


def products() -> Iterator[tuple[str, Ways]]:
    """Raw products of one layer: forward with bias and ReLU, and the gradients."""
    for name, layer, batch, first in layers((128, 512)):
        x, grad = torch.randn(layer.shape[0], batch), torch.randn(layer.shape[1], batch)
        bias = torch.randn(layer.shape[1], 1)
        ways: Ways = {"dense": dense([layer], x, grad, first)}
        for kernel in ("csr", "band", "native"):
            try:
                plan = KERNELS[kernel].prepare(layer)
            except topokit.errors.InvalidSpecError:  # no bands
                continue
            if plan.for_native:
                ways[kernel] = native([layer], x, grad, first)
                continue
            values = plan.from_canonical(torch.randn(layer.edges))
            ways[kernel] = raw(plan, values, bias, x, grad, first)
        yield name, ways


def chain() -> Iterator[tuple[str, Ways]]:
    """Raw products of the first layer of LeNet-300-100, and of it and the second one."""
    both = [topokit.topology(LENET).layer(number) for number in range(2)]
    for batch in (128, 512):
        for layers in (both[:1], both):
            x, grad = torch.randn(layers[0].shape[0], batch), torch.randn(layers[-1].shape[1], batch)
            ways: Ways = {way.__name__: way(layers, x, grad, True) for way in (dense, native)}
            yield f"{'-'.join(map(str, (784, 300, 100)[: len(layers) + 1]))}, batch {batch}", ways


def dense(layers: Sequence[Layer], x: torch.Tensor, grad: torch.Tensor, first: bool) -> Callable[[], object]:
    """A step of dense layers of these shapes, each with ReLU, without autograd."""
    weights = [torch.randn(layer.shape[::-1]) for layer in layers]
    biases = [torch.randn(layer.shape[1], 1) for layer in layers]

    def step() -> object:
        outputs, along, found = [x], grad, []
        for weight, bias in zip(weights, biases, strict=True):
            outputs.append(torch.addmm(bias, weight, outputs[-1]).relu_())
        for number, weight in reversed(list(enumerate(weights))):
            passed = torch.ops.aten.threshold_backward.default(along, outputs[number + 1], 0)
            along = None if first and number == 0 else weight.T @ passed
            found.append((passed @ outputs[number].T, passed.sum(1)))
        return found, along

    return step


def native(layers: Sequence[Layer], x: torch.Tensor, grad: torch.Tensor, first: bool) -> Callable[[], object]:
    """A step of layers, each with ReLU, in two calls of the library, without autograd."""
    plans = [KERNELS["native"].prepare(layer) for layer in layers]
    values = [plan.from_canonical(torch.randn(layer.edges)) for plan, layer in zip(plans, layers, strict=True)]
    biases = [torch.randn(layer.shape[1]) for layer in layers]
    whole = Chain([plan.pattern(one) for plan, one in zip(plans, values, strict=True)], [True] * len(layers))

    def step() -> object:
        _, tiles = whole.forward(x, values, biases)
        return whole.backward(grad, tiles, values, biases, [True] * 2 * len(layers), not first)

    return step


def raw(plan: Any, values: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, grad: torch.Tensor, first: bool) -> Any:
    """A step of a layer without autograd by its plan."""

    def step() -> object:
        y, saved = plan.product(x, values)
        y.add_(bias).relu_()
        passed = torch.ops.aten.threshold_backward.default(grad, y, 0)
        return passed.sum(1), plan.gradients(passed, x, values, saved, not first, True)

    return step


def modules() -> Iterator[tuple[str, Ways]]:
    """A layer as a module, under autograd, with the batch first."""
    for name, layer, batch, first in layers((128,)):
        ways: Ways = {}
        for kernel in ("dense", "csr", "native"):
            model: nn.Module = nn.Sequential(nn.Linear(*layer.shape))
            if kernel != "dense":
                model = sparsify(model, topokit.Topology([layer]), kernel=kernel)
            x = torch.randn(batch, layer.shape[0], requires_grad=not first)
            grad = torch.randn(batch, layer.shape[1])

            def step(model=model, x=x, grad=grad) -> None:
                for one in (x, *model.parameters()):
                    one.grad = None
                model(x).backward(grad)

            ways[kernel] = step
        yield name, ways


ROWS: dict[str, Callable[[], Iterator[tuple[str, Ways]]]] = {
    "step": lambda: network_steps(1, True),
    "stack": lambda: network_steps(16, True),
    "own": lambda: network_steps(16, False),
    "products": products,
    "chain": chain,
    "modules": modules,
}


def measure(row: str, seconds: float, clock: Callable[[], float]) -> None:
    """Print one process's median milliseconds of each way of each case, as JSON."""
    found: dict[str, dict[str, float]] = {}
    for case, ways in ROWS[row]():
        taken: dict[str, list[float]] = {name: [] for name in ways}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or min(map(len, taken.values())) < 5:
            for name, step in ways.items():
                start = clock()
                step()
                taken[name].append(1e3 * (clock() - start))
        found[case] = {name: statistics.median(times[1:]) for name, times in taken.items()}
    for case in [case for case in found if row == "chain" and "100" in case]:
        alone = found[case.replace("-100", "")]
        found[f"300-100 of {case}"] = {name: found[case][name] - alone[name] for name in alone}
    print(json.dumps(found))


def train(processes: int, threads: int) -> None:
    """Compare two trainings on MNIST as commands."""
    topokit_command = str(Path(sys.executable).with_name("topokit"))
    options = ["train", "--dataset", "mnist", "--epochs", "10", "--threads", str(threads), "--json"]
    ratios = []
    for _ in range(processes):
        taken = {}
        for name in ("default", "dense"):
            with tempfile.TemporaryDirectory() as folder:
                command = [topokit_command, *options, "--run", f"{folder}/run"]
                start = time.perf_counter()
                done = subprocess.run(
                    command + ["--topology", "dense"] * (name == "dense"), check=True, capture_output=True
                )
                wall = time.perf_counter() - start
                taken[name] = json.loads(done.stdout)["train_seconds"], wall
            print(f"{name:8} training {taken[name][0]:6.2f} s, command {taken[name][1]:6.2f} s", flush=True)
        ratios.append([dense / ours for dense, ours in zip(taken["dense"], taken["default"], strict=True)])
    training, command = map(statistics.median, zip(*ratios, strict=True))
    print(f"dense / default: training {training:.2f}, command {command:.2f}")


def measure_rates(seconds: float) -> None:
    """Print the steps a second of each way of `step`: a line "ready", and after each line of the input a number."""
    ((_, ways),) = ROWS["step"]()
    for step in ways.values():
        for _ in range(100):
            step()
        print("ready", flush=True)
        sys.stdin.readline()
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() < start + seconds:
            step()
            count += 1
        print(count / (time.perf_counter() - start), flush=True)


def rates(processes: int, threads: int, command: list[str]) -> list[float]:
    """Return the steps a second of each way, of so many processes that begin at the same time together."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [*command, "--threads", str(threads)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(processes)
        ]
        pipes = [(one.stdin, one.stdout) for one in running if one.stdin and one.stdout]
        found = []
        while all(output.readline() for _, output in pipes):  # "ready", or the end
            for begin, _ in pipes:
                begin.write("\n")
                begin.flush()
            found.append(sum(float(output.readline()) for _, output in pipes))
    return found


def pair(most_threads: int, repeats: int, command: list[str]) -> None:
    """Compare two processes side by side with one alone."""
    for threads in sorted({1, most_threads}):
        runs = [[rates(processes, threads, command) for processes in (1, 2)] for _ in range(repeats)]
        print(f"{threads} threads in each process")
        for number, name in enumerate(("dense", "csr", "native")):
            alone, together = (statistics.median(run[side][number] for run in runs) for side in (0, 1))
            ratio = statistics.median(run[1][number] / run[0][number] for run in runs)
            print(f"  {name:8}{alone:10.0f} steps/s alone, {together:8.0f} two together  {ratio:6.2f} times alone")


def main() -> None:
    """Read the command line, start the processes, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=[*ROWS, "train", "pair"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="for each case in each process")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.measure and args.row == "pair":
        measure_rates(args.seconds)
        return
    if args.measure:
        measure(args.row, args.seconds, time.perf_counter if args.clock == "wall" else time.thread_time)
        return
    print(f"torch {torch.__version__}, {args.threads} threads, {args.clock} clock, {description()}")
    if args.row == "train":
        train(args.processes, args.threads)
        return
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--measure"]
    if args.row == "pair":
        pair(args.threads, args.processes, command)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    runs = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)
        for _ in range(args.processes)
    ]
    for case in runs[0]:
        networks = int(case.split(" x ")[1].split(",")[0]) if " x " in case else 1
        print(case)
        for name in runs[0][case]:
            count = 1 if name == "dense" else networks
            milliseconds = statistics.median(run[case][name] for run in runs)
            ratio = count * statistics.median(run[case]["dense"] / run[case][name] for run in runs)
            print(f"  {name:8}{milliseconds:10.3f} ms  {ratio:6.2f} times dense")


if __name__ == "__main__":
    main()
