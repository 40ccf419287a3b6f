"""Conversion: put a topology on any model, by sparse layers or masks, and undo it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import TypeVar

from numpy.typing import ArrayLike
from torch import Tensor, nn

from topokit.layered import Layered
from topokit_train.conversion.replacing import densify, sparsify
from topokit_train.conversion.report import Report, parameter_groups, report

__all__ = ["Report", "apply_masks", "dense_state_dict", "densify", "parameter_groups", "report", "sparsify"]

M = TypeVar("M", bound=nn.Module)


def apply_masks(model: M, net: Layered | Mapping[str, ArrayLike], names: Sequence[str] | None = None) -> M:
    """Call `sparsify(model, net, names, masked=True)`, which replaces this function."""
    warnings.warn("apply_masks is sparsify(..., masked=True) now", DeprecationWarning, stacklevel=2)
    return sparsify(model, net, names, masked=True)


def dense_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Call `densify(copy.deepcopy(model)).state_dict()`, which replaces this function."""
    warnings.warn("dense_state_dict(model) is densify(model).state_dict() now", DeprecationWarning, stacklevel=2)
    return densify(copy.deepcopy(model)).state_dict()
