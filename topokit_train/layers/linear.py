"""SparseLinear, a linear layer with a given wiring, and sparsify, which puts a topology into a user's own model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered
from topokit.masking import fill_all
from topokit_train.chain import Link
from topokit_train.kernels.base import BATCH
from topokit_train.layers.choice import Product, choose
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.packing import current
from topokit_train.layers.sparse import SparseModule

M = TypeVar("M", bound=nn.Module)


class SparseLinear(SparseModule):
    """A linear layer whose only connections are the edges of one topology layer: y = x W^T + b.

    It is used as nn.Linear is, with any optimizer, deepcopy and DistributedDataParallel (where
    broadcast_buffers=False saves sending the constant pattern at every step). Of its state, see SparseModule:
    there is one weight for each edge. Gradients of any order are those of autograd. docs/torch-features.md
    says what works with torch.func, compile, export and other features of torch. Into torch's transformers put it by
    `sparsify`, which keeps them from their fast path.

    Args:
        layer: the edges, from in_features sources to out_features targets.
        bias: whether to add a bias to each output.
        kernel: a name in KERNELS, "auto" or "tuned", see `topokit_train.layers.choice.choose`; the attribute
            `choice` says what was taken, and why.
        device: where it lives.
        dtype: its type, torch's default where left out.
        generator: draws the initial values; a CPU generator, torch's global one where left out.
        batch: how many inputs a step has, for the choice of a kernel.

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
        batch: int = BATCH,
    ):
        like = torch.empty(0, device=device, dtype=dtype)  # resolves torch's defaults
        super().__init__(layer, layer, choose(layer, like.device, like.dtype, kernel, Product(batch)), like, bias=bias)
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
        y = self._kernel.multiply(x.reshape(-1, self.in_features).T, self.values, self._plan, self.bias)
        return y.T.reshape(*x.shape[:-1], self.out_features)

    def link(self, relu: bool = False) -> Link:
        """The layer as a part of a chain, see `topokit_train.chain`: its features come first.

        Args:
            relu: whether ReLU follows.

        Raises:
            InvalidSpecError: the layer was moved to a device or type that its kernel does not support.
        """
        self._kernel.require(self.values.device, self.values.dtype)
        return Link(self._plan, self.values, self.bias, relu)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        return self.out_features, self.in_features

    def __repr__(self) -> str:
        return (
            f"SparseLinear(in_features={self.in_features}, out_features={self.out_features}, edges={self.edges}, "
            f"bias={self.bias is not None}, kernel={self.kernel})"
        )


Replaceable = nn.Linear | nn.Conv2d


def sparsify(
    model: M, nets: Layered | Sequence[Layered], names: Sequence[str] | None = None, kernel: str = "auto"
) -> M:
    """Replace nn.Linear and nn.Conv2d modules of a model by sparse ones that have a topology's wiring, in place.

    The topology's layers fill the modules whose shapes they match, in order; the others stay dense. A convolution
    takes a layer by channel or by weight, see SparseConv2d. Layers that do not chain are several topologies, of which
    each fills the modules that are left. What is kept: the weights at the edges (of a module pruned with
    torch.nn.utils.prune, the masked ones), the bias, device, dtype, requires_grad and training mode. Hooks are not.
    Make the optimizer afterwards, as the parameters are new ones.

    Args:
        model: any module that holds such modules; the projections inside nn.MultiheadAttention do not count, nor do
            convolutions in groups.
        nets: the topology, or several.
        names: the modules that may be replaced, as model.named_modules() names them; all where left out.
        kernel: a name in KERNELS, or "auto".

    Returns:
        The model itself. If anything is raised, it is unchanged.

    Raises:
        InvalidSpecError: the layers' shapes do not match the modules', or a name is not one of such a module.
    """
    topologies = [nets] if isinstance(nets, Layered) else list(nets)
    modules = _replaceable(model, names)
    slots = {f"{name}.weight": tuple(current(module, "weight").shape) for name, module in modules.items()}
    replacements: dict[nn.Module, SparseModule] = {}
    for slot, (number, i) in fill_all(topologies, slots).items():
        module = modules[slot.removesuffix(".weight")]
        replacements[module] = _sparse(module, topologies[number].layer(i), kernel)
    for name, part in list(model.named_modules(remove_duplicate=False)):  # a module may stand in several places
        if part in replacements:
            model.set_submodule(name, replacements[part])
    _call_all_layers(model)
    return model


def _call_all_layers(model: nn.Module) -> None:
    """Let torch's transformers call their sparse layers in evaluation too: its fast path reads weights instead."""
    sparse = [
        part
        for part in model.modules()
        if isinstance(part, nn.TransformerEncoderLayer)
        and any(isinstance(one, SparseModule) for one in part.children())
    ]
    for layer in sparse:
        layer.activation_relu_or_gelu = 0  # as if its activation were another one, for which there is no fast path
    for part in model.modules():
        if isinstance(part, nn.TransformerEncoder) and any(layer in sparse for layer in part.layers):
            part.use_nested_tensor = False  # which only the fast path can read


def _replaceable(model: nn.Module, names: Sequence[str] | None) -> dict[str, Replaceable]:
    modules = {
        name: module
        for name, module in model.named_modules()
        # attention reads the weight of its own kind of Linear without calling it
        if name and isinstance(module, Replaceable) and not isinstance(module, NonDynamicallyQuantizableLinear)
    }
    for name in names or ():
        if isinstance(module := modules.get(name), nn.Conv2d) and module.groups > 1:
            raise InvalidSpecError(f"{name} has groups={module.groups}: a sparse convolution has one group")
    modules = {name: module for name, module in modules.items() if getattr(module, "groups", 1) == 1}
    if not modules:
        raise InvalidSpecError(
            "the model holds no nn.Linear and no nn.Conv2d to replace; wrap a bare one in nn.Sequential"
        )
    for name in names or ():
        if name not in modules:
            raise InvalidSpecError(
                f"the model has no nn.Linear or nn.Conv2d named {name!r}: it has {', '.join(modules)}"
            )
    return modules if names is None else {name: modules[name] for name in names}


def _sparse(module: Replaceable, layer: Layer, kernel: str) -> SparseModule:
    weight, bias = current(module, "weight"), current(module, "bias")
    about: dict[str, Any] = {
        "bias": bias is not None,
        "kernel": kernel,
        "device": weight.device,
        "dtype": weight.dtype,
        "generator": torch.Generator(),  # the draw is overwritten: leave torch's global generator alone
    }
    sparse: SparseModule
    if isinstance(module, nn.Linear):
        sparse = SparseLinear(layer, **about)
    else:
        same = ("stride", "padding", "dilation", "padding_mode")
        about |= {name: getattr(module, name) for name in same}
        sparse = SparseConv2d(layer, module.in_channels, module.kernel_size, **about)
    sparse.take(weight)
    with torch.no_grad():
        sparse.values.requires_grad_(weight.requires_grad)
        if sparse.bias is not None:
            sparse.bias.copy_(bias)
            sparse.bias.requires_grad_(bias.requires_grad)
    return sparse.train(module.training)
