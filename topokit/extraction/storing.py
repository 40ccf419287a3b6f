"""How a model stores the parameters of its layers, and what the recipe of an extracted topology records of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Shape
from topokit.extraction.rules import Rule
from topokit.extraction.tracing import Use
from topokit.extraction.weights import Weights, numbered
from topokit.layer import Layer
from topokit.masking import LAYOUTS, Parameter, as_blocks, channels_of


def record_of(
    weights: Weights, rule: Rule, parameters: Mapping[str, Parameter], edges: Mapping[str, Layer], **lists: list[str]
) -> dict[str, Any]:
    """Return what the recipe says: the file and the rule, and how the parameters differ from the layers.

    Args:
        weights: of the model.
        rule: which weights are edges.
        parameters: layer name -> its parameter.
        edges: layer name -> edges.
        lists: of names of layers that differ in another way, by key.
    """
    stored: dict[str, Any] = {
        "layouts": {name: one.layout for name, one in parameters.items() if one.layout != LAYOUTS[0]},
        "shapes": {name: one.shape for name, one in parameters.items() if one.shape != edges[name].shape[::-1]},
        "groups": {name: one.groups for name, one in parameters.items() if one.groups > 1},
        **lists,
    }
    stored = {key: value for key, value in stored.items() if value}
    if not (weights.origin or stored or weights.graph):
        return {}
    return {"kind": "module" if weights.graph else "arrays", **weights.origin, **rule.said(), **stored}


def layout_of(use: Use, shape: Shape, *, by_filter: bool) -> str | None:
    """Return how a layer reads its parameter; None if it reorders the weights.

    A weight that it does not read, as by tril, has no edges, so its place does not matter.

    Args:
        use: the layer.
        shape: of the parameter.
        by_filter: whether the weights of a filter may have any order, as all of them are one edge.
    """
    numbers = numbered(shape)
    matrix = use.matrix(numbers)
    groups = len(matrix)
    if len(shape) < 2 or matrix.dtype.kind != "i" or matrix.min(initial=0) < 0:  # there are constants among the numbers
        return None
    whole = matrix.shape[:2] == (groups, shape[0] // groups) and matrix.size == numbers.size
    if whole and matrix.flags.c_contiguous and np.may_share_memory(matrix, numbers):
        return "out-in"  # a view of all numbers in their order, as in most layers
    for layout in LAYOUTS:
        if channels_of(shape, layout) % groups == 0:
            blocks = as_blocks(numbers, layout, groups)
            if _in_order(matrix, blocks) or (by_filter and _in_filters(matrix, blocks)):
                return layout
    return None


def _in_order(matrix: NDArray[Any], blocks: NDArray[Any]) -> bool:
    """Return whether a layer reads each number at its place in the blocks."""
    alike = matrix.size == blocks.size and matrix.shape[:2] == blocks.shape[:2]
    return alike and _fits(matrix.reshape(blocks.shape), blocks)


def _in_filters(matrix: NDArray[Any], blocks: NDArray[Any]) -> bool:
    """Return whether a layer reads each number in its filter, at any place."""
    if matrix.shape[:3] != blocks.shape[:3]:
        return False
    filters = np.arange(1, prod(blocks.shape[:3]) + 1).reshape(*blocks.shape[:3], 1)
    filter_of = np.zeros(blocks.size + 1, filters.dtype)
    filter_of[blocks] = filters
    return _fits(filter_of[matrix], filters)


def _fits(numbers: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return whether all numbers other than 0 are the expected ones."""
    equal = numbers == expected
    return bool(equal.all() or (equal | (numbers == 0)).all())
