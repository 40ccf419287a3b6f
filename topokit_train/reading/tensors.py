"""Tensors of torch as arrays, and the weights among those of a state dict."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import FileFormatError
from topokit.extraction.names import state_dict
from topokit.extraction.weights import Weights


def first_names(tensors: Mapping[str, Hashable]) -> dict[str, str]:
    """Return the first name of each tensor that has several, as shared modules and tied weights have.

    Args:
        tensors: name -> what is equal for two names of one tensor, in the order of the model.
    """
    first: dict[Hashable, str] = {}
    return {name: first.setdefault(tensor, name) for name, tensor in tensors.items()}


def named_parts(tensors: Mapping[str, Any], source: object) -> Weights:
    """Return the weights among the tensors of a state dict.

    Args:
        tensors: by name, in the order of the model.
        source: file of the tensors, for messages.
    """
    refused = {name: reason for name, tensor in tensors.items() if (reason := _obstacle(tensor))}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in refused}
    found = state_dict(shapes, lambda name: as_array(tensors[name], name, source))
    return replace(found, refused={**found.refused, **refused})


def _obstacle(tensor: Any) -> str:
    """Return why a tensor has no shape that can be read."""
    return "a nested tensor, whose rows have different lengths" if tensor.is_nested else ""


def as_array(tensor: Any, name: str, source: object) -> NDArray[Any]:
    """Return a tensor as an array; the types that NumPy lacks as float32, and a quantised one with its zero point.

    Raises:
        FileFormatError: it has a shape, but no numbers.
        TooLargeError: not enough free memory.
    """
    import torch

    if tensor.device.type == "meta":
        raise FileFormatError(f"{source}: {name} has a shape, but no numbers (device meta): save the real weights")
    require_memory(8 * tensor.numel(), f"reading {name}")  # a sparse tensor becomes dense
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()  # NumPy lacks some of these types; float32 has all of their values
    array: NDArray[Any] = np.asarray(tensor.numpy())
    return array
