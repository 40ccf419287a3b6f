"""Activity of a trained network: its inactive units, and the weights on paths from inputs to outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, kron
from torch import Tensor, nn

from topokit.measures.effective import effective
from topokit.topologies import Topology
from topokit_train.initialisation import weights_of
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import StackedLinear, StackedSparse, copies_in, network_states
from topokit_train.models.convolutional import LeNet5

Flags = NDArray[np.bool_]

_WEIGHTS = (nn.Linear, nn.Conv2d, SparseModule, StackedLinear)
_LINKS = (*_WEIGHTS, nn.Flatten, nn.ReLU, nn.MaxPool2d, nn.Dropout, nn.Identity)


def inactive_units(model: nn.Module, test: Callable[[], object]) -> list[dict[str, int]]:
    """Return for each network the number of inactive units of each hidden layer, by the layer's name.

    An inactive unit is 0 behind its ReLU for every test sample: its layer's output is never above 0. Unlike the dead
    units of a topology it may have paths. A unit of a convolution is a channel.

    Args:
        model: one network, or several stacked ones.
        test: passes all test samples through the model.

    Returns:
        Empty dictionaries for a model that is not a chain of layers with a ReLU behind each but the last.

    Cost: a pass over the test samples.
    """
    networks = copies_in(model)
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
    """Return for each network the fraction of the dense model's weights without effect: {"before": x, "after": y}.

    A weight has an effect if an input reaches its source and its target reaches an output, see
    `topokit.measures.effective`. Before training all edges count, afterwards the weights other than 0. All weights of
    the model count, also those of dense layers. A convolution is read by channel: what reaches a channel
    reaches each of its pixels, and a linear layer behind it has one source for each pixel of each channel.

    Returns:
        None for each network of a model whose layers do not chain.

    Cost: O(weights log weights).
    """
    states = network_states(model)
    if not _is_chain(model):
        return [None] * len(states)
    modules = {name: module for name, _, module in weights_of(model)}
    kept = [{name: (state[name] != 0).cpu().numpy() for name in modules} for state in states]
    edges = {name: np.ones_like(flags) for name, flags in kept[0].items()}
    before, *after = (_sparsity(modules, flags) for flags in (edges, *kept))
    return [None if before is None or one is None else {"before": before, "after": one} for one in after]


def _is_chain(model: nn.Module) -> bool:
    """Return whether the layers of a model follow one another: others may have branches."""
    return isinstance(model, LeNet5) or (
        isinstance(model, nn.Sequential) and all(isinstance(part, _LINKS) for part in model)
    )


def _has_relus(model: nn.Module) -> bool:
    """Return whether a ReLU is between each two layers with weights of a chain."""
    if isinstance(model, LeNet5):
        return True
    are_relus = [isinstance(part, nn.ReLU) for part in model.children() if isinstance(part, (nn.ReLU, *_WEIGHTS))]
    return all(one or other for one, other in pairwise(are_relus))


def _sparsity(modules: Mapping[str, nn.Module], kept: Mapping[str, Flags]) -> float | None:
    """Return the fraction of all weights that are not kept or not on a path; None if the layers do not chain."""
    matrices: list[csr_array] = []
    total = 0
    for name, module in modules.items():
        matrix, weights = _weights_per_edge(module, kept[name])
        total += weights
        channels = matrices[-1].shape[1] if matrices else matrix.shape[0]
        if matrix.shape[0] % channels:
            return None
        pixels = np.ones((1, matrix.shape[0] // channels), np.int64)
        matrices.append(csr_array(kron(eye_array(channels, dtype=np.int64), pixels) @ matrix))
    net = Topology.from_scipy(matrices)
    alive = [np.ones(width, np.int64) for width in net.widths]
    for flags, dead in zip(alive, effective(net).dead, strict=True):
        flags[dead] = 0
    used = sum(int(alive[i] @ (matrix @ alive[i + 1])) for i, matrix in enumerate(matrices))
    return 1 - used / total


def _weights_per_edge(module: nn.Module, kept: Flags) -> tuple[csr_array, int]:
    """Return how many weights are kept on each edge of a layer, shape (sources, targets), and its dense weights.

    Args:
        module: the layer.
        kept: of each weight in the state_dict of one network.
    """
    if not isinstance(module, SparseModule):  # (out, in), or (out, in, rows, columns)
        return csr_array(kept.reshape(*kept.shape[:2], -1).sum(2).T), kept.size
    if isinstance(module, StackedSparse):
        layer = module.one
        total = prod(layer.shape)
    else:
        layer, total = module.topology_layer(), module.dense_weights
    matrix = layer.to_scipy(np.int64)
    matrix.data[:] = kept.reshape(layer.edges, kept.size // max(layer.edges, 1)).sum(1)
    return matrix, total
