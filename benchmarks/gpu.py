"""Correctness and step times on an accelerator, in one run: prints one table and writes JSON.

First the numbers: every kernel's product and gradients, and steps of LeNet-300-100 and LeNet-5, on the device against
float64 on the CPU; and stacked seeds on the device against each seed alone on the CPU. Then the times, forward and
backward with input gradient: every kernel beside a dense layer and beside the masked one (dense weight times mask), for
LeNet-300-100's layers and wide RadiX layers, in float32 and bfloat16; training steps of 1 to 64 stacked networks and of
LeNet-5; the Graph Challenge's inference; and one whole MNIST training where TOPOKIT_DATA_DIR holds it.

    python benchmarks/gpu.py [--device cuda] [--quick] [--json FILE]

A kernel that does not run on the device is left out and named. Times are medians of runs that end with a
synchronisation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _gpu_table
import _lenet5_on
import torch
from torch import Tensor, nn

import topokit
from topokit.challenge import official_bias, resized
from topokit_train import SparseLinear, TrainConfig, train
from topokit_train.datasets import load_dataset
from topokit_train.inference import infer
from topokit_train.kernels import KERNELS
from topokit_train.machine import processor
from topokit_train.training import Trainer

LENET = topokit.crop(topokit.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))
WIDE = [(1024, 16, 0.25), (4096, 16, 0.25), (4096, 64, 0.0625), (8192, 64, 0.03125), (16384, 64, 0.015625)]


def radix_layer(width: int, kron: int, density: float) -> topokit.Layer:
    """The first layer of a RadiX-Net with this width and density, Kronecker width `kron` on both sides."""
    nodes = width // kron
    radix = round(density * nodes)
    return topokit.RadixNet(radices=[(radix, nodes // radix)], kron=(kron, kron, 1)).layer(0)


def kernels_on(device: str, dtype: torch.dtype = torch.float32) -> tuple[list[str], list[str]]:
    """Names of the kernels that run on the device in that type, and of those that do not."""
    runs = {name: KERNELS[name].supports(torch.device(device), dtype) for name in KERNELS}
    return [name for name, there in runs.items() if there], [name for name, there in runs.items() if not there]


def outputs_and_gradients(layer: SparseLinear, x: Tensor, upstream: Tensor) -> list[Tensor]:
    """The product, and the gradients of the input and of the values in canonical order."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(upstream)
    return [y.detach(), x.grad, layer.to_canonical(layer.values.grad)]  # type: ignore[list-item,arg-type]


def check_kernels(device: str, layers: dict[str, topokit.Layer]) -> list[dict[str, Any]]:
    """The largest relative difference of each kernel, float32 on the device, to `masked` in float64 on the CPU."""
    rows = []
    for name, layer in layers.items():
        random = torch.Generator().manual_seed(0)
        x, upstream = (torch.randn(32, nodes, generator=random, dtype=torch.float64) for nodes in layer.shape)
        exact = SparseLinear(layer, kernel="masked", dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        wanted = outputs_and_gradients(exact, x, upstream)
        for kernel in kernels_on(device)[0]:
            tried = SparseLinear(layer, kernel=kernel, device=device, generator=torch.Generator().manual_seed(1))
            got = outputs_and_gradients(tried, x.float().to(device), upstream.float().to(device))
            errors = [
                ((a.cpu().double() - b).abs().max() / b.abs().max()).item() for a, b in zip(got, wanted, strict=True)
            ]
            rows.append({"layer": name, "kernel": kernel, "output, input, values": errors, "right": max(errors) < 1e-4})
    return rows


def lenet(kernel: str | None, device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """LeNet-300-100 with two sparse layers of one kernel, or all dense for None; drawn on the CPU in float32."""
    torch.manual_seed(0)
    hidden: list[nn.Module] = []
    for layer in LENET.build().stream():
        hidden += [SparseLinear(layer, kernel=kernel) if kernel else nn.Linear(*layer.shape), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(100, 10)).to(device, dtype)


def losses(kernel: str, device: str, dtype: torch.dtype) -> list[float]:
    """The losses of thirty SGD steps on fixed random data."""
    model = lenet(kernel, device, dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    random = torch.Generator().manual_seed(3)
    x = torch.rand(100, 784, generator=random, dtype=torch.float64).to(device, dtype)
    labels = torch.randint(10, (100,), generator=random).to(device)
    seen = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return seen


def trainer(device: str, seeds: range, **settings: Any) -> Trainer:
    """Networks with these seeds on the embedded digits, with common batches where there are several."""
    config = TrainConfig(epochs=2, seed=seeds[0], order_seed=0, **settings)
    digits = load_dataset("digits", None)
    return Trainer(config, LENET, digits, device=torch.device(device), kernel="auto", seeds=seeds)


def check_stacks(device: str) -> list[dict[str, Any]]:
    """The losses of two epochs of four stacked seeds on the device, beside those of each alone on the CPU."""
    stacked = trainer(device, range(4))
    together = [[metrics.train_loss for metrics in stacked.run_epoch()] for _ in range(2)]
    rows = []
    for seed in range(4):
        alone = trainer("cpu", range(seed, seed + 1))
        apart = max(abs(epoch[seed] / alone.run_epoch()[0].train_loss - 1) for epoch in together)
        rows.append({"seed": seed, "relative loss difference": apart, "right": apart < 1e-2})
    return rows


def milliseconds(step: Callable[[], object], device: str, repeat: int) -> float:
    """The median time of a step, after three that are not counted."""
    taken = []
    for i in range(repeat + 3):
        start = time.perf_counter()
        step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        if i >= 3:
            taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def step_of(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward, input gradient included."""
    x = x.clone().requires_grad_()
    upstream = torch.ones_like(module(x))

    def step() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x).backward(upstream)

    return step


def time_layers(
    device: str, layers: dict[str, topokit.Layer], batch: int, repeat: int, dtype: torch.dtype
) -> list[dict[str, Any]]:
    """Step times of each layer and of LeNet-300-100: dense, and every kernel that knows the type."""
    rows = []
    there, about = kernels_on(device, dtype)[0], {"batch": batch, "dtype": str(dtype).removeprefix("torch.")}
    for name, layer in layers.items():
        x = torch.randn(batch, layer.shape[0], device=device, dtype=dtype)
        ways: dict[str, nn.Module] = {"dense": nn.Linear(*layer.shape, device=device, dtype=dtype)}
        ways |= {kernel: SparseLinear(layer, kernel=kernel, device=device, dtype=dtype) for kernel in there}
        times = {way: milliseconds(step_of(module, x), device, repeat) for way, module in ways.items()}
        rows.append({"what": name, **about, "ms": times})
    x = torch.rand(batch, 784, device=device, dtype=dtype)
    nets = {"dense": lenet(None, device, dtype), **{kernel: lenet(kernel, device, dtype) for kernel in there}}
    times = {name: milliseconds(step_of(net, x), device, repeat) for name, net in nets.items()}
    return [*rows, {"what": "lenet-300-100", **about, "ms": times}]


def time_stacks(device: str, sizes: list[int], repeat: int) -> list[dict[str, Any]]:
    """Training steps of so many stacked networks with common batches of 100 images, optimizer included."""
    rows = []
    for size in sizes:
        made = trainer(device, range(size))
        batch = made.feed.batch(torch.arange(100, device=device))
        step = milliseconds(partial(made.step, *batch), device, repeat)
        rows.append({"networks": size, "ms": step, "network-steps per second": 1e3 * size / step})
    return rows


def run_challenge(device: str, quick: bool) -> dict[str, Any]:
    """The fast engine on 1024 x 120 with MNIST's images, or why not."""
    if quick or "TOPOKIT_DATA_DIR" not in os.environ:
        return {"skipped": "--quick" if quick else "TOPOKIT_DATA_DIR is not set"}
    images = resized(load_dataset("mnist", None).train_inputs[:, 0], 32)
    net = topokit.GraphChallenge(neurons=1024, layers=120)
    for _ in range(2):  # the first run warms up
        found = infer(net, images, official_bias(1024), torch.device(device))
    rate = found.edges_per_second
    return {"survivors": len(found.categories), "seconds": found.seconds, "edges per second": rate}


def train_mnist(device: str) -> dict[str, Any]:
    """One training of ten epochs on MNIST, or why there is none."""
    if "TOPOKIT_DATA_DIR" not in os.environ:
        return {"skipped": "TOPOKIT_DATA_DIR is not set"}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(dataset="mnist", epochs=10, device=device)
        return train(config, LENET.build(), run=Path(folder) / "run").to_json()


def differences(device: str, kernels: list[str]) -> dict[str, float]:
    """How far each kernel's losses are from those of `masked` in float64 on the CPU, at most, over thirty steps."""
    exact = losses("masked", "cpu", torch.float64)
    found = {kernel: losses(kernel, device, torch.float32) for kernel in kernels}
    return {kernel: max(abs(a - b) for a, b in zip(seen, exact, strict=True)) for kernel, seen in found.items()}


def measured(device: str, quick: bool) -> dict[str, Any]:
    """All numbers and times; `quick` takes small layers, few steps and repeats, and no MNIST."""
    layers = dict(zip(("784x300", "300x100"), LENET.build().stream(), strict=True))
    for width, kron, density in WIDE[:1] if quick else WIDE:
        layers[f"{width}x{width}, kron {kron}, {density:.3g}"] = radix_layer(width, kron, density)
    timed = dict(list(layers.items())[:1]) if quick else layers
    there, missing = kernels_on(device)
    repeat = 1 if quick else 30
    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else processor(),
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "not on this device": missing,
        "checked": check_kernels(device, {name: layers[name] for name in list(layers)[:4]}),
        "largest loss difference over 30 steps": differences(device, there),
        "stacked seeds": check_stacks(device),
        "lenet-5": _lenet5_on.check(device, 2 if quick else 10),
        "timed": [
            row
            for dtype in (torch.float32, torch.bfloat16)
            for batch in ([128] if quick else [128, 512])
            for row in time_layers(device, timed, batch, repeat, dtype)
        ],
        "stacks": time_stacks(device, [1, 2] if quick else [1, 8, 16, 64], repeat),
        "lenet-5 ms": _lenet5_on.time(device, partial(milliseconds, device=device, repeat=repeat)),
        "challenge": run_challenge(device, quick),
        "mnist": {"skipped": "--quick"} if quick else train_mnist(device),
    }


def wrong(report: dict[str, Any]) -> list[Any]:
    """What is not as on the CPU."""
    rows = [row for part in ("checked", "stacked seeds", "lenet-5") for row in report[part] if not row["right"]]
    return rows + [kernel for kernel, apart in report["largest loss difference over 30 steps"].items() if apart > 1e-3]


def main() -> None:
    """Run everything, print the table, and fail where a number is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small layers, few repeats, no MNIST: to test this script")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = measured(args.device, args.quick)
    _gpu_table.show(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if found := wrong(report):
        raise SystemExit(f"wrong on {args.device}: {found}")


if __name__ == "__main__":
    main()
