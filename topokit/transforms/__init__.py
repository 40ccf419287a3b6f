"""Transforms: networks made from other networks, layer by layer, by name.

Each is a `Spec`, so its layers are made when they are read, and it maps the promises of the network it is made
from. A new transform is one class here and one line in TRANSFORMS.
"""

from __future__ import annotations

from topokit._registry import Registry
from topokit.transforms.rearrange import concatenate, permute, reverse
from topokit.transforms.resize import crop, kron

__all__ = ["TRANSFORMS", "concatenate", "crop", "kron", "permute", "reverse"]

TRANSFORMS = Registry(
    "transform",
    {
        "crop": "topokit.transforms.resize:Crop",
        "concatenate": "topokit.transforms.rearrange:Concatenate",
        "kron": "topokit.transforms.resize:Kron",
        "permute": "topokit.transforms.rearrange:Permute",
        "reverse": "topokit.transforms.rearrange:Reverse",
    },
)
