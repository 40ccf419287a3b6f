"""Weights of a model as extraction reads them: shapes first, numbers when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Shape
from topokit.errors import InvalidSpecError
from topokit.reprs import short_repr
from topokit.topologies import filled

if TYPE_CHECKING:
    from topokit.extraction.tracing import Tracing

Read = Callable[[], NDArray[Any]]

EMBEDDING = "an embedding by its name"
"""What is assumed of a weight by its name: a table with a row for each token, stored as (in, out)."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One weight of a model, its mask, or both.

    Args:
        shape: of the array, in its layout.
        weight: reads the numbers, with 0 for those that a mask removes; None if only the mask is known.
        mask: reads the 0 or 1 of a mask; None if there is no mask.
        layout: one of topokit.masking.LAYOUTS.
        groups: of a convolution, if the file says it.
        known: whether its name or the model says the layout.
        assumed: what only its name says about how to read it, for a table.
    """

    shape: Shape
    weight: Read | None = None
    mask: Read | None = None
    layout: str = "out-in"
    groups: int = 1
    known: bool = False
    assumed: str = ""

    __repr__ = short_repr

    def read(self) -> NDArray[Any]:
        """Return the numbers or, without these, the mask."""
        reader = self.weight or self.mask
        assert reader is not None
        return reader()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a file, or of a dictionary of arrays.

    Args:
        parts: parameter name -> weight, in the order of the file.
        default: names of the layers to extract by default, in order.
        origin: kind, file and sha256, as JSON-able values for the recipe; empty if unknown.
        edgeless: layers of which the file has one number per edge, but not the edges.
        skipped: name of an array that is not a layer -> the reason.
        refused: name of an array that cannot be read -> the reason.
        order: where the order of the parts is from: "the file"; "the model" (of a run) or "the graph", which are
            certain; "" if there is none.
        graph: the layers of a model whose graph is known; their weights have the names of `parts`.
        models: prefix of the names of each state dict, if the file has several.
    """

    parts: Mapping[str, Part]
    default: tuple[str, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    edgeless: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    order: str = "the file"
    graph: Tracing | None = None
    models: tuple[str, ...] = ()

    __repr__ = short_repr

    @property
    def is_recorded(self) -> bool:
        """Whether a run or file of topokit records the order."""
        return self.order == "the model"

    def with_graph(self, graph: Tracing) -> Weights:
        """Return the same arrays as those of a model whose graph is known."""
        return replace(self, default=tuple(graph.parts), order="the graph", graph=graph, edgeless=(), origin={})


def numbered(shape: Shape) -> NDArray[Any]:
    """Return an array that numbers its elements from 1; 0 is for what an operator adds, such as padding."""
    size = prod(shape)
    # torch has few operators for unsigned types
    return np.arange(1, size + 1, dtype=np.min_scalar_type(-size - 1)).reshape(shape)


def from_arrays(arrays: Mapping[str, ArrayLike]) -> Weights:
    """Return the weights in a dictionary of arrays, such as a state dict; all are layers if none is named `weight`.

    Raises:
        InvalidSpecError: not a dictionary, or a value that NumPy does not read.
        InvalidGraphError: a mask has another shape than its weight.
    """
    from topokit.extraction.names import state_dict

    if not isinstance(arrays, Mapping):
        raise InvalidSpecError(
            f"weights must be a dictionary of arrays, not {type(arrays).__name__}: use "
            "topokit_train.read_weights(FILE) for a file, model.state_dict() for a model"
        )
    checked = {name: _array(name, values) for name, values in arrays.items()}
    found = state_dict({name: array.shape for name, array in checked.items()}, checked.__getitem__)
    return replace(found, default=found.default or tuple(found.parts))


def _array(name: str, values: Any) -> NDArray[Any]:
    """Return an array of the values, which may be a tensor of torch or a masked array, whose masked values are 0."""
    try:
        array = filled(values.detach() if hasattr(values, "detach") else values)
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
