"""Choice: which kernel to multiply by a layer with, and why.

"auto" goes by a cost model, and says the same on every machine. "tuned" goes by a stopwatch: it times a training step
of the kernels that might be fastest, and remembers the times in a small file, so that a machine is asked once.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from topokit.errors import TopokitError
from topokit.formats import replacing
from topokit.layered import Layer
from topokit.measures.structure import Structure, structure
from topokit.topologies import layer_digest
from topokit_train.kernels import KERNELS
from topokit_train.kernels.base import BATCH, Kernel
from topokit_train.machine import processor

CACHE = "kernel-times-2.json"
"""The file of times, in the user's cache folder; its number is that of the format. It may be deleted at any time."""

PLAUSIBLE = 4  # times the least estimated cost: what costs more is not timed
SECONDS = 0.2  # spent on each kernel


@dataclass(frozen=True)
class Choice:
    """A kernel, and why it was taken.

    Args:
        kernel: a name in KERNELS.
        reason: in a line.
    """

    kernel: str
    reason: str


class Work(Protocol):
    """What a kernel is chosen for: a product, or a convolution."""

    @property
    def case(self) -> str:
        """What the times depend on beside the layer, as it is said behind "a step"."""

    def cost(self, kernel: Kernel[Any], layer: Layer, found: Structure, device: str) -> float:
        """What a step costs with this kernel, in units of `Kernel.cost`."""

    def step(self, kernel: Kernel[Any], layer: Layer, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
        """A training step with all gradients, to be timed."""


@dataclass(frozen=True)
class Product:
    """The product with a batch of inputs.

    Args:
        batch: how many.
    """

    batch: int = BATCH

    @property
    def case(self) -> str:
        """See `Work`."""
        return f" at batch {self.batch}"

    def cost(self, kernel: Kernel[Any], layer: Layer, found: Structure, device: str) -> float:
        """See `Kernel`."""
        return kernel.cost(layer, found, device, self.batch)

    def step(self, kernel: Kernel[Any], layer: Layer, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
        """See `Work`."""
        plan = kernel.prepare(layer).to(device)
        values = plan.from_canonical(torch.randn(layer.edges, device=device).to(dtype)).requires_grad_()
        x = torch.randn(layer.shape[0], self.batch, device=device).to(dtype).requires_grad_()
        grad = torch.randn(layer.shape[1], self.batch, device=device).to(dtype)
        return lambda: torch.autograd.grad(kernel.multiply(x, values, plan), (x, values), grad)


PRODUCT = Product()


def choose(layer: Layer, device: torch.device, dtype: torch.dtype, name: str = "auto", work: Work = PRODUCT) -> Choice:
    """The kernel to multiply with.

    Args:
        layer: the pattern.
        device: where the values live.
        dtype: their type.
        name: a name in KERNELS, which is then checked and returned; "auto", the kernel whose training steps should
            cost least, by the structure of the pattern: the same on every machine; or "tuned", the one whose steps
            took least on this machine.
        work: what it is chosen for, a product or a convolution.

    Raises:
        InvalidSpecError: no such kernel, or it does not run on this device or type.

    Cost: for "auto", reading the structure from the edges, O(edges log edges); for "tuned", a second or so more
    where the machine has not been asked before.
    """
    if name not in ("auto", "tuned"):
        KERNELS[name].require(device, dtype)
        return Choice(name, "asked for")
    costs = estimated(layer, device, dtype, work)
    if not costs:
        KERNELS["masked"].require(device, dtype)
    if name == "auto":
        shown = _ranked({kernel: cost / costs["masked"] for kernel, cost in costs.items()}, "{:.2f}")
        return Choice(
            min(costs, key=costs.__getitem__), f"estimated cost of a step{work.case}, over the dense product's: {shown}"
        )
    plausible = [kernel for kernel, cost in costs.items() if cost <= PLAUSIBLE * min(costs.values())]
    times = _remembered(layer, device, dtype, plausible, work)
    shown = _ranked({kernel: 1e3 * seconds for kernel, seconds in times.items()}, "{:.2g} ms")
    return Choice(min(times, key=times.__getitem__), f"measured time of a step{work.case}: {shown}")


def estimated(layer: Layer, device: torch.device, dtype: torch.dtype, work: Work = PRODUCT) -> dict[str, float]:
    """The estimated cost of each kernel that runs there, see `Kernel.cost`; without those that cannot multiply."""
    found = structure(layer)
    costs = {
        name: work.cost(kernel, layer, found, device.type)
        for name, kernel in KERNELS.items()
        if kernel.supports(device, dtype)
    }
    return {name: cost for name, cost in costs.items() if cost < float("inf")}


def measured(work: Work, layer: Layer, device: torch.device, dtype: torch.dtype, name: str) -> float:
    """Seconds that a training step takes with all gradients: the least of many."""
    step = work.step(KERNELS[name], layer, device, dtype)
    least, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end or least == float("inf"):
        start = _now(device)
        step()
        least = min(least, _now(device) - start)
    return least


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def _ranked(numbers: Mapping[str, float], form: str) -> str:
    ranked = sorted(numbers.items(), key=lambda item: item[1])
    return ", ".join(f"{name} {form.format(number)}" for name, number in ranked)


def _remembered(
    layer: Layer, device: torch.device, dtype: torch.dtype, names: list[str], work: Work
) -> dict[str, float]:
    """The times of these kernels: those in the cache, and the others measured and put there."""
    path = _cache_folder() / CACHE
    known = _read(path)
    case = "/".join([layer_digest(layer).hex(), _machine(device), str(dtype), str(torch.get_num_threads()) + work.case])
    times = {name: seconds for name, seconds in known.get(case, {}).items() if name in names}
    new = {name: measured(work, layer, device, dtype, name) for name in names if name not in times}
    if new:
        known[case] = known.get(case, {}) | new
        _write(path, known)
    return times | new


def _machine(device: torch.device) -> str:
    """What the times depend on: the processor or accelerator, and torch's version."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {processor()}"
    return f"{name} torch {torch.__version__}"


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("topokit"))


def _read(path: Path) -> dict[str, dict[str, float]]:
    """The times in the file; none where it is missing or damaged: they are only measured again."""
    try:
        record = json.loads(path.read_text())
        digest = hashlib.sha256(json.dumps(record["times"], sort_keys=True).encode()).hexdigest()
        return dict(record["times"]) if record["sha256"] == digest else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(path: Path, times: dict[str, dict[str, float]]) -> None:
    """Keep the times if that can be done: a cache folder that is full or read-only is no reason to stop."""
    digest = hashlib.sha256(json.dumps(times, sort_keys=True).encode()).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, force=True) as temporary:
            temporary.write_text(json.dumps({"times": times, "sha256": digest}))
    except (OSError, TopokitError):
        return
