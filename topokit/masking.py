"""Masks of weight matrices from topologies, and back: the only module that transposes.

A weight matrix is (out, in), as in torch.nn.Linear; a layer is (sources, targets). The masks of convolutions are
(out, in, ...) in two to five dimensions, (out, in, rows, columns) as in torch.nn.Conv2d; topokit.convolutions reads
them as layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd, prod
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Shape, as_mask, as_matrices, readings, shown
from topokit.csr import require_memory
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.fields import names_of
from topokit.layered import Layered, Source, network
from topokit.recipes import extraction_of
from topokit.reprs import counted
from topokit.topologies import Topology, filled

LAYOUTS = ("out-in", "in-out", "last")
"""(out, in, ...), as torch stores it; (in, out, ...), as its transposed convolutions; (..., in, out), as Flax does."""

MASK_SHAPES = "(out, in), or (out, in, ...) of a convolution with one to three dimensions"

MASK_DIMENSIONS = range(2, 6)
"""Dimensions that a mask may have."""


_ORDERS = {"permuted": "permutes the inputs of", "reordered": "reorders, selects or computes the weights of"}
"""What a recipe lists of the layers that differ from their arrays -> what the model does with these layers."""


def require_in_order(net: Layered) -> None:
    """Refuse an extracted topology of which a layer's array differs in order from the topology.

    Raises:
        InvalidSpecError: names the layer.
    """
    recorded = extraction_of(net.recipe)
    for key, does in _ORDERS.items():
        names = recorded.get(key)
        if isinstance(names, list | tuple) and names:
            raise InvalidSpecError(
                f"the model {does} {', '.join(map(str, names))}, so the topology does not say which weights its edges "
                "are: give masks instead, which topokit extract also writes, and which are an attribute of the result "
                "of topokit_train.extract"
            )


def stored_as(net: Layered, i: int) -> tuple[Shape, int] | None:
    """Return the shape (out, in / groups, ...) and the groups of the parameter that a layer was extracted from.

    None if the recipe does not say it, or the parameter has the shape of the layer. A recipe from a file may hold
    anything, so that only a shape of which the layer is a reading counts.
    """
    recorded = extraction_of(net.recipe)
    shapes, groups = ({} if not isinstance(one := recorded.get(key), Mapping) else one for key in ("shapes", "groups"))
    shape = shapes.get(net.names[i]) if net.names else None
    number = groups.get(net.names[i], 1) if shape else 1
    if not isinstance(shape, list | tuple) or not all(isinstance(one, int) and one > 0 for one in (*shape, number)):
        return None
    (sources, targets), inputs = net.widths[i : i + 2], prod(shape[1:]) * number
    sound = len(shape) in MASK_DIMENSIONS and shape[0] == targets and inputs % sources == 0 == targets % number
    return (tuple(shape), number) if sound else None


def fits(net: Layered, i: int, shape: Shape, groups: int = 1, before: Shape | None = None) -> bool:
    """Return whether a layer can be the mask of a parameter, see `topokit.convolutions.readings`.

    One that was extracted from a parameter of this shape can be, also if the layer before is in another topology.
    """
    return stored_as(net, i) == (shape, groups) or net.widths[i : i + 2] in readings(shape, groups, before)


def or_masks(net: Layered) -> str:
    """Return advice for a topology with the names of weights that it does not fit, as the end of a message."""
    return "; or extract masks of the model, which have the shapes of its weights" if net.names else ""


def masks(
    net: Source, names: str | Sequence[str] | None = None, shapes: Sequence[Shape] | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Return one bool array (out, in) per edge layer: True where a weight may be other than 0.

    Args:
        net: a topology, its description or its file.
        names: a parameter's name for each edge layer, in order ("fc1.weight"); by default the names that the topology
            has or, without names, "layer.0", "layer.1" and so on.
        shapes: of these parameters; by default those that the recipe of an extracted topology has. Needed if some are
            convolutions, (out, in, ...), which a layer fills by channel or by weight, depending on its number of
            sources.

    Raises:
        InvalidSpecError: not a topology; too few, too many or equal names; a layer that does not fit its parameter, or
            whose inputs or weights the model reorders.
        TooLargeError: not enough free memory.

    Cost: one byte for each pair of neighbouring nodes, or for each weight.

    >>> from topokit.families.radix_net import RadixNet
    >>> masks(RadixNet(radices=[(2,)]), ["fc1.weight"])
    {'fc1.weight': array([[ True,  True],
           [ True,  True]])}
    """
    net = network(net)
    require_in_order(net)
    names = names_of(names, "`names`") or net.names or [f"layer.{i}" for i in range(len(net))]
    if len(names) != len(net):
        raise InvalidSpecError(
            f"{counted(len(names), 'name')} for {counted(len(net), 'layer')}: give one name per layer"
        )
    if len(set(names)) != len(names):
        raise InvalidSpecError(f"the names of the masks must differ: {', '.join(names)}")
    if shapes is not None and len(shapes) != len(names):
        raise InvalidSpecError(
            f"{counted(len(shapes), 'shape')} for {counted(len(names), 'name')}: give one shape per name"
        )
    known = [stored_as(net, i) or (net.widths[i : i + 2][::-1], 1) for i in range(len(net))]
    known = known if shapes is None else [_with_groups(*one) for one in zip(shapes, known, strict=True)]
    require_memory(net.possible_edges + sum(prod(shape) for shape, _ in known), "masks")
    made: dict[str, NDArray[np.bool_]] = {}
    for i, (name, layer) in enumerate(zip(names, net.stream(), strict=True)):
        shape, groups = known[i]
        if not fits(net, i, shape, groups, known[i - 1][0] if i else None):
            raise InvalidSpecError(
                f"layer {i} is {layer.shape[0]} -> {layer.shape[1]}, and {name} has the shape {shown(shape)}: "
                f"give the parameters that the topology is for, in order{or_masks(net)}"
            )
        made[name] = as_mask(layer, shape, groups)
    return made


def _with_groups(shape: Shape, known: tuple[Shape, int]) -> tuple[Shape, int]:
    """Return a given shape with its groups, which only the recipe knows: 1 for another shape than that."""
    return (tuple(shape), known[1] if tuple(shape) == known[0] else 1)


def from_masks(masks: Mapping[str, ArrayLike], conv: str = "channel") -> Topology:
    """Return the topology whose edges are the ones of `masks`, with their names.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in) or, of a convolution, (out, in, ...); bool or
            any number type, the layers in order.
        conv: reading of convolutions. By "channel" an edge is a filter of which at least one weight is kept, and the
            topology is `by_channel`; by "weight" it is one weight.

    Raises:
        InvalidGraphError: see `checked_masks`; or the layers do not chain.
        TooLargeError: not enough free memory.
    """
    matrices = as_matrices(checked_masks(masks), conv)
    require_memory(80 * sum(int(np.count_nonzero(mask)) for mask in matrices.values()), "a topology of these masks")
    filters = conv == "channel" and any(np.ndim(mask) > 2 for mask in masks.values())
    return Topology.from_dense((mask.T for mask in matrices.values()), by_channel=filters, names=[*map(str, matrices)])


def checked_masks(masks: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.bool_]]:
    """Return the masks as bool arrays; they need not chain.

    Raises:
        InvalidSpecError: not a dictionary.
        InvalidGraphError: names the mask that is empty, has other than two to five dimensions, or has values other
            than 0 and 1.
    """
    if not isinstance(masks, Mapping):
        raise InvalidSpecError(f"masks must be a dictionary of arrays, as load_masks gives, not {shortened(masks)}")
    checked: dict[str, NDArray[np.bool_]] = {}
    for name, values in masks.items():
        array = filled(values)
        if array.ndim not in MASK_DIMENSIONS or 0 in array.shape:
            raise InvalidGraphError(f"the mask of {name} has shape {array.shape}; it must be {MASK_SHAPES}")
        checked[name] = as_bools(array, name)
    if not checked:
        raise InvalidGraphError("no masks: a topology needs at least one")
    return checked


def as_bools(mask: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return a mask as a bool array.

    Raises:
        InvalidGraphError: it has values other than 0 and 1.
    """
    try:
        array = filled(mask)
    except ValueError:
        raise InvalidGraphError(f"the mask of {name} has rows of different lengths") from None
    except (RuntimeError, TypeError) as error:  # of torch: a gradient, a type that NumPy lacks
        raise InvalidGraphError(f"the mask of {name} cannot be read as a NumPy array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise InvalidGraphError(
            f"the mask of {name} has values of the type {array.dtype}: give bool, or numbers 0 and 1"
        )
    if not ((array == 0) | (array == 1)).all():
        raise InvalidGraphError(f"the mask of {name} has values other than 0 and 1")
    return array.astype(np.bool_)


def oriented(array: NDArray[Any], layout: str, groups: int = 1) -> NDArray[Any]:
    """Return an array of a parameter's shape as (out, in / groups, ...).

    Args:
        array: in the shape in which the parameter is stored.
        layout: of the parameter: "out-in"; "in-out", (in, out / groups, ...); or "last", (..., in / groups, out).
        groups: of a convolution.
    """
    if layout == "last":
        return np.moveaxis(array, (-1, -2), (0, 1))
    if layout != "in-out":
        return array
    if groups == 1:
        return array.swapaxes(0, 1)
    sources, targets, *filters = array.shape
    blocks = array.reshape(groups, sources // groups, targets, -1)
    return blocks.swapaxes(1, 2).reshape(groups * targets, sources // groups, *filters)


def as_blocks(array: NDArray[Any], layout: str, groups: int = 1) -> NDArray[Any]:
    """Return an array of a parameter's shape as (groups, out / groups, in / groups, taps); see `oriented`."""
    whole = oriented(array, layout, groups)
    return whole.reshape(groups, len(whole) // groups, whole.shape[1], prod(whole.shape[2:]))


def stored(mask: NDArray[np.bool_], layout: str, shape: Shape) -> NDArray[np.bool_]:
    """Return a mask (out, in / groups, ...) in the layout of its parameter, of this shape: `oriented` in reverse.

    The mask of a parameter of another shape gets another shape too.
    """
    if layout == "last":
        return np.moveaxis(mask, (0, 1), (-1, -2))
    return oriented(mask, layout, gcd(mask.shape[0], max(shape[0] // mask.shape[1], 1)))


def chains_of(masks: Mapping[str, ArrayLike]) -> tuple[Topology, ...]:
    """Return the topologies whose edges are the ones of `masks`, convolutions by weight, with the masks' names.

    Layers that chain are one topology. So the four masks of a LeNet-5 are three topologies: 25 to 20 nodes, 500 to 50,
    and 2,450 to 384 to 10.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in) or, of a convolution, (out, in, ...).

    Raises:
        InvalidGraphError: see `checked_masks`.
        TooLargeError: not enough free memory.
    """
    chains: list[dict[str, NDArray[np.bool_]]] = []
    outputs = None
    for name, mask in checked_masks(masks).items():
        matrix = mask.reshape(mask.shape[0], -1)
        if matrix.shape[1] != outputs:
            chains.append({})
        chains[-1][name] = matrix
        outputs = matrix.shape[0]
    edges = sum(int(mask.sum()) for chain in chains for mask in chain.values())
    require_memory(80 * edges, "topologies of these masks")
    return tuple(Topology.from_dense((mask.T for mask in chain.values()), names=list(chain)) for chain in chains)
