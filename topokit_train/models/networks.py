"""The models as torch modules, and build_model, which puts a topology's layers into their slots."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from topokit.layered import Layered
from topokit.masking import fill_slots
from topokit_train.layers import SparseLinear
from topokit_train.models import MODELS, slots


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
        x = images.flatten(1)
        *hidden, last = self.children()
        for layer in hidden:
            x = layer(x).relu()
        logits: Tensor = last(x)
        return logits


def build_model(
    name: str,
    topology: Layered | None,
    *,
    pixels: int,
    classes: int,
    kernel: str | Mapping[str, str] = "auto",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
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

    Raises:
        InvalidSpecError: the topology does not fit the model; the message says which shapes do.
    """
    table = slots(name, widths=None if topology is None else topology.widths, pixels=pixels, classes=classes)
    filled = {} if topology is None else fill_slots(topology, table)
    layers: dict[str, nn.Module] = {}
    for slot, (out, into) in table.items():
        layer = slot.removesuffix(".weight")
        if topology is not None and slot in filled:
            layers[layer] = SparseLinear(
                topology.layer(filled[slot]),
                kernel=kernel if isinstance(kernel, str) else kernel[layer],
                device=device,
                dtype=torch.float32,
                generator=generator,
            )
        else:
            layers[layer] = _dense(into, out, device, generator)
    module: nn.Module = MODELS[name].module(layers)
    return module


def count_parameters(model: nn.Module) -> dict[str, int]:
    """How many numbers are trained, biases included.

    Returns:
        "total", of the dense model of the same shape; "nonzero", of this one, with one number per edge.
    """
    total = nonzero = sum(parameter.numel() for parameter in model.parameters())
    for part in model.modules():
        if isinstance(part, SparseLinear):
            total += part.in_features * part.out_features - part.values.numel()
            nonzero += part.edges - part.values.numel()
    return {"total": total, "nonzero": nonzero}


def _dense(into: int, out: int, device: torch.device | str, generator: torch.Generator | None) -> nn.Linear:
    linear = nn.Linear(into, out, device="meta")  # draws nothing of its own
    weight = torch.randn(out, into, generator=generator, dtype=torch.float32) * (2 / into) ** 0.5
    linear.weight = nn.Parameter(weight.to(device))
    linear.bias = nn.Parameter(torch.zeros(out, dtype=torch.float32, device=device))
    return linear
