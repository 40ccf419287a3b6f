"""Topologies as masks of weight matrices, and back: the only place that transposes.

A weight matrix is (out, in), as in torch.nn.Linear; a layer is (sources, targets). The masks of convolutions are
(out, in, rows, columns), as in torch.nn.Conv2d; topokit.convolutions says how they are layers too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from math import prod
from reprlib import repr as shortened

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import Shape, as_mask, as_matrices, shown
from topokit.csr import require_memory
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.layered import Layered, possible_edges
from topokit.spec import network
from topokit.topologies import Topology

_UNNAMED = "its layers have these names; without them they take any slots that fit: `topokit convert FILE net.npz`"
MASK_SHAPES = "(out, in), or (out, in, rows, columns) of a convolution"


def masks(
    net: Layered, names: Sequence[str] | None = None, shapes: Sequence[Shape] | None = None
) -> dict[str, NDArray[np.bool_]]:
    """One bool array (out, in) per edge layer: True where a weight may be other than 0.

    Args:
        net: any layered graph.
        names: a parameter's name for each edge layer, in order ("fc1.weight"). If left out those that the topology
            knows, and without such "layer.0", "layer.1" and so on.
        shapes: of these parameters, where some are convolutions', (out, in, rows, columns). A layer fills such a
            one by channel or by weight, whichever its number of sources fits.

    Raises:
        InvalidSpecError: no topology; too few, too many or equal names; a layer that does not fit its parameter.
        TooLargeError: not enough free memory.

    Cost: one byte for each pair of neighbouring nodes, or for each weight.

    >>> from topokit.families.radix_net import RadixNet
    >>> masks(RadixNet(radices=[(2,)]), ["fc1.weight"])
    {'fc1.weight': array([[ True,  True],
           [ True,  True]])}
    """
    network(net, "what is made masks of")
    names = names or net.names or [f"layer.{i}" for i in range(len(net))]
    if len(names) != len(net):
        raise InvalidSpecError(f"{len(names)} names for {len(net)} layers: give one name per layer")
    if len(set(names)) != len(names):
        raise InvalidSpecError(f"the names of the masks must differ: {', '.join(names)}")
    if shapes is not None and len(shapes) != len(names):
        raise InvalidSpecError(f"{len(shapes)} shapes for {len(names)} names: give one shape per name")
    require_memory(net.possible_edges + sum(prod(shape) for shape in shapes or ()), "masks")
    made: dict[str, NDArray[np.bool_]] = {}
    for i, (name, layer) in enumerate(zip(names, net.stream(), strict=True)):
        edges = np.zeros(layer.shape[::-1], np.bool_)
        edges[layer.targets, layer.sources] = True
        mask = edges if shapes is None else as_mask(edges, shapes[i], shapes[i - 1] if i else None)
        if mask is None:
            raise InvalidSpecError(
                f"layer {i} joins {layer.shape[0]} to {layer.shape[1]} nodes, and {name} has the shape "
                f"{shown(shapes[i]) if shapes else ''}: give the parameters that the topology is for, in order"
            )
        made[name] = mask
    return made


def from_masks(masks: Mapping[str, ArrayLike], conv: str = "channel") -> Topology:
    """The topology whose edges are the ones of `masks`; it knows their names.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in) or, of a convolution, (out, in, rows, columns); bool or
            any number type, the layers in order.
        conv: how convolutions are read. By "channel" an edge stands for a filter of which any weight is kept,
            and the topology is `by_channel`; by "weight" it stands for one weight.

    Raises:
        InvalidGraphError: see `checked_masks`; or the layers are no chain.
        TooLargeError: not enough free memory.
    """
    matrices = as_matrices(checked_masks(masks), conv)
    require_memory(80 * sum(int(np.count_nonzero(mask)) for mask in matrices.values()), "a topology of these masks")
    filters = conv == "channel" and any(np.ndim(mask) == 4 for mask in masks.values())
    return Topology.from_dense((mask.T for mask in matrices.values()), by_channel=filters, names=[*map(str, matrices)])


def checked_masks(masks: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.bool_]]:
    """The masks as bool arrays, each by itself: whether they are a chain is for `as_matrices` to say.

    Raises:
        InvalidSpecError: no dictionary.
        InvalidGraphError: names the mask that is empty, has neither two nor four dimensions, or holds other
            values than 0 and 1.
    """
    if not isinstance(masks, Mapping):
        raise InvalidSpecError(f"masks must be a dictionary of arrays, as load_masks gives, not {shortened(masks)}")
    checked: dict[str, NDArray[np.bool_]] = {}
    for name, values in masks.items():
        array = np.asarray(values)
        if array.ndim not in (2, 4) or 0 in array.shape:
            raise InvalidGraphError(f"the mask of {name} has shape {array.shape}; it must be {MASK_SHAPES}")
        if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
            raise InvalidGraphError(f"the mask of {name} holds other values than 0 and 1")
        checked[name] = array.astype(np.bool_)
    if not checked:
        raise InvalidGraphError("no masks: a topology needs at least one")
    return checked


def wirings(masks: Mapping[str, ArrayLike]) -> tuple[Topology, ...]:
    """The topologies whose edges are the ones of `masks`, of convolutions by weight; they know the masks' names.

    Layers that chain are one topology. So the four masks of a LeNet-5 are three: 25 to 20 nodes, 500 to 50, and
    2,450 to 384 to 10.

    Args:
        masks: parameter name -> 0 or 1 in shape (out, in) or, of a convolution, (out, in, rows, columns).

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


def readings(shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The layers (sources, targets) that fill a parameter of this shape.

    A linear weight (out, in) takes a layer of in to out nodes. A convolution's (out, in, rows, columns) takes one
    by channel, in to out, whose edges are whole filters; or one by weight, in * rows * columns to out, whose
    sources are in the order of `weight.reshape(out, -1)`: channel, then row, then column.

    >>> readings((300, 784)), readings((50, 20, 5, 5))
    (((784, 300),), ((20, 50), (500, 50)))
    """
    out, into, *filters = shape
    return tuple(dict.fromkeys([(into, out), (into * prod(filters), out)]))


def fill_slots(net: Layered, slots: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Which parameters of a model take which layers of a topology; the others stay dense.

    Each layer takes the first slot that it fits (see `readings`) after the slot of the layer before it. Where the
    topology knows the parameters' names, as one of masks or of weights does, and all are slots, they say which.

    Args:
        net: any layered graph.
        slots: parameter name -> (out, in) or (out, in, rows, columns), in the order of the model.

    Returns:
        Parameter name -> number of the layer it takes; a name for every layer.

    Raises:
        InvalidSpecError: a layer finds no slot; the message says which crop would fit, if one does.

    >>> from topokit.families.radix_net import RadixNet
    >>> fill_slots(RadixNet(radices=[(2, 3)]), {"fc1.weight": (6, 6), "fc2.weight": (6, 6), "fc3.weight": (10, 6)})
    {'fc1.weight': 0, 'fc2.weight': 1}
    """
    layers = list(pairwise(net.widths))
    if _says_which(net, slots):
        for i, (name, layer) in enumerate(zip(net.names, layers, strict=True)):
            if layer not in readings(slots[name]):
                raise InvalidSpecError(f"{_no_slot(net, i, {name: slots[name]})}; {_UNNAMED}")
        return {name: i for i, name in enumerate(net.names)}
    filled: dict[str, int] = {}
    left = iter(slots.items())
    for i, layer in enumerate(layers):
        slot = next((name for name, shape in left if layer in readings(shape)), None)
        if slot is None:
            raise InvalidSpecError(_no_slot(net, i, slots))
        filled[slot] = i
    return filled


def _says_which(net: Layered, slots: Mapping[str, Sequence[int]]) -> bool:
    """Whether a topology's layers have names, all of which are slots."""
    return bool(net.names) and set(net.names) <= set(slots)


def fill_all(nets: Sequence[Layered], slots: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Which parameters of a model take which layers of several topologies, each after the other.

    A slot that one topology fills is no longer there for the next.

    Args:
        nets: layered graphs; each one's layers chain, but not those of one and the next.
        slots: as for `fill_slots`.

    Returns:
        Parameter name -> (number of the topology, number of the layer) that it takes.

    Raises:
        InvalidSpecError: no topologies; or as `fill_slots`.
    """
    for net in nets:
        network(net, "a wiring")
    filled: dict[str, tuple[int, int]] = {}
    # those that say which slots are theirs come first
    for number, net in sorted(enumerate(nets), key=lambda item: not _says_which(item[1], slots)):
        left = {name: shape for name, shape in slots.items() if name not in filled}
        filled |= {name: (number, i) for name, i in fill_slots(net, left).items()}
    return filled


def _no_slot(net: Layered, i: int, slots: Mapping[str, Sequence[int]]) -> str:
    shapes = ", ".join(
        f"{name} {' or '.join(f'{into} to {out}' for into, out in readings(shape))}" for name, shape in slots.items()
    )
    chains = _chains(len(net), list(slots.values()))
    wider = [chain for chain in chains if chain[1:] == net.widths[1:] and chain[0] > net.widths[0]]
    crops = [chain for chain in chains if all(new <= old for new, old in zip(chain, net.widths, strict=True))]
    if wider:
        wanted = f"--widths {','.join(map(str, wider[0]))} --density {net.density:.3g}"
        advice = f"it needs {wider[0][0]} inputs" + (
            f"; `topokit fit {wanted}` proposes such networks" if net.edges else ""
        )
    elif crops:
        widest = max(crops, key=possible_edges)
        advice = f"--crop {','.join(map(str, widest))} fits"
    elif net.by_channel:
        advice = (
            "its edges are filters, which do not say what a linear layer behind them reads: put the masks of its file "
            "on a model as they are (`topokit mask FILE --apply MODEL`), or `topokit extract --conv weight --layers`"
        )
    else:
        advice = "no crop of it fits: choose other widths, such as `topokit fit` proposes"
    return (
        f"layer {i} joins {net.widths[i]} to {net.widths[i + 1]} nodes, and no slot is left for it "
        f"({shapes or 'all are filled'}): {advice}"
    )


def _chains(layers: int, shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The widths that as many consecutive slots as there are layers can be read as."""
    runs = (
        run
        for start in range(len(shapes) - layers + 1)
        for run in product(*map(readings, shapes[start : start + layers]))
    )
    return [(run[0][0], *(out for _, out in run)) for run in runs if all(a[1] == b[0] for a, b in pairwise(run))]
