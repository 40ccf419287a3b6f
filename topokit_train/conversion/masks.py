"""Masks on the weights of dense modules, by torch.nn.utils.prune."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune


@torch.no_grad()
def put_mask(module: Any, mask: Tensor, first: Tensor | None) -> None:
    """Mask the weight of a module with torch.nn.utils.prune, in place of the mask that it may have.

    Args:
        module: is changed.
        mask: of the weight's shape.
        first: the weight's first values at the edges; None if it keeps its own.
    """
    if hasattr(module, "weight_mask"):
        # what was masked is 0, as in a sparse layer made of it
        prune.remove(module, "weight")  # type: ignore[no-untyped-call]
    mask = mask.to(module.weight)
    if first is not None:
        module.weight.copy_(torch.where(mask.bool(), first, module.weight))
    prune.custom_from_mask(module, "weight", mask)  # type: ignore[no-untyped-call]
    if release not in module._forward_hooks.values():
        module.register_forward_hook(release)
    release(module)


def unmask(module: nn.Module) -> None:
    """Make a weight that `put_mask` masked a parameter again, at the place that it had before."""
    if hasattr(module, "weight_mask"):  # not if the user has removed it
        prune.remove(module, "weight")  # type: ignore[no-untyped-call]
    if "bias" in module._parameters:  # behind the weight, as before
        module._parameters["bias"] = module._parameters.pop("bias")
    for key in [key for key, hook in module._forward_hooks.items() if hook is release]:
        del module._forward_hooks[key]


def release(module: nn.Module, *_: Any) -> None:
    """Keep the masked weight, but not how it was computed: torch does not deepcopy what autograd has computed."""
    pruned: Any = module
    if not isinstance(pruned.weight, nn.Parameter):  # as it is again after prune.remove
        pruned.weight = pruned.weight.detach()
