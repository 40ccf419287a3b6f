"""Stacks: networks of one shape and topology, trained together as one network with as many outputs.

K networks of the same topology are again a topology. If each has inputs of its own, it consists of K copies side by
side; if all read the same batch, the first layer joins every input to K copies of its targets, which have equal
neighbours and share one dense product. So kernels need no code for stacks, and each step's fixed cost is paid once.

`network_states` returns the state_dict that each network would have alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.edges import from_edges
from topokit.layered import Layer
from topokit.topologies import layer_digest
from topokit_train.chain import Bilinear, Dense, Link, chain
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.sparse import SparseModule


class StackedLinear(nn.Module):
    """Dense layers of one shape, each with its own weights.

    Args:
        copies: number of networks.
        into: inputs of each.
        out: outputs of each.
        shared: whether all read the same inputs.
        device: of the weights, which `load_network_states` fills.
    """

    def __init__(self, copies: int, into: int, out: int, *, shared: bool, device: torch.device | str):
        super().__init__()
        self.copies, self.shared = copies, shared
        self.in_features, self.out_features = into * (1 if shared else copies), out * copies
        self.weight = nn.Parameter(torch.empty(copies * out, into, device=device))
        self.bias = nn.Parameter(torch.empty(copies * out, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, in one call for all networks.

        Args:
            x: shape (batch, into) if shared, else (batch, copies * into), network after network.

        Returns:
            Shape (batch, copies * out), network after network; in memory features first.
        """
        return chain(x.T, [self.link()]).T

    def link(self, relu: bool = False) -> Link:
        """Return the layers as one part of a chain: their features are network after network."""
        if self.shared:
            return Link(Dense(), self.weight, self.bias, relu)
        return Link(SideBySide(self.copies), self.weight.view(self.copies, -1, self.weight.shape[1]), self.bias, relu)


class SideBySide(Bilinear):
    """Dense weights of networks that read different inputs, shape (copies, out, in)."""

    plain = True

    def __init__(self, copies: int):
        self.copies = copies

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        return (values @ self._apart(x)).flatten(0, 1), ()

    def gradient_of_x(self, grad: Tensor, values: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        return (values.transpose(1, 2) @ self._apart(grad)).flatten(0, 1)

    def gradient_of_values(self, grad: Tensor, x: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        return self._apart(grad) @ self._apart(x).transpose(1, 2)

    def _apart(self, features: Tensor) -> Tensor:
        """Features of all networks, shape (copies * features, batch), as (copies, features, batch)."""
        return features.reshape(self.copies, -1, features.shape[1])


class StackedSparse(SparseLinear):
    """Sparse layers with the same edges, each with its own weights. Its features are network after network.

    Its canonical order is that of each network, network after network.

    Args:
        layer: the edges of one of them.
        copies: number of networks.
        shared: whether all read the same inputs.
        settings: `kernel`, `device` and `batch` of SparseLinear, for the whole stack.
    """

    def __init__(self, layer: Layer, copies: int, *, shared: bool, **settings: Any):
        whole = stacked_layer(layer, copies, shared=shared)
        unused = torch.Generator()  # load_network_states fills the weights: leave torch's global generator alone
        super().__init__(whole, dtype=torch.float32, generator=unused, **settings)
        self.copies, self.shared, self.one = copies, shared, layer
        self.digest.copy_(torch.tensor(list(layer_digest(layer)), dtype=torch.uint8))
        order = np.arange(copies * layer.edges)
        if shared:  # sorted by source first: all networks' edges of a source stand together
            order = np.argsort(np.tile(layer.sources, copies), kind="stable")
        self._order = torch.from_numpy(np.argsort(order)).to(self.values.device)

    @property
    def dense_weights(self) -> int:
        """Number of weights of as many dense layers."""
        return self.copies * prod(self.one.shape)

    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, sources = super()._ends()
        if self._order is None:  # while it is constructed
            return rows, sources
        order = self._order.cpu().numpy()
        return rows[order], sources[order]


def stacked_layer(layer: Layer, copies: int, *, shared: bool) -> Layer:
    """Return the edges of `copies` layers; target v of network k is number k * targets + v.

    Args:
        layer: the edges of one.
        copies: number of networks.
        shared: whether all have the same sources; else source u of network k is number k * sources + u.
    """
    sources, targets = layer.shape
    network = np.repeat(np.arange(copies), layer.edges)
    source = np.tile(layer.sources, copies) + (0 if shared else network * sources)
    target = np.tile(layer.targets, copies) + network * targets
    shape = (sources if shared else copies * sources, copies * targets)
    return Layer(from_edges(source, target, shape))


def copies_in(model: nn.Module) -> int:
    """Return how many networks a model consists of."""
    return max(map(_copies, model.modules()))


def _copies(module: nn.Module) -> int:
    return module.copies if isinstance(module, StackedLinear | StackedSparse) else 1


def parameters_of(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Yield the name, the parameter and its module for each of model.parameters(), in order."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            yield name, parameter, module


def split(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of each network as its own state_dict has it, along a new first dimension.

    Args:
        module: of the parameter.
        name: of the parameter.
        tensor: laid out as the parameter, such as its gradient; or without dimensions, which all networks share.
    """
    if tensor.ndim == 0:
        return tensor.expand(_copies(module))
    if isinstance(module, SparseModule) and name.endswith("values"):
        tensor = module.to_canonical(tensor)
    copies = _copies(module)
    return tensor.reshape(copies, tensor.shape[0] // copies, *tensor.shape[1:])


def joined(module: nn.Module, name: str, parts: Sequence[Tensor]) -> Tensor:
    """Return the tensor that `split` splits."""
    if parts[0].ndim == 0:
        return parts[0]
    whole = torch.cat([*parts])
    return module.from_canonical(whole) if isinstance(module, SparseModule) and name.endswith("values") else whole


def network_states(model: nn.Module) -> list[dict[str, Tensor]]:
    """Return the state_dict that each network of a model would have alone. O(size of the model)."""
    whole = model.state_dict()
    states = [dict(whole) for _ in range(copies_in(model))]
    for name, parameter, module in parameters_of(model):
        for state, part in zip(states, split(module, name, parameter.detach()), strict=True):
            state[name] = part
    return states


@torch.no_grad()
def load_network_states(model: nn.Module, states: Sequence[Mapping[str, Any]]) -> None:
    """Load the state of each network of a model, as `network_states` returns it, or its own state_dict."""
    if len(states) == 1:
        model.load_state_dict(states[0])
        return
    for name, parameter, module in parameters_of(model):
        parameter.copy_(joined(module, name, [state[name].to(parameter.device) for state in states]))
