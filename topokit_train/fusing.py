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
            run = _run(parts) if _is_matrix(x) else []
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
    run = _run(parts) if _is_matrix(x) else []
    if len(run) == len(layers):
        return chain(x.T, run).T
    for part in parts:
        x = part(x)
    return x


def _is_matrix(x: object) -> bool:
    return isinstance(x, Tensor) and x.ndim == 2 and torch.is_grad_enabled()


def _run(parts: Sequence[nn.Module]) -> list[Link]:
    """The linear layers at the beginning of the parts, each with the ReLU behind it; hooks want to be called."""
    run: list[Link] = []
    i = 0
    while i < len(parts) and _is_linear(parts[i]) and not _has_hooks(parts[i]):
        relu = i + 1 < len(parts) and type(parts[i + 1]) is nn.ReLU and not _has_hooks(parts[i + 1])
        run.append(_link(parts[i], relu))
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
