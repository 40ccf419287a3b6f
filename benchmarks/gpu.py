"""Correctness and step times on an accelerator, in one run: prints one table and writes JSON.

First the numbers: every kernel's product and gradients, and thirty steps of LeNet-300-100, on the device against
float64 on the CPU. Then the times, forward and backward with input gradient: every kernel beside a dense layer and
beside the masked one (dense weight times mask), for LeNet-300-100's layers and wide RadiX layers; and one whole MNIST
training where TOPOKIT_DATA_DIR holds it.

    python benchmarks/gpu.py [--device cuda] [--quick] [--json FILE]

A kernel that does not run on the device is left out and named. Times are medians of runs that end with a
synchronisation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import topokit
from topokit_train import SparseLinear, TrainConfig, train
from topokit_train.kernels import KERNELS

LENET = topokit.crop(topokit.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))
WIDE = [(1024, 16, 0.25), (4096, 16, 0.25), (4096, 64, 0.0625), (8192, 64, 0.03125), (16384, 64, 0.015625)]


def radix_layer(width: int, kron: int, density: float) -> topokit.Layer:
    """The first layer of a RadiX-Net with this width and density, Kronecker width `kron` on both sides."""
    nodes = width // kron
    radix = round(density * nodes)
    return topokit.RadixNet(radices=[(radix, nodes // radix)], kron=(kron, kron, 1)).layer(0)


def kernels_on(device: str) -> tuple[list[str], list[str]]:
    """Names of the kernels that run on the device in float32, and of those that do not."""
    runs = {name: KERNELS[name].supports(torch.device(device), torch.float32) for name in KERNELS}
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


def time_layers(device: str, layers: dict[str, topokit.Layer], batch: int, repeat: int) -> list[dict[str, Any]]:
    """Step times of each layer: dense, and every kernel."""
    rows = []
    for name, layer in layers.items():
        x = torch.randn(batch, layer.shape[0], device=device)
        times = {"dense": milliseconds(step_of(nn.Linear(*layer.shape, device=device), x), device, repeat)}
        for kernel in kernels_on(device)[0]:
            times[kernel] = milliseconds(step_of(SparseLinear(layer, kernel=kernel, device=device), x), device, repeat)
        rows.append({"what": name, "batch": batch, "ms": times})
    x = torch.rand(batch, 784, device=device)
    nets = {"dense": lenet(None, device), **{kernel: lenet(kernel, device) for kernel in kernels_on(device)[0]}}
    times = {name: milliseconds(step_of(net, x), device, repeat) for name, net in nets.items()}
    return [*rows, {"what": "lenet-300-100", "batch": batch, "ms": times}]


def train_mnist(device: str) -> dict[str, Any]:
    """One training of ten epochs on MNIST, or why there is none."""
    if "TOPOKIT_DATA_DIR" not in os.environ:
        return {"skipped": "TOPOKIT_DATA_DIR is not set"}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(dataset="mnist", epochs=10, device=device)
        return train(config, LENET.build(), run=Path(folder) / "run").to_json()


def main() -> None:
    """Run everything, print the table, and fail where a number is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small layers, few repeats, no MNIST: to test this script")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    hidden = list(LENET.build().stream())
    layers = {"784x300": hidden[0], "300x100": hidden[1]}
    for width, kron, density in WIDE[:1] if args.quick else WIDE:
        layers[f"{width}x{width}, kron {kron}, {density:.3g}"] = radix_layer(width, kron, density)
    checked = check_kernels(args.device, {name: layers[name] for name in list(layers)[:4]})
    exact = losses("masked", "cpu", torch.float64)
    there, missing = kernels_on(args.device)
    drift = {
        kernel: max(abs(a - b) for a, b in zip(losses(kernel, args.device, torch.float32), exact, strict=True))
        for kernel in there
    }
    batches = [128] if args.quick else [128, 512]
    timed = [row for batch in batches for row in time_layers(args.device, layers, batch, 3 if args.quick else 30)]
    name = (
        torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.processor() or platform.machine()
    )
    report = {
        "device": name,
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "not on this device": missing,
        "checked": checked,
        "largest loss difference over 30 steps": drift,
        "timed": timed,
        "mnist": {"skipped": "--quick"} if args.quick else train_mnist(args.device),
    }
    show(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    wrong = [row for row in checked if not row["right"]] + [kernel for kernel, apart in drift.items() if apart > 1e-3]
    if wrong:
        raise SystemExit(f"wrong on {args.device}: {wrong}")


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['device']}, {report['date']}, torch {report['torch']}, {report['threads']} CPU threads")
    for row in report["checked"]:
        errors = " ".join(f"{error:.1e}" for error in row["output, input, values"])
        print(f"{row['layer']:<30}{row['kernel']:<10}relative error of output, input and values gradient: {errors}")
    for kernel, apart in report["largest loss difference over 30 steps"].items():
        print(f"{'lenet-300-100':<30}{kernel:<10}largest loss difference over 30 steps: {apart:.1e}")
    print(f"{'forward + backward':<30}{'batch':>6}  ms and times faster than dense")
    for row in report["timed"]:
        dense = row["ms"]["dense"]
        times = "  ".join(f"{name} {ms:.3f} ({dense / ms:.2f}x)" for name, ms in row["ms"].items())
        print(f"{row['what']:<30}{row['batch']:>6}  {times}")
    print(f"MNIST: {report['mnist']}")


if __name__ == "__main__":
    main()
