"""Weights of a model as extraction reads them: shapes first, numbers when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Shape, shown
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.reprs import short_repr

Read = Callable[[], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One weight of a model, its mask, or both.

    Args:
        shape: (out, in) of a linear layer, (out, in, rows, columns) of a convolution.
        weight: reads the numbers, with 0 for those that a mask removes; None if only the mask is known.
        mask: reads the 0 or 1 of a mask; None if there is no mask.
    """

    shape: Shape
    weight: Read | None = None
    mask: Read | None = None

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a file, or of a dictionary of arrays.

    Args:
        parts: parameter name -> part, in the order of the file.
        default: names of the layers to extract by default, in order.
        origin: kind, file and sha256, as JSON-able values for the recipe; empty if unknown.
        edgeless: layers of which the file has one number per edge, but not the edges.
        notes: messages for the user.
    """

    parts: Mapping[str, Part]
    default: tuple[str, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    edgeless: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    __repr__ = short_repr


def state_dict(shapes: Mapping[str, Shape], read: Callable[[str], NDArray[Any]]) -> Weights:
    """Return the weights of a state dict: all tensors of two or four dimensions.

    The pairs of torch.nn.utils.prune, `x_orig` and `x_mask`, are the weight x and its mask. A mask beside a plain
    x, or alone, is the mask of x too. Parameters named `weight` are layers; in a file of masks alone, all masks are.

    Args:
        shapes: tensor name -> shape, in the order of the layers.
        read: reads a tensor by its name.

    Raises:
        InvalidGraphError: a mask has another shape than its weight.
    """
    parts: dict[str, Part] = {}
    for name in shapes:
        stem = name.removesuffix("_mask")
        if stem == name and name.removesuffix("_orig") + "_mask" in shapes:
            stem = name.removesuffix("_orig")
        if stem not in parts:
            parts[stem] = _part(stem, shapes, read)
    parts = {name: part for name, part in parts.items() if len(part.shape) in (2, 4) and min(part.shape) > 0}
    default = [name for name in parts if name.rpartition(".")[2] == "weight"]
    if not any(part.weight for part in parts.values()):
        default = list(parts)
    edgeless = [
        name.removesuffix(".values")
        for name in shapes
        if name.endswith(".values") and name.removesuffix("values") + "digest" in shapes
    ]
    return Weights(parts=parts, default=tuple(default), edgeless=tuple(edgeless))


def _part(name: str, shapes: Mapping[str, Shape], read: Callable[[str], NDArray[Any]]) -> Part:
    """Return the weight `name`, which has a mask `name_mask`, or numbers, or both."""
    mask = name + "_mask"
    if mask not in shapes:
        return Part(shape=shapes[name], weight=lambda: read(name))
    numbers = next((key for key in (name + "_orig", name) if key in shapes), None)
    if numbers is None:
        return Part(shape=shapes[mask], mask=lambda: read(mask))
    if shapes[mask] != shapes[numbers]:
        raise InvalidGraphError(
            f"the mask of {name} has the shape {shown(shapes[mask])}, but its weights have {shown(shapes[numbers])}: "
            "they must be equal"
        )
    return Part(shape=shapes[mask], weight=lambda: np.where(read(mask) != 0, read(numbers), 0), mask=lambda: read(mask))


def from_arrays(arrays: Mapping[str, ArrayLike]) -> Weights:
    """Return the weights in a dictionary of arrays, such as a state dict; all are layers if none is named `weight`.

    Raises:
        InvalidSpecError: not a dictionary, or a value that NumPy does not read.
        InvalidGraphError: a mask has another shape than its weight.
    """
    if not isinstance(arrays, Mapping):
        raise InvalidSpecError(
            f"weights must be a dictionary of arrays, not {type(arrays).__name__}: use "
            "topokit_train.read_weights(FILE) for a file, model.state_dict() for a model"
        )
    checked = {name: _array(name, values) for name, values in arrays.items()}
    found = state_dict({name: array.shape for name, array in checked.items()}, checked.__getitem__)
    return replace(found, default=found.default or tuple(found.parts))


def _array(name: str, values: Any) -> NDArray[Any]:
    """Return an array of the values, which may be a tensor of torch."""
    try:
        array = np.asarray(values.detach() if hasattr(values, "detach") else values)
        reason = f"a {type(values).__name__}"
    except (TypeError, ValueError, RuntimeError) as error:
        array, reason = None, str(error).partition(". ")[0]
    # of an unknown type, such as a sparse matrix, NumPy makes an array of one object
    if array is None or array.shape != getattr(values, "shape", array.shape):
        raise InvalidSpecError(
            f"NumPy does not read {name} ({reason}): give a dense array; of a tensor, tensor.cpu().float(), and "
            ".to_dense() of a sparse one"
        )
    return array
