"""Linear layers of a model with ReLU between them, computed as one step of autograd: see `topokit_train.chain`.

A step for each would take longer than small products. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from topokit_train.chain import Dense, Link, chain
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import StackedLinear


class FusedSequential(nn.Sequential):
    """An nn.Sequential that computes each run of linear layers and ReLU between them in one step of autograd."""

    def forward(self, x: Any) -> Any:
        """Return what nn.Sequential does."""
        parts = list(self)
        while parts:
            run = _run(parts, x)
            if run:
                x = chain(x.T, run).T
                del parts[: sum(1 + link.relu for link in run)]
            else:
                x = parts.pop(0)(x)
        return x


def fuse(model: nn.Module) -> nn.Module:
    """Let each nn.Sequential of a model compute so, in place; `separate` undoes it."""
    return _retyped(model, nn.Sequential, FusedSequential)


def separate(model: nn.Module) -> nn.Module:
    """Undo `fuse`, in place."""
    return _retyped(model, FusedSequential, nn.Sequential)


def _retyped(model: nn.Module, old: type, new: type) -> nn.Module:
    for part in model.modules():
        if type(part) is old:  # a subclass may compute something else
            part.__class__ = new
    return model


def perceptron(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Return the output of linear layers with a ReLU between each two, for x of shape (batch, features).

    Args:
        layers: nn.Linear or SparseLinear.
        x: shape (batch, features).
    """
    parts = [part for layer in layers for part in (layer, nn.ReLU())][:-1]
    run = _run(parts, x)
    if len(run) == len(layers):
        return chain(x.T, run).T
    for part in parts:
        x = part(x)
    return x


def _run(parts: Sequence[nn.Module], x: object) -> list[Link]:
    """The linear layers at the beginning of the parts, each with the ReLU behind it, that can be one step for x.

    Hooks want to be called, and a layer for inputs of another width is to say so itself.
    """
    run: list[Link] = []
    if not isinstance(x, Tensor) or x.ndim != 2 or not torch.is_grad_enabled():
        return run
    i, width = 0, x.shape[1]
    while i < len(parts) and _is_linear(parts[i]) and not _has_hooks(parts[i]):
        if getattr(parts[i], "in_features", width) != width:
            break
        relu = i + 1 < len(parts) and type(parts[i + 1]) is nn.ReLU and not _has_hooks(parts[i + 1])
        run.append(_link(parts[i], relu))
        width = getattr(parts[i], "out_features", width)
        i += 1 + relu
    return run


def _is_linear(part: nn.Module) -> bool:
    return type(part) is nn.Linear or isinstance(part, SparseLinear | StackedLinear)


def _link(layer: Any, relu: bool) -> Link:
    if isinstance(layer, nn.Linear):
        return Link(Dense(), layer.weight, layer.bias, relu)
    link: Link = layer.link(relu)
    return link


def _has_hooks(layer: nn.Module) -> bool:
    return bool(layer._forward_pre_hooks or layer._forward_hooks or layer._backward_pre_hooks or layer._backward_hooks)
