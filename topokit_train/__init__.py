"""topokit_train: train PyTorch networks whose weights are really sparse, on topokit's topologies.

Names are imported when they are first used: `import topokit_train` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topokit_train.config import TrainConfig
    from topokit_train.conversion import apply_masks, dense_state_dict, densify, parameter_groups, report, sparsify
    from topokit_train.layers.convolution import SparseConv2d
    from topokit_train.layers.linear import SparseLinear
    from topokit_train.runs.loading import load_run
    from topokit_train.runs.train import train
    from topokit_train.weights import read_weights

__all__ = [
    "SparseConv2d",
    "SparseLinear",
    "TrainConfig",
    "apply_masks",
    "dense_state_dict",
    "densify",
    "load_run",
    "parameter_groups",
    "read_weights",
    "report",
    "sparsify",
    "train",
]

_PLACES = {
    "SparseConv2d": "topokit_train.layers.convolution",
    "SparseLinear": "topokit_train.layers.linear",
    "TrainConfig": "topokit_train.config",
    "apply_masks": "topokit_train.conversion",
    "dense_state_dict": "topokit_train.conversion",
    "densify": "topokit_train.conversion",
    "load_run": "topokit_train.runs.loading",
    "parameter_groups": "topokit_train.conversion",
    "read_weights": "topokit_train.weights",
    "report": "topokit_train.conversion",
    "sparsify": "topokit_train.conversion",
    "train": "topokit_train.runs.train",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'topokit_train' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
