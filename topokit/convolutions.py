"""Convolutions as layers of nodes, and back: by channel or by weight.

A convolution's weights have the shape (out, in, rows, columns), as in torch.nn.Conv2d. Read by channel they are a
layer from `in` to `out` nodes, in which an edge is a whole filter of rows x columns weights. Read by weight
they are a layer from in * rows * columns to `out` nodes, whose sources are in the order of torch's
`weight.reshape(out, -1)`: by input channel, then row, then column.

A linear layer that reads a convolution's flattened features has all features of one channel side by side, so by
channel its sources are the channels too: 1 -> 20 -> 50 -> 384 -> 10 for a LeNet-5 whose fc1 has 2450 inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.layer import Layer
from topokit.reprs import counted

Shape = tuple[int, ...]
"""(out, in) of a linear layer, (out, in, rows, columns) of a convolution, or (out, in, ...) with 1 to 3 dimensions."""

Mask = NDArray[np.bool_]

READINGS = ("channel", "weight")


def sources_after(before: Shape | None, shape: Shape, conv: str = "channel") -> int | None:
    """Return the number of source nodes of a weight's layer that follows another one; None if it cannot follow.

    Args:
        before: the shape of the weight whose outputs this one reads; None if this one is the first.
        shape: the weight's own shape.
        conv: "channel" or "weight".

    >>> sources_after((50, 20, 5, 5), (384, 2450))
    50
    """
    own = math.prod(shape[1:]) if conv == "weight" else shape[1]
    if before is None or before[0] == own:
        return own
    flattened = conv == "channel" and len(before) > 2 and len(shape) == 2
    return before[0] if flattened and shape[1] % before[0] == 0 else None


def break_in(shapes: Sequence[Shape], conv: str = "channel") -> int | None:
    """Return the number of the first weight that cannot follow the previous one; None if all chain."""
    for i in range(1, len(shapes)):
        if sources_after(shapes[i - 1], shapes[i], conv) is None:
            return i
    return None


def as_matrices(masks: Mapping[str, Mask], conv: str = "channel") -> dict[str, Mask]:
    """Return each mask as a layer, shape (targets, sources); the targets of a layer are the sources of the next.

    Args:
        masks: parameter name -> mask of shape (out, in) or (out, in, ...), in the order of the layers.
        conv: "channel" or "weight".

    Raises:
        InvalidSpecError: another value of `conv`.
        InvalidGraphError: names the two neighbours that do not chain.
    """
    require_reading(conv)
    names, shapes = list(masks), [mask.shape for mask in masks.values()]
    at = break_in(shapes, conv)
    if at is not None:
        own = sources_after(None, shapes[at], conv)
        raise InvalidGraphError(
            f"the mask of {names[at - 1]} has {counted(shapes[at - 1][0], 'output')}, but that of {names[at]} has "
            f"{counted(own or 0, 'input')}: the masks must chain, in order"
        )
    matrices: dict[str, Mask] = {}
    for i, (name, mask) in enumerate(masks.items()):
        sources = sources_after(shapes[i - 1] if i else None, mask.shape, conv)
        if sources == math.prod(mask.shape[1:]):
            matrices[name] = mask.reshape(mask.shape[0], -1)
        else:  # the filters of a convolution, or the features of a channel
            matrices[name] = np.any(mask.reshape(mask.shape[0], sources or 0, -1), axis=2)
    return matrices


def readings(shape: Shape, groups: int = 1, before: Shape | None = None) -> tuple[tuple[int, int], ...]:
    """Return the (sources, targets) of the layers that can be the mask of a weight.

    The sources of a linear weight are its inputs. Those of a convolution are its input channels (by channel, an edge is
    a whole filter) or the weights of its filters (by weight).

    Args:
        shape: of the weight: (out, in), or (out, in / groups, rows, columns).
        groups: of a convolution.
        before: shape of the weight whose outputs this one reads, if a layer fills that too. If it is a convolution, the
            sources of a linear weight can also be its channels, each of which is several neighbouring inputs.

    >>> readings((300, 784)), readings((50, 20, 5, 5)), readings((384, 2450), before=(50, 20, 5, 5))
    (((784, 300),), ((20, 50), (500, 50)), ((2450, 384), (50, 384)))
    """
    out, into, *filters = shape
    into *= groups
    flattened = not filters and before is not None and len(before) > 2 and into % before[0] == 0
    sources = (into, into * math.prod(filters), *([before[0]] if flattened and before else ()))
    return tuple(dict.fromkeys((count, out) for count in sources))


def as_mask(layer: Layer, shape: Shape, groups: int = 1) -> Mask:
    """Return the mask of a weight that has the edges of a layer. O(size of the weight).

    Args:
        layer: its shape is one of the weight's `readings`.
        shape: of the weight.
        groups: of a convolution.

    Raises:
        InvalidSpecError: an edge joins two groups.
    """
    edges = np.zeros(layer.shape[::-1], np.bool_)
    edges[layer.targets, layer.sources] = True
    inputs = math.prod(shape[1:]) * groups
    edges = edges.repeat(inputs // edges.shape[1], axis=1)  # a channel is all of its weights or features
    if groups == 1:
        return edges.reshape(shape)
    require_groups(layer, shape[1] * groups, groups)
    own: Mask = np.einsum("gtgi->gti", edges.reshape(groups, shape[0] // groups, groups, -1))
    return own.reshape(shape)


def require_groups(layer: Layer, channels: int, groups: int, name: str = "") -> None:
    """Refuse groups that do not divide the channels of a convolution, and edges from one group to another.

    Args:
        layer: by channel or by weight; its targets are the output channels.
        channels: input channels of all groups.
        groups: of the convolution.
        name: of its weight, for messages.

    Raises:
        InvalidSpecError: names the first such edge.
    """
    if groups == 1:
        return
    out = layer.shape[1]
    if groups < 1 or channels % groups or out % groups:
        both = f"{counted(channels, 'input channel')} and {counted(out, 'output channel')}"
        raise InvalidSpecError(f"groups must divide the {both}; it is {groups}")
    size = layer.shape[0] // groups
    across = np.flatnonzero(layer.sources // size != layer.targets // (out // groups))
    if across.size:
        source, target = int(layer.sources[across[0]]), int(layer.targets[across[0]])
        first = target // (out // groups) * size
        raise InvalidSpecError(
            f"{name and f'{name}: '}{across.size:,} of {layer.edges:,} edges join two groups, the first one source "
            f"{source} and output channel {target}: with groups={groups} that channel reads only the sources {first} "
            f"to {first + size - 1}; give a mask, or a layer of {groups} blocks of {size} -> {out // groups}"
        )


def shown(shape: Shape) -> str:
    """Return a shape as text: 20 x 1 x 5 x 5."""
    return " x ".join(map(str, shape))


def require_reading(conv: str) -> None:
    """Refuse an unknown reading of convolutions.

    Raises:
        InvalidSpecError: names the two readings.
    """
    if conv not in READINGS:
        raise InvalidSpecError(f"convolutions are read by {' or by '.join(READINGS)}, not by {conv}")
