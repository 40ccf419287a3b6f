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
        "band": "topokit_train.kernels.band:KERNEL",
    },
)

# What a training step of csr costs: (per edge, at any size), in units of one entry of the dense weight under masked.
# cpu: measured on 2 cores at batch 128 from 64x64 to 3000x3000. cuda: a careful guess, not measured.
_CSR_COST = {"cpu": (4, 10_000), "cuda": (50, 1_000_000)}


def choose(layer: Layer, device: torch.device, dtype: torch.dtype, name: str = "auto") -> str:
    """The kernel to multiply with. O(1), and the same answer for the same arguments on every machine.

    Args:
        layer: the pattern.
        device: where the values live.
        dtype: their type.
        name: a name in KERNELS, which is then checked and returned; or "auto", csr where it should be faster
            than masked and masked elsewhere.

    Raises:
        InvalidSpecError: no such kernel, or it does not run on this device or type.
    """
    if name != "auto":
        KERNELS[name].require(device, dtype)
        return name
    if KERNELS["csr"].supports(device, dtype):
        per_edge, fixed = _CSR_COST[device.type]
        if per_edge * layer.edges + fixed <= layer.shape[0] * layer.shape[1]:
            return "csr"
    return choose(layer, device, dtype, "masked")
