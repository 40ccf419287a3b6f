"""Masks of weight matrices from topologies, and back: the only module that transposes.

A weight matrix is (out, in), as in torch.nn.Linear; a layer is (sources, targets). The masks of convolutions are
(out, in, ...) in two to five dimensions, (out, in, rows, columns) as in torch.nn.Conv2d; topokit.convolutions reads
them as layers. The mask of a parameter has the parameter's shape, also if the model stores it in another layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from reprlib import repr as shortened
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Mask, Shape, as_mask, as_matrices, readings, shown
from topokit.csr import require_memory
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.fields import names_of
from topokit.layered import Layer, Layered, Source, network
from topokit.recipes import OUTSIDE, extraction_of
from topokit.reprs import counted
from topokit.topologies import Topology, filled

LAYOUTS = ("out-in", "in-out", "last")
"""(out, in, ...), as torch stores it; (in, out, ...), as its transposed convolutions; (..., in, out), as Flax does."""

MASK_SHAPES = "(out, in), or (out, in, ...) of a convolution with one to three dimensions"

MASK_DIMENSIONS = range(2, 6)
"""Dimensions that a mask may have."""

DIFFERENCES = {
    "permuted": "permutes the inputs of",
    "padded": "pads the inputs of",
    "uneven": "omits or repeats some inputs of",
    "joined": "reads several nodes as one input of",
    "reordered": "reorders, selects or computes the weights of",
}
"""Key in a recipe with the names of layers that differ from their arrays -> what the model does with these layers."""


def require_in_order(net: Layered) -> None:
    """Refuse an extracted topology of which a layer's array differs in order from the topology.

    Raises:
        InvalidSpecError: names the layer.
    """
    recorded = extraction_of(net.recipe)
    for key, does in DIFFERENCES.items():
        names = recorded.get(key)
        if isinstance(names, list | tuple) and names:
            raise InvalidSpecError(
                f"the model {does} {', '.join(map(str, names))}, so the topology does not say which weights its edges "
                "are: give masks instead, which topokit extract also writes, and which are an attribute of the result "
                "of topokit_train.extract"
            )


@dataclass(frozen=True)
class Parameter:
    """How a model stores a parameter.

    Args:
        shape: (out, in) of a linear layer; (out, in / groups, rows, columns) of a convolution.
        groups: number of groups of a convolution.
        layout: "out-in"; "in-out" if the model stores it as (in, out / groups, ...); "last", (..., in / groups, out).
    """

    shape: Shape
    groups: int = 1
    layout: str = "out-in"

    @classmethod
    def of(cls, own: Shape, layout: str = "out-in", groups: int = 1) -> Self:
        """Return the parameter that has this shape in the model."""
        if layout == LAYOUTS[0]:
            return cls(own, groups, layout)
        return cls(oriented(np.broadcast_to(np.False_, own), layout, groups).shape, groups, layout)

    @property
    def stored(self) -> Shape:
        """The shape that the parameter has in the model."""
        return stored(np.broadcast_to(np.False_, self.shape), self.layout, self.groups).shape

    def readings(self, before: Shape | None = None) -> tuple[tuple[int, int], ...]:
        """Return the (sources, targets) of the layers that can fill it.

        Args:
            before: the shape of the weight that the previous layer fills, see `topokit.convolutions.readings`.
        """
        return readings(self.shape, self.groups, before)

    def mask(self, layer: Layer) -> Mask:
        """Return the mask, in the shape that the parameter has in the model. O(size of the parameter).

        Raises:
            InvalidSpecError: an edge joins two groups of a convolution.
        """
        return stored(as_mask(layer, self.shape, self.groups), self.layout, self.groups)

    def whole(self, mask: Mask) -> Mask:
        """Return a mask of the parameter as (out, in, ...), without edges from one group to another.

        Raises:
            TooLargeError: not enough free memory.
        """
        blocks = as_blocks(mask, self.layout, self.groups)
        groups, out, into, taps = blocks.shape
        require_memory(groups * mask.size, "a mask of all groups")
        found = np.zeros((groups, out, groups, into, taps), np.bool_)
        found[range(groups), :, range(groups)] = blocks
        return found.reshape(groups * out, groups * into, *self.shape[2:])


class Masks(dict[str, Mask]):
    """Parameter name -> mask in the shape of the parameter, with a record of how the model stores the parameters.

    Args:
        masks: by name.
        parameters: by name; those that are not here are stored as (out, in, ...), in one group.
    """

    def __init__(self, masks: Mapping[str, Mask], parameters: Mapping[str, Parameter]):
        super().__init__(masks)
        known = {name: one for name, one in parameters.items() if name in self}
        self.parameters = {name: one for name, one in known.items() if (one.layout, one.groups) != (LAYOUTS[0], 1)}

    @classmethod
    def of_all(cls, several: Sequence[Masks]) -> Self:
        """Return the masks of several dictionaries as one; of equal names the last."""
        masks = {name: mask for one in several for name, mask in one.items()}
        return cls(masks, {name: parameter for one in several for name, parameter in one.parameters.items()})

    def renamed(self, names: Sequence[str]) -> Masks:
        """Return the masks by other names, one for each, in order."""
        new = dict(zip(self, names, strict=True))
        masks = {new[name]: mask for name, mask in self.items()}
        return Masks(masks, {new[name]: one for name, one in self.parameters.items()})


def stored_as(net: Layered, i: int) -> Parameter | None:
    """Return the parameter that a layer was extracted from; None if the recipe does not say it.

    A recipe from a file may contain anything, so a shape counts only if it has the layer's targets, and one or several
    inputs for each of its sources.
    """
    known = {key: one for key, one in extraction_of(net.recipe).items() if isinstance(one, Mapping)}
    name = net.names[i] if net.names else ""
    shape, groups, layout = (known.get(key, {}).get(name) for key in ("shapes", "groups", "layouts"))
    layout = layout if layout in LAYOUTS else LAYOUTS[0]
    (sources, targets), number = net.widths[i : i + 2], 1 if groups is None else groups
    if shape is None and layout != LAYOUTS[0]:
        return Parameter((targets, sources), layout=layout)
    if not isinstance(shape, list | tuple) or not all(isinstance(one, int) and one > 0 for one in (*shape, number)):
        return None
    inputs = prod(shape[1:]) * number
    sound = len(shape) in MASK_DIMENSIONS and shape[0] == targets and inputs % sources == 0 == targets % number
    return Parameter(tuple(shape), number, layout) if sound else None


def fits(net: Layered, i: int, parameter: Parameter, before: Shape | None = None) -> bool:
    """Return whether a layer can be the mask of a parameter, see `topokit.convolutions.readings`.

    A layer that was extracted from a parameter of this shape can, also if the layer before is in another topology.
    """
    known = stored_as(net, i)
    alike = known is not None and (known.shape, known.groups) == (parameter.shape, parameter.groups)
    return alike or net.widths[i : i + 2] in parameter.readings(before)


def or_masks(net: Layered) -> str:
    """Return the end of a message about a topology that does not fit: advice if it has the names of weights."""
    return "; or extract masks of the model, which have the shapes of its weights" if net.names else ""


def masks(net: Source, names: str | Sequence[str] | None = None, shapes: Sequence[Shape] | None = None) -> Masks:
    """Return one bool array per edge layer, in the shape of its parameter: True where a weight may be other than 0.

    The shape is (out, in) or, of a convolution, (out, in / groups, ...). A parameter that an extracted topology records
    as stored otherwise, such as (in, out), has a mask of that shape.

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
    given = names_of(names, "`names`", [names] if len(net) == 1 else ())
    names = given or net.names or [f"layer.{i}" for i in range(len(net))]
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
    known = parameters(net)
    known = known if shapes is None else [_of_shape(tuple(own), one) for own, one in zip(shapes, known, strict=True)]
    require_memory(net.possible_edges + sum(prod(one.shape) for one in known), "masks")
    made: dict[str, NDArray[np.bool_]] = {}
    for i, (name, layer) in enumerate(zip(names, net.stream(), strict=True)):
        if not fits(net, i, known[i], known[i - 1].shape if i else None):
            raise InvalidSpecError(
                f"layer {i} is {layer.shape[0]} -> {layer.shape[1]}, and {name} has the shape "
                f"{shown(known[i].stored)}: give the parameters that the topology is for, in order{or_masks(net)}"
            )
        made[name] = known[i].mask(layer)
    return Masks(made, dict(zip(names, known, strict=True)))


def parameters(net: Layered) -> list[Parameter]:
    """Return the parameters that the layers of a topology are for: (out, in), unless the recipe says more."""
    return [stored_as(net, i) or Parameter(net.widths[i : i + 2][::-1]) for i in range(len(net))]


def _of_shape(own: Shape, known: Parameter) -> Parameter:
    """Return the recorded parameter if it has this shape, or else one of this shape, in its layout and in one group."""
    return known if own == known.stored else Parameter.of(own, known.layout)


def from_masks(masks: Mapping[str, ArrayLike], conv: str = "channel") -> Topology:
    """Return the topology whose edges are the entries 1 of `masks`, with the masks' names.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in) or, of a convolution, (out, in, ...); bool or
            any number type, the layers in order. What `masks` and `load_masks` return has the shapes that the model
            stores, and a record of these.
        conv: reading of convolutions. By "channel" an edge is a filter of which at least one weight is kept, and the
            topology is `by_channel`; by "weight" it is one weight.

    Raises:
        InvalidGraphError: see `checked_masks`; or the layers do not chain.
        TooLargeError: not enough free memory.
    """
    whole = _whole(masks)
    filters = conv == "channel" and any(mask.ndim > 2 for mask in whole.values())
    matrices = as_matrices(whole, conv)
    require_memory(80 * sum(int(np.count_nonzero(mask)) for mask in matrices.values()), "a topology of these masks")
    return _topology(masks, matrices, by_channel=filters)


def _whole(masks: Mapping[str, ArrayLike]) -> dict[str, Mask]:
    """Return masks as bool arrays (out, in, ...) of all groups.

    Raises:
        InvalidGraphError: see `checked_masks`; or a mask has another shape than its recorded parameter.
    """
    checked = checked_masks(masks)
    for name, parameter in masks.parameters.items() if isinstance(masks, Masks) else ():
        if name in checked:
            if checked[name].shape != parameter.stored:
                own, wanted = shown(checked[name].shape), shown(parameter.stored)
                raise InvalidGraphError(f"the mask of {name} has the shape {own}, but its parameter has {wanted}")
            checked[name] = parameter.whole(checked[name])
    return checked


def _topology(masks: Mapping[str, ArrayLike], matrices: Mapping[str, Mask], *, by_channel: bool = False) -> Topology:
    """Return a topology of masks, with a recipe that says which parameters are stored in another layout or in groups.

    Args:
        masks: given.
        matrices: the same as (targets, sources), of the layers of the topology.
        by_channel: see `Topology`.
    """
    known = masks.parameters if isinstance(masks, Masks) else {}
    known = {name: one for name, one in known.items() if name in matrices}
    options = {
        "layouts": {name: one.layout for name, one in known.items()},
        "shapes": {name: one.shape for name, one in known.items()},
        "groups": {name: one.groups for name, one in known.items() if one.groups > 1},
    }
    recipe = {OUTSIDE: "arrays", "options": options} if known else None
    layers = (mask.T for mask in matrices.values())
    return Topology.from_dense(layers, recipe=recipe, by_channel=by_channel, names=[*map(str, matrices)])


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


def channels_of(shape: Shape, layout: str) -> int:
    """Return the channels of all groups that a parameter's shape has: outputs, or inputs in the layout "in-out"."""
    return shape[-1 if layout == "last" else 0]


def as_blocks(array: NDArray[Any], layout: str, groups: int = 1) -> NDArray[Any]:
    """Return an array of a parameter's shape as (groups, out / groups, in / groups, taps); see `oriented`."""
    whole = oriented(array, layout, groups)
    return whole.reshape(groups, len(whole) // groups, whole.shape[1], prod(whole.shape[2:]))


def stored(mask: NDArray[Any], layout: str, groups: int = 1) -> NDArray[Any]:
    """Return a mask (out, in / groups, ...) in the shape in which its parameter is stored: `oriented` in reverse."""
    return np.moveaxis(mask, (0, 1), (-1, -2)) if layout == "last" else oriented(mask, layout, groups)


def chains_of(masks: Mapping[str, ArrayLike]) -> tuple[Topology, ...]:
    """Return the topologies whose edges are the entries 1 of `masks`, convolutions by weight, with the masks' names.

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
    for name, mask in _whole(masks).items():
        matrix = mask.reshape(mask.shape[0], -1)
        if matrix.shape[1] != outputs:
            chains.append({})
        chains[-1][name] = matrix
        outputs = matrix.shape[0]
    edges = sum(int(mask.sum()) for chain in chains for mask in chain.values())
    require_memory(80 * edges, "topologies of these masks")
    return tuple(_topology(masks, chain) for chain in chains)
