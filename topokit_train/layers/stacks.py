"""Stacks: networks of one shape and one wiring, trained together as one network with as many outputs.

K networks of the same topology are again a topology. Where each has inputs of its own, it is K copies side by
side; where all read the same batch, the first layer joins every input to K copies of its targets, which are twins
and share one dense product. So the kernels need not know of stacks, and each step's fixed cost is paid once.

Outside, each network is one of its own: `network_states` gives the state_dict that it would have alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from topokit.edges import from_edges
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.topologies import layer_digest
from topokit_train.chain import Bilinear, Dense, Gradients, Link, chain
from topokit_train.kernels.base import BATCH
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.sparse import SparseModule


class StackedLinear(nn.Module):
    """Dense layers of one shape, each with its own weights.

    Args:
        copies: how many.
        into: inputs of each.
        out: outputs of each.
        shared: whether all read the same inputs.
        device: where they live; the weights are left for `load_network_states`.
    """

    def __init__(self, copies: int, into: int, out: int, *, shared: bool, device: torch.device | str):
        super().__init__()
        self.copies, self.shared = copies, shared
        self.in_features, self.out_features = into * (1 if shared else copies), out * copies
        self.weight = nn.Parameter(torch.empty(copies, out, into, device=device))
        self.bias = nn.Parameter(torch.empty(copies, out, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """All products in one call.

        Args:
            x: shape (batch, into) if shared, else (batch, copies * into), network after network.

        Returns:
            Shape (batch, copies * out), network after network; in memory features first.
        """
        return chain(x.T, [self.link()]).T

    def link(self, relu: bool = False) -> Link:
        """The layers as one part of a chain: their features are network after network."""
        if self.shared:
            return Link(Dense(), self.weight.flatten(0, 1), self.bias.flatten(), relu)
        return Link(SideBySide(), self.weight, self.bias.flatten(), relu)


class SideBySide(Bilinear):
    """Dense weights of networks that have inputs of their own, shape (copies, out, in)."""

    plain = True

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        return (values @ _apart(x, values)).flatten(0, 1), ()

    def gradients(
        self, grad: Tensor, x: Tensor, values: Tensor, _: Sequence[Tensor], for_x: bool, for_values: bool
    ) -> Gradients:
        grad = _apart(grad, values)
        grad_x = (values.transpose(1, 2) @ grad).flatten(0, 1) if for_x else None
        return grad_x, grad @ _apart(x, values).transpose(1, 2) if for_values else None


def _apart(features: Tensor, values: Tensor) -> Tensor:
    """Features of all networks, shape (copies * features, batch), as (copies, features, batch)."""
    return features.reshape(values.shape[0], -1, features.shape[1])


class StackedSparse(SparseLinear):
    """Sparse layers of one wiring, each with its own weights. Its features are network after network.

    Args:
        layer: the edges of one of them.
        copies: how many.
        shared: whether all read the same inputs.
        kernel: a name in KERNELS, or "auto", which then looks at the whole stack.
        device: where they live.
        batch: how many inputs a step has, for the choice of a kernel.
    """

    _place: Tensor  # (copies, edges): where each network's canonical edge stands among the stack's

    def __init__(
        self,
        layer: Layer,
        copies: int,
        *,
        shared: bool,
        kernel: str,
        device: torch.device | str,
        batch: int = BATCH,
    ):
        whole = stacked_layer(layer, copies, shared=shared)
        unused = torch.Generator()  # the weights are left for load_network_states: leave torch's global one alone
        super().__init__(whole, kernel=kernel, device=device, dtype=torch.float32, generator=unused, batch=batch)
        self.copies, self.shared = copies, shared
        self.digest.copy_(torch.tensor(list(layer_digest(layer)), dtype=torch.uint8))
        edge = np.arange(copies * layer.edges).reshape(copies, layer.edges)
        if shared:  # sorted by source first: all networks' edges of a source stand together
            degrees = np.diff(layer.indptr).astype(np.intp)
            before = np.repeat(layer.indptr[:-1].astype(np.intp), degrees)
            edge = edge[:1] + (copies - 1) * before + np.arange(copies)[:, None] * np.repeat(degrees, degrees)
        self.register_buffer("_place", torch.from_numpy(edge).to(device), persistent=False)

    def one_layer(self) -> Layer:
        """The edges of one of them, copied. O(size of values)."""
        layer, first = self.topology_layer(), self._place[0].cpu().numpy()
        sources, targets = layer.shape
        shape = (sources if self.shared else sources // self.copies, targets // self.copies)
        return Layer(from_edges(layer.sources[first], layer.targets[first], shape))

    def split(self, values: Tensor) -> Tensor:
        """Each network's canonical values, shape (copies, edges), of a tensor laid out as `values`."""
        return self.to_canonical(values)[self._place]

    def joined(self, canonical: Tensor) -> Tensor:
        """A tensor laid out as `values`, of each network's canonical values, shape (copies, edges)."""
        whole = torch.empty_like(canonical.flatten())
        whole[self._place] = canonical
        return self.from_canonical(whole)


def stacked_layer(layer: Layer, copies: int, *, shared: bool) -> Layer:
    """The edges of `copies` layers, target v of network k being number k * targets + v.

    Args:
        layer: the edges of one.
        copies: how many.
        shared: whether all have the same sources; else source u of network k is number k * sources + u.
    """
    sources, targets = layer.shape
    network = np.repeat(np.arange(copies), layer.edges)
    source = np.tile(layer.sources, copies) + (0 if shared else network * sources)
    target = np.tile(layer.targets, copies) + network * targets
    shape = (sources if shared else copies * sources, copies * targets)
    return Layer(from_edges(source, target, shape))


def stacked(
    model: nn.Module,
    copies: int,
    *,
    shared: bool,
    kernel: str | Mapping[str, str],
    device: torch.device | str,
    batch: int = BATCH,
) -> nn.Module:
    """Replace the layers of a model by stacks of as many, in place; the weights are left for `load_network_states`.

    Args:
        model: its linear layers, dense or sparse, are its children, in the order in which the data pass them.
        copies: how many.
        shared: whether all networks read the same inputs.
        kernel: a name in KERNELS or "auto", which looks at the whole stack; or such a name for each sparse layer.
        device: where they live.
        batch: how many inputs a step has, for the choice of kernels.

    Raises:
        InvalidSpecError: the model has a convolution.
    """
    first = shared
    for name, layer in model.named_children():
        if isinstance(layer, SparseLinear):
            one = kernel if isinstance(kernel, str) else kernel.get(name, "")
            edges = layer.topology_layer()
            new: nn.Module = StackedSparse(edges, copies, shared=first, kernel=one, device=device, batch=batch)
        elif isinstance(layer, nn.Linear):
            new = StackedLinear(copies, layer.in_features, layer.out_features, shared=first, device=device)
        elif hasattr(layer, "kernel_size"):
            raise InvalidSpecError("convolutions are not stacked: train one seed after the other")
        else:
            continue
        setattr(model, name, new)
        first = False
    return model


def copies_in(model: nn.Module) -> int:
    """How many networks a model holds."""
    return max([part.copies for part in model.modules() if isinstance(part, StackedLinear | StackedSparse)], default=1)


def parameters_of(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Name, parameter and the module that holds it, in the order of model.parameters()."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            yield name, parameter, module


def split(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """What each network would have in its own state_dict, along a first dimension of that many.

    Args:
        module: holds the parameter.
        name: the parameter's.
        tensor: laid out as the parameter, such as its gradient; or without dimensions, which all have in common.
    """
    values = name.rpartition(".")[2] == "values"
    if tensor.ndim == 0:
        return tensor.expand(getattr(module, "copies", 1))
    if isinstance(module, StackedSparse):
        return module.split(tensor) if values else tensor.view(module.copies, -1)
    if isinstance(module, StackedLinear):
        return tensor
    return (module.to_canonical(tensor) if values and isinstance(module, SparseModule) else tensor)[None]


def joined(module: nn.Module, name: str, parts: Sequence[Tensor]) -> Tensor:
    """The way back from `split`: a tensor laid out as the parameter, or one without dimensions."""
    values = name.rpartition(".")[2] == "values"
    if parts[0].ndim == 0:
        return parts[0]
    if isinstance(module, StackedSparse):
        return module.joined(torch.stack(list(parts))) if values else torch.cat(list(parts))
    if isinstance(module, StackedLinear):
        return torch.stack(list(parts))
    return module.from_canonical(parts[0]) if values and isinstance(module, SparseModule) else parts[0]


def network_states(model: nn.Module) -> list[dict[str, Tensor]]:
    """The state_dict that each network of a model would have alone. O(size of the model)."""
    whole = model.state_dict()
    states = [dict(whole) for _ in range(copies_in(model))]
    for name, parameter, module in parameters_of(model):
        for state, part in zip(states, split(module, name, parameter.detach()), strict=True):
            state[name] = part
    return states


@torch.no_grad()
def load_network_states(model: nn.Module, states: Sequence[Mapping[str, Any]]) -> None:
    """Give each network of a model its state, as `network_states` gave it, or its own state_dict."""
    if len(states) == 1:
        model.load_state_dict(states[0])
        return
    for name, parameter, module in parameters_of(model):
        parameter.copy_(joined(module, name, [state[name].to(parameter.device) for state in states]))
