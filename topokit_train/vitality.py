"""What of a network is alive: units that are ever other than 0, and weights that lie on a path to an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.edges import from_edges
from topokit.layered import Layer
from topokit.measures.effective import effective
from topokit.topologies import Topology
from topokit_train.initialisation import weights_of
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import StackedLinear, StackedSparse, network_states, split
from topokit_train.models.convolutional import LeNet5

Nodes = NDArray[np.int64]
Flags = NDArray[np.bool_]


def dead_units(model: nn.Module, networks: int, test: Callable[[], object]) -> list[dict[str, int]]:
    """Return for each network how many units of each hidden layer are 0 for every test sample, by the layer's name.

    docs/measures.md calls them inactive: unlike the dead units of a topology they may have paths. A unit is 0 behind
    its ReLU if its layer's output is never above 0; a unit of a convolution is a channel.

    Args:
        model: one network, or several stacked ones.
        networks: how many.
        test: passes all test samples through the model.

    Returns:
        Nothing of a model whose layers do not follow one another, each but the last with a ReLU.

    Cost: a pass over the test samples.
    """
    if not (_is_chain(model) and _has_relus(model)):
        return [{} for _ in range(networks)]
    names = [name.rpartition(".")[0] for name, _, _ in weights_of(model)][:-1]
    highest: dict[str, Tensor] = {}

    def look(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        units = 1 if output.ndim == 4 else output.ndim - 1
        found = output.amax([dimension for dimension in range(output.ndim) if dimension != units])
        highest[name] = torch.maximum(highest[name], found) if name in highest else found

    handles = [model.get_submodule(name).register_forward_hook(partial(look, name)) for name in names]
    try:
        test()
    finally:
        for handle in handles:
            handle.remove()
    counts = {name: (found <= 0).view(networks, -1).sum(1).tolist() for name, found in highest.items()}
    return [{name: counts[name][k] for name in names} for k in range(networks)]


def effective_sparsities(model: nn.Module) -> list[dict[str, float] | None]:
    """For each network, the part of the dense model's weights that do nothing: {"before": x, "after": y}.

    A weight does something where an input reaches its source and its target reaches an output (see
    `topokit.measures.effective`): before training over all that is wired, afterwards over weights other than 0. All
    weights of the model count, those of dense layers too. A convolution is read by channel: what reaches a channel
    reaches each of its pixels, and a linear layer behind it has as many sources for each channel as that has pixels.

    Returns:
        None for each network of a model whose layers do not chain.

    Cost: O(weights log weights).
    """
    states = network_states(model)
    parts = _chained([_part(name, module) for name, _, module in weights_of(model)]) if _is_chain(model) else None
    if parts is None:
        return [None] * len(states)
    before = _sparsity(parts, [np.ones(part.sources.size, np.bool_) for part in parts])
    kept = ([(state[part.name] != 0).flatten().cpu().numpy() for part in parts] for state in states)
    return [{"before": before, "after": _sparsity(parts, weights)} for weights in kept]


_WEIGHTS = (nn.Linear, nn.Conv2d, SparseModule, StackedLinear)
_LINKS = (
    *_WEIGHTS,
    *(nn.Flatten, nn.ReLU, nn.MaxPool2d, nn.Dropout, nn.Identity),
)


def _is_chain(model: nn.Module) -> bool:
    """Whether the layers of a model follow one another: others may have branches."""
    return isinstance(model, LeNet5) or (
        isinstance(model, nn.Sequential) and all(isinstance(part, _LINKS) for part in model)
    )


def _has_relus(model: nn.Module) -> bool:
    """Whether a ReLU is behind each layer of a chain but the last."""
    return isinstance(model, LeNet5) or (
        isinstance(model, nn.Sequential)
        and all(_then_relu(list(model)[i + 1 :]) for i, part in enumerate(model) if isinstance(part, _WEIGHTS))
    )


def _then_relu(behind: Sequence[nn.Module]) -> bool:
    """Whether a ReLU comes before the next layer with weights; the last one needs none."""
    for part in behind:
        if isinstance(part, nn.ReLU):
            return True
        if isinstance(part, _WEIGHTS):
            return False
    return True


@dataclass(frozen=True)
class _Part:
    """The weights of one layer of one network.

    Args:
        name: of the parameter.
        sources: of each weight, in the order of the state_dict.
        targets: of each weight.
        shape: (sources, targets).
        dense: number of weights of the dense layer.
    """

    name: str
    sources: Nodes
    targets: Nodes
    shape: tuple[int, int]
    dense: int


def _part(name: str, module: nn.Module) -> _Part:
    if isinstance(module, SparseModule):
        stack = isinstance(module, StackedSparse)
        layer = module.one if isinstance(module, StackedSparse) else module.topology_layer()
        each = 1 if stack else module.dense_weights // prod(layer.shape)  # weights of an edge: a filter has many
        sources, targets = (nodes.repeat(each) for nodes in (layer.sources, layer.targets))
        return _Part(name, sources, targets, layer.shape, each * prod(layer.shape))
    weight = module.weight
    assert isinstance(weight, Tensor)
    _, out, *rest = split(module, name, weight).shape
    into = prod(rest)
    numbers = np.arange(out * into)
    return _Part(name, numbers % into, numbers // into, (into, out), out * into)


def _chained(parts: Sequence[_Part]) -> list[_Part] | None:
    """The parts with the targets of one as the sources of the next; None if their numbers do not fit."""
    chained: list[_Part] = []
    width = parts[0].shape[0]
    for part in parts:
        sources, targets = part.shape
        if sources % width:
            return None
        chained.append(_Part(part.name, part.sources // (sources // width), part.targets, (width, targets), part.dense))
        width = targets
    return chained


def _sparsity(parts: Sequence[_Part], kept: Sequence[Flags]) -> float:
    layers = []
    for part, keep in zip(parts, kept, strict=True):
        pairs = np.sort(part.sources[keep] * part.shape[1] + part.targets[keep])
        first = np.diff(pairs, prepend=-1) > 0  # several weights may join a pair; np.unique takes ten times as long
        layers.append(Layer(from_edges(*np.divmod(pairs[first], part.shape[1]), part.shape)))
    net = Topology(layers)
    alive = [np.ones(width, np.bool_) for width in net.widths]
    for flags, dead in zip(alive, effective(net).dead, strict=True):
        flags[dead] = False
    used = sum(
        int((keep & alive[i][part.sources] & alive[i + 1][part.targets]).sum())
        for i, (part, keep) in enumerate(zip(parts, kept, strict=True))
    )
    return 1 - used / sum(part.dense for part in parts)
