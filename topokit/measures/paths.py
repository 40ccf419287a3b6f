"""Paths: how many join each input to each output, exactly, whatever their number.

The number of paths from input u to output v is entry (u, v) of the product of the biadjacency matrices.
Every layer multiplies it: 120 layers of 32 edges a node give 2^590, where 64-bit integers wrap without a warning.

Keys:
    min, max, min_pair, max_pair: the smallest and largest number of paths of a pair, with a pair for each
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from reprlib import repr as shortened

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import InvalidSpecError
from topokit.fields import integers
from topokit.layered import Layered, Source, network
from topokit.measures._limbs import position, to_integers
from topokit.measures._measure import Measure
from topokit.measures._sweep import STEP, finished_sweep


@dataclass(frozen=True, slots=True)
class PathRange:
    """The least and the greatest number of paths between an input and an output.

    Args:
        min: the smallest count.
        max: the largest count.
        min_pair: (input, output) joined by `min` paths.
        max_pair: (input, output) joined by `max` paths.
    """

    min: int
    max: int
    min_pair: tuple[int, int]
    max_pair: tuple[int, int]


def path_range(net: Layered, *, inputs: Sequence[int] | None = None, budget: float = inf) -> PathRange:
    """The least and greatest number of paths between an input and an output, exactly, with a pair for each.

    Args:
        net: any network.
        inputs: count from these different inputs only; from all by default.
        budget: give up before more than this many limb products, of about two nanoseconds each.

    Raises:
        InvalidSpecError: no inputs, the same one twice, or one that is not there.
        TooLargeError: not enough free memory, or too small a budget.

    Cost: O(edges) for RadiX-Nets and whatever else folds into few classes of nodes; at worst
    O(edges * inputs * limbs), with 32 bits of the counts in a limb.

    >>> from topokit.families.radix_net import RadixNet
    >>> path_range(RadixNet(radices=[(2, 2, 2)], kron=(10, 10))).max
    100
    """
    sweep = finished_sweep(net, None if inputs is None else _checked(inputs, net.widths[0]), budget)
    ends = [position(sweep.counts, largest=largest) for largest in (False, True)]
    columns, rows = zip(*ends, strict=True)
    (least,), (greatest,) = sweep.factor * to_integers(sweep.counts[columns, :, rows][..., None])
    return PathRange(least, greatest, *(sweep.pair(column, row) for column, row in ends))


def _checked(inputs: Sequence[int], width: int) -> tuple[int, ...]:
    """Return the inputs to count from; a sweep would take one that is given twice for another node."""
    checked = integers(inputs, "inputs", 0)
    if not checked or len(set(checked)) < len(checked) or max(checked) >= width:
        raise InvalidSpecError(
            f"inputs must be one or more different nodes from 0 to {width - 1}, not {shortened(inputs)}"
        )
    return checked


def path_counts(net: Source) -> NDArray[np.object_]:
    """The number of paths between every input and every output, shape (inputs, outputs), as Python integers.

    Meant for small networks: 8 bytes a pair, and the time of `path_range`.

    Raises:
        TooLargeError: not enough free memory.

    >>> from topokit.families.radix_net import RadixNet
    >>> path_counts(RadixNet(radices=[(2,)], kron=(1, 2)))
    array([[1, 1, 1, 1],
           [1, 1, 1, 1]], dtype=object)
    """
    net = network(net)
    require_memory(8 * net.widths[0] * net.widths[-1], "the path count of every pair")
    sweep = finished_sweep(net, None, inf)
    columns, limbs, rows = sweep.counts.shape
    size = 40 + 4 * limbs + sweep.factor.bit_length() // 7
    require_memory(size * columns * rows, "the path count of every pair of classes")
    counts = sweep.factor * to_integers(sweep.counts)
    pairs: NDArray[np.object_] = counts[sweep.node_class[:, None], sweep.start_class]
    return pairs if sweep.reverse else pairs.T


MEASURE = Measure(path_range, counts=("min", "max"), cost=40, step=STEP, on_request=True)
