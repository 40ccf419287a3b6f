"""Masks: which weights of a model's networks are pruned, and their zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from topokit.errors import InvalidSpecError
from topokit_train.conversion.weights import LAZY
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import copies_in, parameters_of, split
from topokit_train.pruning.magnitude import NetworkRows


class Masks:
    """A mask of each weight of dense networks, one network or several stacked ones; nothing is pruned at first.

    The weights are the parameters named `weight` that have two or more dimensions in one network.

    Args:
        model: the networks.
        excluded: weights that are never pruned, with or without `.weight`.

    Raises:
        InvalidSpecError: the model has sparse layers, no such weight, or no other one.

    Attributes:
        shapes: parameter name -> shape in one network, of all weights.
        kept: parameter name -> bool array of shape (networks, weights), of those that may be pruned.
    """

    def __init__(self, model: nn.Module, excluded: Sequence[str] = ()):
        if any(isinstance(part, SparseModule) for part in model.modules()):
            raise InvalidSpecError("pruning begins with a dense model: leave out the topology")
        if lazy := [name for name, one in model.named_parameters() if isinstance(one, UninitializedParameter)]:
            raise InvalidSpecError(f"{lazy[0]} {LAZY}")
        self.networks = copies_in(model)
        self._model = model
        weights = {
            name: (parameter, module)
            for name, parameter, module in parameters_of(model)
            if name.endswith("weight") and split(module, name, parameter).ndim > 2
        }
        self.shapes = {name: tuple(split(part, name, weight).shape[1:]) for name, (weight, part) in weights.items()}
        self._weights = {name: weights[name] for name in _without(list(weights), excluded)}
        self.kept: NetworkRows = {name: np.ones_like(rows, np.bool_) for name, rows in self.magnitudes().items()}
        self._factors: dict[str, Tensor] = {}  # of the weights: 0 or 1, in their shape; none while nothing is pruned

    @torch.no_grad()
    def magnitudes(self) -> NetworkRows:
        """Return the magnitudes of all weights that may be pruned, on the CPU."""
        return {
            name: split(module, name, weight).flatten(1).abs().cpu().numpy()
            for name, (weight, module) in self._weights.items()
        }

    def set(self, kept: NetworkRows) -> None:
        """Keep these weights and no others from now on."""
        self.kept = dict(kept)
        for name, (weight, _) in self._weights.items():
            factor = self._factors.setdefault(name, torch.empty_like(weight, requires_grad=False))
            factor.copy_(torch.from_numpy(kept[name]).reshape(weight.shape))
        self.impose()

    @torch.no_grad()
    def impose(self) -> None:
        """Set all pruned weights to zero. O(weights): as numbers, a product is several times as fast as bool masks."""
        for name, factor in self._factors.items():
            self._weights[name][0].mul_(factor)

    @torch.no_grad()
    def prune_biases(self, threshold: float) -> None:
        """Set the biases of these layers that are smaller than a threshold to zero, once."""
        for bias in self._biases():
            bias.mul_(bias.abs() >= threshold)

    def zero_biases(self) -> list[int]:
        """Return how many biases of these layers are zero in each network."""
        counts = [(bias == 0).view(self.networks, -1).sum(1) for bias in self._biases()]
        return [int(count) for count in sum(counts, torch.zeros(self.networks))]

    def _biases(self) -> list[Tensor]:
        wanted = {f"{name.removesuffix('weight')}bias" for name in self.kept}
        return [parameter.detach() for name, parameter in self._model.named_parameters() if name in wanted]

    def left(self) -> list[dict[str, int]]:
        """Return how many weights each network has left in each layer."""
        return [{name: int(rows[k].sum()) for name, rows in self.kept.items()} for k in range(self.networks)]

    def sparsities(self) -> list[float]:
        """Return the share of pruned weights in each network."""
        total = sum(rows.shape[1] for rows in self.kept.values())
        return [(total - sum(left.values())) / total for left in self.left()]

    def of_shapes(self) -> list[dict[str, NDArray[np.bool_]]]:
        """Return each network's masks in their parameters' shapes, from the first layer that is pruned to the last one.

        A layer in between that stays dense has a mask of ones, so that layers that chain in the model still chain.
        """
        order = list(self.shapes)
        pruned = [order.index(name) for name in self.kept]
        span = {name: self.shapes[name] for name in order[min(pruned) : max(pruned) + 1]}
        return [
            {
                name: self.kept[name][k].reshape(shape) if name in self.kept else np.ones(shape, np.bool_)
                for name, shape in span.items()
            }
            for k in range(self.networks)
        ]

    def packed(self) -> list[dict[str, NDArray[np.uint8]]]:
        """Return each network's masks, a bit for each weight as numpy.packbits packs them."""
        return [{name: np.packbits(rows[k]) for name, rows in self.kept.items()} for k in range(self.networks)]

    def restore(self, packed: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        """Set the masks to those that `packed` returned, one for each network."""
        kept = {
            name: np.stack([np.unpackbits(masks[name], count=rows.shape[1]) for masks in packed]).astype(np.bool_)
            for name, rows in self.kept.items()
        }
        if not all(rows.all() for rows in kept.values()):
            self.set(kept)


def _without(weights: Sequence[str], excluded: Sequence[str]) -> list[str]:
    layers = {name.removesuffix(".weight"): name for name in weights}
    for name in excluded:
        if name not in weights and name not in layers:
            raise InvalidSpecError(f"`keep` {name} is not a weight of the model: it has {', '.join(weights)}")
    names = [name for layer, name in layers.items() if name not in excluded and layer not in excluded]
    if not names:
        raise InvalidSpecError("`keep` leaves nothing to prune: keep fewer weights")
    return names
