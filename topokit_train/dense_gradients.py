"""DenseGradients: gradients of the dense weights of sparse layers, by which methods choose new edges."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight
from torch.utils.hooks import RemovableHandle

from topokit.errors import InvalidSpecError
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.sparse import SparseModule


class DenseGradients(AbstractContextManager["DenseGradients"]):
    """Inside, forward and backward passes also compute the gradients of dense weights, by hooks on the layers.

    Args:
        layers: sparse layers by their names.

    Cost: for each layer the product of a dense layer's weight gradient, and memory for a dense weight.
    """

    def __init__(self, layers: Mapping[str, SparseModule]):
        self._layers = layers
        self._handles: list[RemovableHandle] = []
        self._found: dict[str, Tensor] = {}

    def __enter__(self) -> DenseGradients:
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_hook(partial(self._look, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def mean(self) -> dict[str, Tensor]:
        """Return name -> the gradient of the loss, shape (out, in, ...); 0 for a layer that was not used."""
        return {
            name: self._found.get(name, layer.values.new_zeros(layer.dense_shape))
            for name, layer in self._layers.items()
        }

    def _look(self, name: str, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(partial(self._add, name, layer, inputs[0].detach()))  # type: ignore[no-untyped-call]

    def _add(self, name: str, layer: SparseModule, x: Tensor, grad: Tensor) -> None:
        with torch.no_grad():
            found = _weight_gradient(layer, x, grad)
            self._found[name] = self._found[name] + found if name in self._found else found


def _weight_gradient(layer: SparseModule, x: Tensor, grad: Tensor) -> Tensor:
    if not isinstance(layer, SparseConv2d):
        return grad.reshape(-1, grad.shape[-1]).T @ x.reshape(-1, x.shape[-1])
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise InvalidSpecError("dense gradients of a convolution need zeros as padding, in numbers of pixels")
    return conv2d_weight(  # type: ignore[no-any-return, no-untyped-call]
        x, layer.dense_shape, grad, layer.stride, layer.padding, layer.dilation, layer.groups
    )
