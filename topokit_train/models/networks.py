"""The models as torch modules, and build_model, which puts a topology's layers into their slots."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from topokit.layered import Layer, Layered
from topokit.masking import fill_slots
from topokit_train.chain import Dense, Link, chain
from topokit_train.layers import SparseLinear
from topokit_train.models import MODELS, slots
from topokit_train.stacks import StackedLinear, StackedSparse, copies_in


class MultilayerPerceptron(nn.Module):
    """Layers one after another, a ReLU between them; the last one's outputs are the logits.

    Args:
        layers: name -> nn.Linear or SparseLinear, in the order in which the data pass them.
    """

    def __init__(self, layers: Mapping[str, nn.Module]):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of any shape (batch, ...)."""
        *hidden, last = self.children()
        links = [*(_link(layer, relu=True) for layer in hidden), _link(last, relu=False)]
        return chain(images.flatten(1).T, links).T


def _link(layer: nn.Module, relu: bool) -> Link:
    if isinstance(layer, nn.Linear):
        return Link(Dense(), layer.weight, layer.bias, relu)
    assert isinstance(layer, SparseLinear | StackedLinear)
    return layer.link(relu)


def build_model(
    name: str,
    topology: Layered | None,
    *,
    pixels: int,
    classes: int,
    kernel: str | Mapping[str, str] = "auto",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
    copies: int = 1,
    shared: bool = False,
) -> nn.Module:
    """A model whose slots a topology's layers fill where their shapes match, in order; the others are dense.

    All weights are drawn by their real fan-in (He et al. 2015, arXiv:1502.01852) from one generator, slot
    after slot, so a seed gives one network under every kernel; all biases are 0. The type is float32.

    Args:
        name: a name in MODELS.
        topology: fills the slots; None for a dense model.
        pixels: numbers in one input.
        classes: number of classes.
        kernel: "auto" or a name in KERNELS; or such a name for each sparse layer, {"fc1": "csr", ...}.
        device: where it lives.
        generator: a CPU generator; torch's global one where left out.
        copies: how many networks to stack in one, see `topokit_train.stacks`; the weights of more than one are
            left for `load_network_states`.
        shared: whether stacked networks read the same images.

    Raises:
        InvalidSpecError: the topology does not fit the model; the message says which shapes do.
    """
    table = slots(name, widths=None if topology is None else topology.widths, pixels=pixels, classes=classes)
    filled = {} if topology is None else fill_slots(topology, table)
    layers: dict[str, nn.Module] = {}
    for k, (slot, (out, into)) in enumerate(table.items()):
        layer = slot.removesuffix(".weight")
        edges = topology.layer(filled[slot]) if topology is not None and slot in filled else None
        one = kernel if isinstance(kernel, str) else kernel.get(layer, "")
        if copies > 1:
            layers[layer] = _stacked(edges, into, out, copies, shared and k == 0, one, device)
        elif edges is not None:
            layers[layer] = SparseLinear(edges, kernel=one, device=device, dtype=torch.float32, generator=generator)
        else:
            layers[layer] = _dense(into, out, device, generator)
    module: nn.Module = MODELS[name].module(layers)
    return module


def count_parameters(model: nn.Module) -> dict[str, int]:
    """How many numbers each network of a model trains, biases included.

    Returns:
        "total", of the dense model of the same shape; "nonzero", of this one, with one number per edge.
    """
    total = nonzero = sum(parameter.numel() for parameter in model.parameters())
    for part in model.modules():
        if isinstance(part, SparseLinear):
            total += _dense_size(part) - part.values.numel()
            nonzero += part.edges - part.values.numel()
    copies = copies_in(model)
    return {"total": total // copies, "nonzero": nonzero // copies}


def _dense_size(part: SparseLinear) -> int:
    """Of as many dense layers as there are networks."""
    size = part.in_features * part.out_features
    return size // part.copies if isinstance(part, StackedSparse) and not part.shared else size


def _stacked(
    edges: Layer | None, into: int, out: int, copies: int, shared: bool, kernel: str, device: torch.device | str
) -> nn.Module:
    if edges is None:
        return StackedLinear(copies, into, out, shared=shared, device=device)
    return StackedSparse(edges, copies, shared=shared, kernel=kernel, device=device)


def _dense(into: int, out: int, device: torch.device | str, generator: torch.Generator | None) -> nn.Linear:
    linear = nn.Linear(into, out, device="meta")  # draws nothing of its own
    weight = torch.randn(out, into, generator=generator, dtype=torch.float32) * (2 / into) ** 0.5
    linear.weight = nn.Parameter(weight.to(device))
    linear.bias = nn.Parameter(torch.zeros(out, dtype=torch.float32, device=device))
    return linear
