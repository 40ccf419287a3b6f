"""Choice: which kernel multiplies by a layer, and why.

"auto" compares estimated costs, and chooses the same kernel on every machine. "tuned" times a training step with each
kernel that might be fastest, and keeps the times in a small file, so that each case is timed once on a machine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from topokit._native import description, native
from topokit.errors import FileFormatError, TopokitError
from topokit.layered import Layer
from topokit.measures.structure import Structure, structure
from topokit.topologies import layer_digest
from topokit_train.chain import Link, chain
from topokit_train.json_files import read_json, write_json
from topokit_train.kernels import KERNELS
from topokit_train.kernels.base import BATCH, Kernel, Plan
from topokit_train.machine import processor

if TYPE_CHECKING:
    from topokit_train.layers.patches import Convolution

CACHE = "kernel-times-3.json"
"""The file of times, in the user's cache folder; its number is that of the format. It may be deleted at any time."""

PLAUSIBLE = 4  # times the least estimated cost: a kernel that costs more is not timed
SECONDS = 0.2  # for each kernel


@dataclass(frozen=True)
class Choice:
    """A kernel, and why it was chosen.

    Args:
        kernel: a name in KERNELS.
        reason: one line.
    """

    kernel: str
    reason: str


@dataclass(frozen=True)
class Product:
    """The product with a batch of inputs, for which a kernel is chosen.

    Args:
        batch: number of inputs.
    """

    batch: int = BATCH

    @property
    def case(self) -> str:
        """What the times depend on beside the layer, as the reason says it after "a step"."""
        return f" at batch {self.batch}"

    def cost(self, kernel: Kernel, layer: Layer, found: Structure, device: str) -> float:
        """Return the estimated cost of a step with this kernel, in units of `Kernel.cost`."""
        return kernel.cost(layer, found, device, self.batch)

    def pattern(self, _kernel: Kernel, layer: Layer) -> Layer:
        """Return the edges that a kernel multiplies by."""
        return layer

    def input_shape(self, layer: Layer) -> tuple[int, ...]:
        """Return the shape of an input to time a step with."""
        return layer.shape[0], self.batch

    def __call__(self, x: Tensor, values: Tensor, bias: Tensor | None, plan: Plan) -> Tensor:
        """Multiply."""
        return chain(x, [Link(plan, values, bias, relu=False)])


logger = logging.getLogger(__name__)

Work: TypeAlias = "Product | Convolution"

PRODUCT = Product()


def choose(layer: Layer, device: torch.device, dtype: torch.dtype, name: str = "auto", work: Work = PRODUCT) -> Choice:
    """Return the kernel to multiply with.

    Args:
        layer: the pattern.
        device: of the values.
        dtype: of the values.
        name: a name in KERNELS, which is then checked and returned; "auto", the kernel with the least estimated cost
            of a training step, which depends on the structure of the pattern alone; or "tuned", the one with the
            fastest steps on this machine.
        work: what it is chosen for, a product or a convolution.

    Raises:
        InvalidSpecError: there is no such kernel, or it does not run on this device or type.

    Cost: for "auto", finding the structure of the edges, O(edges log edges); for "tuned", about a second more if
    this case was not timed before.
    """
    if name not in ("auto", "tuned"):
        KERNELS[name].require(device, dtype)
        if name == "native" and native() is None:
            _say_csr(description())
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


@cache
def _say_csr(reason: str) -> None:
    """Say once that kernel native has no library."""
    logger.warning("kernel native multiplies as csr does (%s): see docs/native.md", reason)


def estimated(layer: Layer, device: torch.device, dtype: torch.dtype, work: Work = PRODUCT) -> dict[str, float]:
    """Return the estimated cost of each kernel that supports device and type and can multiply, see `Kernel.cost`."""
    found = structure(layer)
    costs = {
        name: work.cost(kernel, layer, found, device.type) * kernel.relative_cost(device, dtype)
        for name, kernel in KERNELS.items()
        if kernel.supports(device, dtype)
    }
    return {name: cost for name, cost in costs.items() if cost < float("inf")}


@torch.inference_mode(False)
@torch.enable_grad()
def measured(work: Work, layer: Layer, device: torch.device, dtype: torch.dtype, name: str) -> float:
    """Return the seconds of a training step with all gradients: the least of many, also where gradients are off."""
    from torch.utils.benchmark import Timer  # takes half a second to import

    kernel = KERNELS[name]
    plan = kernel.prepare(work.pattern(kernel, layer)).to(device)
    values = plan.from_canonical(torch.randn(layer.edges, device=device).to(dtype)).requires_grad_()
    x = torch.randn(work.input_shape(layer), device=device).to(dtype).requires_grad_()
    grad = torch.randn_like(work(x, values, None, plan))

    def step() -> None:
        torch.autograd.grad(work(x, values, None, plan), (x, values), grad)

    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=SECONDS).times)


def _ranked(numbers: Mapping[str, float], form: str) -> str:
    ranked = sorted(numbers.items(), key=lambda item: item[1])
    return ", ".join(f"{name} {form.format(number)}" for name, number in ranked)


def _remembered(
    layer: Layer, device: torch.device, dtype: torch.dtype, names: list[str], work: Work
) -> dict[str, float]:
    """The times of these kernels: those in the cache; the others are measured and put there."""
    path = _cache_folder() / CACHE
    case = "/".join([layer_digest(layer).hex(), _machine(device), str(dtype), str(torch.get_num_threads()) + work.case])
    try:
        known = read_json(path)
    except FileFormatError:  # missing or damaged: the times are only measured again
        known = {}
    times = {name: seconds for name, seconds in known.get(case, {}).items() if name in names}
    new = {name: measured(work, layer, device, dtype, name) for name in names if name not in times}
    if new:
        with suppress(OSError, TopokitError):  # a cache folder that is full or read-only stops nothing
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, known | {case: known.get(case, {}) | new})
    return times | new


def _machine(device: torch.device) -> str:
    """What the times depend on: the processor or accelerator, and torch's version."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {processor()}"
    return f"{name} torch {torch.__version__}"


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("topokit"))
