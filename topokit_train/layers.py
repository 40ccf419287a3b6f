"""SparseLinear, a linear layer with a given wiring, and sparsify, which puts a topology into a user's own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from topokit.errors import InvalidSpecError
from topokit.layered import Layer, Layered
from topokit.masking import fill_slots
from topokit.topology import layer_digest
from topokit_train.chain import Link
from topokit_train.choice import choose
from topokit_train.kernels import KERNELS
from topokit_train.kernels.base import Kernel, Plan

M = TypeVar("M", bound=nn.Module)


class SparseLinear(nn.Module):
    """A linear layer whose only connections are the edges of one topology layer: y = x W^T + b.

    It is used as nn.Linear is, with any optimizer, deepcopy and DistributedDataParallel (where
    broadcast_buffers=False saves sending the constant pattern at every step).

    `values` lies in the kernel's order and shape. In a state_dict it is a copy in canonical order, shape (edges,),
    sorted by source, then target, so that it loads under every kernel; `digest` is saved with it, and a state_dict
    of other edges is refused. `to_canonical` and `from_canonical` do the same for an optimizer's tensors.

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

    digest: Tensor  # (32,) uint8: the SHA-256 of the edges, topokit.topology.layer_digest

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
        super().__init__()
        like = torch.empty(0, device=device, dtype=dtype)  # resolves torch's defaults
        self.in_features, self.out_features = layer.shape
        self.edges = layer.edges
        self.choice = choose(layer, like.device, like.dtype, kernel)
        self._kernel: Kernel[Any] = KERNELS[self.choice.kernel]
        self._plan: Plan = self._kernel.prepare(layer).to(like.device)
        self.register_buffer("digest", torch.tensor(list(layer_digest(layer)), dtype=torch.uint8, device=like.device))
        self.values = nn.Parameter(self.from_canonical(like.new_empty(layer.edges)))
        self.bias = nn.Parameter(like.new_empty(self.out_features)) if bias else None
        self.reset_parameters(generator)

    @property
    def kernel(self) -> str:
        """The name of the kernel it multiplies with."""
        return self._kernel.name

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw each value from a normal distribution of variance 2 / fan-in; bias 0. O(size of values).

        The fan-in is the number of edges that really reach the target. The draw is made on the CPU in float32
        and in canonical order, so one seed gives one network under every kernel, device and type.

        Args:
            generator: a CPU generator; torch's global one where left out.

        Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852.
        """
        targets = torch.from_numpy(self.topology_layer().indices.astype(np.int64))
        fan_in = torch.bincount(targets, minlength=self.out_features).float()
        canonical = torch.randn(self.edges, generator=generator, dtype=torch.float32, device="cpu")
        canonical *= (2 / fan_in).sqrt()[targets]
        self.values.copy_(self.from_canonical(canonical.to(self.values)))
        if self.bias is not None:
            self.bias.zero_()

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
        """The layer as a part of a chain, see `topokit_train.kernels.chain`: its features come first.

        Args:
            relu: whether ReLU follows.

        Raises:
            InvalidSpecError: the layer was moved to a device or type that its kernel does not support.
        """
        self._kernel.require(self.values.device, self.values.dtype)
        return Link(self._plan, self.values, self.bias, relu)

    def to_canonical(self, tensor: Tensor) -> Tensor:
        """One number per edge, shape (edges,), sorted by source, then target, of a tensor laid out as `values`."""
        return self._plan.to_canonical(tensor)

    def from_canonical(self, canonical: Tensor) -> Tensor:
        """A tensor laid out as `values` of one number per edge, shape (edges,), sorted by source, then target."""
        return self._plan.from_canonical(canonical)

    def topology_layer(self) -> Layer:
        """The edges, copied. O(size of values)."""
        return self._plan.layer()

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "values"] = self.to_canonical(destination[prefix + "values"])

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        values, digest = state_dict.get(prefix + "values"), state_dict.get(prefix + "digest")
        if digest is not None and digest.tolist() != self.digest.tolist():
            error_msgs.append(
                f"{prefix}values belong to other edges (SHA-256 {_hex(digest)}; this layer has {_hex(self.digest)}): "
                "build the layer from the topology they were saved with"
            )
            return
        if values is not None:
            if values.shape != (self.edges,):
                error_msgs.append(f"{prefix}values has shape {tuple(values.shape)}; this layer has {self.edges} edges")
                return
            # torch hands over a dict of its own, so this leaves the caller's alone
            state_dict[prefix + "values"] = self.from_canonical(values.to(self.values.device))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

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


def _hex(digest: Tensor) -> str:
    return bytes(digest.tolist()).hex()[:12]
