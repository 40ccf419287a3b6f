"""SparseLinear, a linear layer with a given wiring, and sparsify, which puts a topology into a user's own model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered
from topokit.masking import fill_slots
from topokit_train.choice import choose
from topokit_train.sparse import SparseModule

M = TypeVar("M", bound=nn.Module)


class SparseLinear(SparseModule):
    """A linear layer whose only connections are the edges of one topology layer: y = x W^T + b.

    It is used as nn.Linear is, with any optimizer, deepcopy and DistributedDataParallel (where
    broadcast_buffers=False saves sending the constant pattern at every step). Of its state, see SparseModule:
    there is one weight for each edge.

    Args:
        layer: the edges, from in_features sources to out_features targets.
        bias: whether to add a bias to each output.
        kernel: a name in KERNELS, "auto" or "tuned", see `topokit_train.choice.choose`; the attribute
            `choice` says what was taken, and why.
        device: where it lives.
        dtype: its type, torch's default where left out.
        generator: draws the initial values; a CPU generator, torch's global one where left out.

    Raises:
        InvalidSpecError: no such kernel, or it does not run on this device or type.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        bias: bool = True,
        kernel: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        like = torch.empty(0, device=device, dtype=dtype)  # resolves torch's defaults
        super().__init__(layer, layer, choose(layer, like.device, like.dtype, kernel), like, bias=bias)
        self.in_features, self.out_features = layer.shape
        self.reset_parameters(generator)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply and add the bias.

        Args:
            x: shape (..., in_features).

        Returns:
            Shape (..., out_features), in memory features first, which suits the next SparseLinear: take
            reshape where view refuses.

        Raises:
            InvalidSpecError: x has another number of features, or the layer was moved to a device or type that
                its kernel does not support.
        """
        if x.shape[-1:] != (self.in_features,):
            raise InvalidSpecError(
                f"x has shape {tuple(x.shape)}; its last size must be in_features, {self.in_features}"
            )
        self._kernel.require(self.values.device, self.values.dtype)
        y = self._kernel.multiply(x.reshape(-1, self.in_features).T, self.values, self._plan)
        if self.bias is not None:
            y = y + self.bias[:, None]
        return y.T.reshape(*x.shape[:-1], self.out_features)

    def __repr__(self) -> str:
        return (
            f"SparseLinear(in_features={self.in_features}, out_features={self.out_features}, edges={self.edges}, "
            f"bias={self.bias is not None}, kernel={self.kernel})"
        )


def sparsify(model: M, net: Layered, names: Sequence[str] | None = None, kernel: str = "auto") -> M:
    """Replace nn.Linear modules of a model by SparseLinear ones that have a topology's wiring, in place.

    The topology's layers fill the Linear modules whose shapes they match, in order; the others stay dense. What
    is kept: the weights at the edges (of a module pruned with torch.nn.utils.prune, the masked ones), the bias,
    device, dtype, requires_grad and training mode. Hooks are not. Make the optimizer afterwards, as the
    parameters are new ones.

    Args:
        model: any module that holds nn.Linear modules; the projections inside nn.MultiheadAttention do not count.
        net: the topology.
        names: the modules that may be replaced, as model.named_modules() names them; all where left out.
        kernel: a name in KERNELS, or "auto".

    Returns:
        The model itself. If anything is raised, it is unchanged.

    Raises:
        InvalidSpecError: the layers' shapes do not match the modules', or a name is not an nn.Linear's.
    """
    linears = _linears(model, names)
    slots = {f"{name}.weight": (linear.out_features, linear.in_features) for name, linear in linears.items()}
    replacements: dict[nn.Module, SparseLinear] = {}
    for slot, i in fill_slots(net, slots).items():
        linear = linears[slot.removesuffix(".weight")]
        replacements[linear] = _sparse(linear, net.layer(i), kernel)
    for name, module in list(model.named_modules(remove_duplicate=False)):  # a module may stand in several places
        if module in replacements:
            model.set_submodule(name, replacements[module])
    return model


def _linears(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Linear]:
    linears = {
        name: module
        for name, module in model.named_modules()
        # attention reads the weight of its own kind of Linear without calling it
        if name and isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)
    }
    if not linears:
        raise InvalidSpecError("the model holds no nn.Linear to replace; wrap a bare one in nn.Sequential")
    for name in names or ():
        if name not in linears:
            raise InvalidSpecError(f"the model has no nn.Linear named {name!r}: it has {', '.join(linears)}")
    return linears if names is None else {name: linears[name] for name in names}


def _sparse(linear: nn.Linear, layer: Layer, kernel: str) -> SparseLinear:
    weight, bias = _current(linear, "weight"), _current(linear, "bias")
    sparse = SparseLinear(
        layer,
        bias=bias is not None,
        kernel=kernel,
        device=weight.device,
        dtype=weight.dtype,
        generator=torch.Generator(),  # the draw is overwritten: leave torch's global generator alone
    )
    targets, sources = (torch.from_numpy(nodes.astype(np.int64)) for nodes in (layer.indices, layer.sources))
    with torch.no_grad():
        sparse.values.copy_(sparse.from_canonical(weight[targets, sources]))
        sparse.values.requires_grad_(weight.requires_grad)
        if sparse.bias is not None:
            sparse.bias.copy_(bias)
            sparse.bias.requires_grad_(bias.requires_grad)
    return sparse.train(linear.training)


def _current(linear: nn.Linear, name: str) -> Any:
    """A parameter, or None, as the next forward would use it: only then does torch.nn.utils.prune mask it anew."""
    if hasattr(linear, name + "_mask"):
        return getattr(linear, name + "_orig") * getattr(linear, name + "_mask")
    return getattr(linear, name)
