"""Kernels, by name: ways of multiplying by a fixed sparse pattern. A new one is one file here and one line in KERNELS.

The registry holds strings, so that listing the kernels does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from topokit._registry import Registry

if TYPE_CHECKING:
    import torch

    from topokit.layered import Layer

KERNELS = Registry(
    "kernel",
    {
        "masked": "topokit_train.kernels.masked:KERNEL",
        "csr": "topokit_train.kernels.csr:KERNEL",
        "block": "topokit_train.kernels.block:KERNEL",
        "band": "topokit_train.kernels.band:KERNEL",
    },
)


def choose(layer: Layer, device: torch.device, dtype: torch.dtype, name: str = "auto") -> str:
    """The kernel to multiply with: the same answer for the same arguments on every machine.

    Args:
        layer: the pattern.
        device: where the values live.
        dtype: their type.
        name: a name in KERNELS, which is then checked and returned; or "auto", the kernel whose training steps
            should cost least, by the structure of the pattern. That is read from the edges, O(edges log edges).

    Raises:
        InvalidSpecError: no such kernel, or it does not run on this device or type.
    """
    if name != "auto":
        KERNELS[name].require(device, dtype)
        return name
    from topokit.measures.structure import structure

    found = structure(layer)
    costs = {
        name: kernel.cost(layer, found, device.type)
        for name, kernel in KERNELS.items()
        if kernel.supports(device, dtype)
    }
    if not costs:
        KERNELS["masked"].require(device, dtype)
    return min(costs, key=costs.__getitem__)
