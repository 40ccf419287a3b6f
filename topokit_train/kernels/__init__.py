"""Kernels, by name: ways of multiplying by a fixed sparse pattern. A new one is one file here and one line in KERNELS.

The registry holds strings, so that listing the kernels does not import torch.
"""

from __future__ import annotations

from topokit._registry import Registry

KERNELS = Registry(
    "kernel",
    {
        "masked": "topokit_train.kernels.masked:KERNEL",
        "csr": "topokit_train.kernels.csr:KERNEL",
        "native": "topokit_train.kernels.native:KERNEL",
        "block": "topokit_train.kernels.block:KERNEL",
        "band": "topokit_train.kernels.band:KERNEL",
    },
)
