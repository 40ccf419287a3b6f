"""Masks: which weights of a model's networks are pruned. They hold them at zero, and know nothing of files."""

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
from topokit_train.layers.stacks import copies_in, parameters_of, split
from topokit_train.pruning.magnitude import Rows

BoolArray = NDArray[np.bool_]


class Masks:
    """The masks of a dense model's weights, one for each of the networks that it holds; nothing is pruned at first.

    Slots are the parameters named `weight` that have two or more dimensions in one network.

    Args:
        model: dense networks, one or stacked.
        dense: slots that are never pruned, with or without `.weight`.

    Raises:
        InvalidSpecError: the model has sparse layers, no such slot, or no other one.
    """

    def __init__(self, model: nn.Module, dense: Sequence[str] = ()):
        if any(name.endswith("values") for name, _ in model.named_parameters()):  # as sparse layers call their weights
            raise InvalidSpecError("pruning begins with a dense model: leave out the topology")
        if lazy := [name for name, one in model.named_parameters() if isinstance(one, UninitializedParameter)]:
            raise InvalidSpecError(f"{lazy[0]} {LAZY}")
        self.networks = copies_in(model)
        self._model = model
        self._slots = {
            name: (parameter, module)
            for name, parameter, module in parameters_of(model)
            if name.endswith("weight") and split(module, name, parameter).ndim > 2
        }
        self.names = _without(list(self._slots), dense)
        self.shapes = {name: tuple(split(part, name, weight).shape[1:]) for name, (weight, part) in self._slots.items()}
        self.kept: Rows = {name: torch.ones_like(rows, dtype=torch.bool) for name, rows in self.magnitudes().items()}
        self._factors: dict[str, Tensor] = {}  # of the weights: 0 or 1, in their shape; none while nothing is pruned

    @torch.no_grad()
    def magnitudes(self) -> Rows:
        """Of all weights that may be pruned: parameter name -> shape (networks, weights)."""
        parts = ((name, *self._slots[name]) for name in self.names)
        return {name: split(module, name, weight).flatten(1).abs() for name, weight, module in parts}

    @torch.no_grad()
    def set(self, kept: Mapping[str, Tensor]) -> None:
        """Keep these weights and no others from now on.

        Args:
            kept: parameter name -> bool, shape (networks, weights).
        """
        self.kept = dict(kept)
        for name in self.names:
            weight, _ = self._slots[name]
            factor = self._factors.setdefault(name, torch.empty_like(weight))
            factor.copy_(self.kept[name].view(weight.shape))
        self.impose()

    @torch.no_grad()
    def impose(self) -> None:
        """Set all pruned weights to zero. O(weights): as numbers, a product is several times as fast as bool masks."""
        for name, factor in self._factors.items():
            self._slots[name][0].mul_(factor)

    @torch.no_grad()
    def prune_biases(self, threshold: float) -> None:
        """Set the biases to zero, once, that are smaller than a threshold and belong to slots that are pruned."""
        for bias in self._biases():
            bias.mul_(bias.abs() >= threshold)

    def zero_biases(self) -> list[int]:
        """How many biases of pruned slots are zero, in each network."""
        counts = [(bias == 0).view(self.networks, -1).sum(1) for bias in self._biases()]
        return [int(count) for count in sum(counts, torch.zeros(self.networks))]

    def _biases(self) -> list[Tensor]:
        wanted = {f"{name.removesuffix('weight')}bias" for name in self.names}
        return [parameter.detach() for name, parameter in self._model.named_parameters() if name in wanted]

    def left(self) -> list[dict[str, int]]:
        """How many weights each network has left in each slot that is pruned."""
        counts = {name: rows.sum(1).tolist() for name, rows in self.kept.items()}
        return [{name: counts[name][k] for name in self.names} for k in range(self.networks)]

    def sparsities(self) -> list[float]:
        """Of each network: the fraction of the weights in slots that are pruned which is gone."""
        total = sum(rows.shape[1] for rows in self.kept.values())
        return [(total - sum(left.values())) / total for left in self.left()]

    def wirings(self) -> list[dict[str, BoolArray]]:
        """Each network's masks in their parameters' shapes, from the first slot that is pruned to the last one.

        A slot in between that stays dense has a mask of ones, so that what chains in the model still chains.
        """
        order = list(self._slots)
        span = order[order.index(self.names[0]) : order.index(self.names[-1]) + 1]
        arrays = {name: rows.cpu().numpy() for name, rows in self.kept.items()}
        return [
            {
                name: arrays[name][k].reshape(shape) if name in arrays else np.ones(shape, np.bool_)
                for name, shape in ((name, self.shapes[name]) for name in span)
            }
            for k in range(self.networks)
        ]

    def packed(self) -> list[dict[str, NDArray[np.uint8]]]:
        """Each network's masks, a bit for each weight as numpy.packbits packs them."""
        arrays = {name: rows.cpu().numpy() for name, rows in self.kept.items()}
        return [{name: np.packbits(rows[k]) for name, rows in arrays.items()} for k in range(self.networks)]

    def restore(self, packed: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        """Put masks back that `packed` gave, one for each network."""
        kept = {}
        for name, rows in self.kept.items():
            bits = np.stack([np.unpackbits(masks[name], count=rows.shape[1]) for masks in packed])
            kept[name] = torch.from_numpy(bits.astype(np.bool_)).to(rows.device)
        if not all(rows.all() for rows in kept.values()):
            self.set(kept)


def _without(slots: Sequence[str], dense: Sequence[str]) -> list[str]:
    layers = {name.removesuffix(".weight"): name for name in slots}
    for name in dense:
        if name not in slots and name not in layers:
            raise InvalidSpecError(f"`keep` {name} is no slot of the model: it has {', '.join(slots)}")
    names = [name for layer, name in layers.items() if name not in dense and layer not in dense]
    if not names:
        raise InvalidSpecError("`keep` leaves nothing to prune: keep fewer slots")
    return names
