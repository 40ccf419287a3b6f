"""The surviving wiring as a file that every command reads: a topology where the layers chain, else masks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.formats import save, save_masks
from topokit.masking import from_masks


def save_wiring(masks: Mapping[str, NDArray[np.bool_]], path: Path) -> None:
    """Write what is kept, in place of what stood at `path`; all of it or nothing.

    Args:
        masks: parameter name -> bool, of its shape, in the order in which the data pass the slots.
        path: the file.

    Raises:
        TopokitError: it cannot be written.
    """
    if chains([mask.shape for mask in masks.values()]):
        save(from_masks(masks), path, force=True)
    else:
        save_masks(masks, path, force=True)


def chains(shapes: Any) -> bool:
    """Whether weights of these shapes are one layered graph: all (out, in), each `in` the `out` before it.

    >>> chains([(300, 784), (100, 300)]), chains([(20, 1, 5, 5), (384, 2450)])
    (True, False)
    """
    return all(len(shape) == 2 for shape in shapes) and all(one[0] == two[1] for one, two in pairwise(shapes))
