"""Linear layers of a model with ReLU between them, computed as one step of autograd: see `topokit_train.chain`.

Small products take less time than a step for each. The numbers are the same. Without gradients, too, one call for all
layers takes less time than a call for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from topokit_train.chain import Dense, Link, chain_rows, unobserved
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import StackedLinear, StackedSparse

LINEAR = (nn.Linear, SparseLinear, StackedSparse, StackedLinear)
"""Classes of linear layers; a subclass may compute something else."""

PLAIN = {Tensor, nn.Parameter, type(None)}
"""Classes of parameters; a subclass, such as one for quantised numbers, may be multiplied in another way."""


class FusedSequential(nn.Sequential):
    """An nn.Sequential that computes each run of linear layers and ReLU between them in one step of autograd."""

    def forward(self, x: Any) -> Any:
        """Return what nn.Sequential returns."""
        return fused(list(self), x)


def fused(parts: Sequence[nn.Module], x: Any) -> Any:
    """Return what modules compute one after another: linear layers and the ReLU between them in one step."""
    while parts:
        run = _run(parts, x)
        x = chain_rows(x, run) if run else parts[0](x)
        parts = parts[sum(1 + link.relu for link in run) or 1 :]
    return x


def fuse(model: nn.Module) -> nn.Module:
    """Turn each nn.Sequential of a model into a FusedSequential, in place; `separate` undoes it."""
    return _retyped(model, nn.Sequential, FusedSequential)


def separate(model: nn.Module) -> nn.Module:
    """Undo `fuse`, in place."""
    return _retyped(model, FusedSequential, nn.Sequential)


def _retyped(model: nn.Module, old: type, new: type) -> nn.Module:
    for part in model.modules():
        if type(part) is old:  # a subclass may compute something else
            part.__class__ = new
    return model


def _run(parts: Sequence[nn.Module], x: object) -> list[Link]:
    """The linear layers at the beginning of the parts, each with the ReLU after it, that can be one step for x.

    Hooks must be called, and a layer for inputs of another width must raise its own error. Without gradients a run
    begins with a sparse layer, as torch is faster at its own, and there is none if something observes operations.
    """
    run: list[Link] = []
    recorded = torch.is_grad_enabled()
    if type(parts[0]) not in LINEAR or not isinstance(x, Tensor) or x.ndim != 2:
        return run
    if not recorded and (type(parts[0]) is nn.Linear or not unobserved(x)):
        return run
    i, width = 0, x.shape[1]
    while i < len(parts) and is_plain(parts[i]) and type(parts[i]) in LINEAR:
        layer: Any = parts[i]
        relu = i + 1 < len(parts) and type(parts[i + 1]) is nn.ReLU and is_plain(parts[i + 1])
        if layer.in_features != width or not (recorded or PLAIN.issuperset(map(type, layer._parameters.values()))):
            break
        dense = type(layer) is nn.Linear
        run.append(Link(Dense(), layer.weight, layer.bias, relu) if dense else layer.link(relu))
        width = layer.out_features
        i += 1 + relu
    return run


def is_plain(module: nn.Module) -> bool:
    """Return whether a call of a module is a call of its class's forward, without hooks."""
    hooks = module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks
    observed = any(hooks) or _has_any_global_hook()  # type: ignore[no-untyped-call]
    return not observed and "forward" not in vars(module)
