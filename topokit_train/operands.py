"""Checks of a layer's inputs: their types, autocast, and tracing by torch.func and torch.export."""

from __future__ import annotations

import torch
from torch import Tensor

from topokit.errors import InvalidSpecError


def autocast_dtype(values: Tensor) -> torch.dtype:
    """Return the type in which a layer with these values computes under autocast, which leaves float64 alone."""
    return values.dtype if values.dtype == torch.float64 else torch.get_autocast_dtype(values.device.type)


def require_dtype(x: Tensor, dtype: torch.dtype) -> None:
    """Refuse an input of another type than the layer's, as torch's layers do, unless autocast converts it.

    Raises:
        InvalidSpecError: says how to convert it.
    """
    if x.dtype == dtype:
        return
    autocast = torch.is_autocast_enabled(x.device.type) and torch.float64 not in (x.dtype, dtype)
    if not (autocast and x.is_floating_point()):
        raise InvalidSpecError(
            f"the input has type {x.dtype}, the layer {dtype}: convert the input by x.to({dtype})"
            + (f", or the layer by layer.to({x.dtype})" if x.is_floating_point() else "")
        )


def traced() -> bool:
    """Return whether torch.export or a transform of torch.func traces each operation."""
    if torch.compiler.is_dynamo_compiling():  # which cannot call the function below
        return torch.compiler.is_exporting()
    return torch.compiler.is_exporting() or torch._C._are_functorch_transforms_active()


def require_traceable(plain: bool, name: str) -> None:
    """Refuse operations that are not torch's own under torch.func and, if gradients are needed, torch.export.

    Raises:
        InvalidSpecError: names the kernel that can be traced.
    """
    if plain or (torch.compiler.is_exporting() and not torch.is_grad_enabled()):
        return
    raise InvalidSpecError(
        f"torch.func, and torch.export unless under torch.no_grad(), cannot trace {name}: load the state_dict into "
        "layers with kernel='masked'"
    )
