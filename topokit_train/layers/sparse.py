"""SparseModule: what layers with a given wiring have in common, whether they multiply or convolve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from topokit.csr import require_memory
from topokit.layered import Layer
from topokit.topologies import layer_digest
from topokit_train.kernels import KERNELS
from topokit_train.kernels.base import Kernel, Plan
from topokit_train.layers.choice import Choice


class SparseModule(nn.Module):
    """A layer whose only connections are the edges of one topology layer, with one number for each real weight.

    `values` lies in the kernel's order and shape. In a state_dict it is a copy in canonical order, shape (weights,),
    sorted by source, then target, so that it loads under every kernel; `digest` is saved with it, and a state_dict
    of other edges is refused. `to_canonical` and `from_canonical` do the same for an optimizer's tensors.

    Args:
        layer: the edges.
        pattern: the edges that the kernel multiplies by, one for each weight.
        choice: the kernel, and why it was taken.
        like: a tensor on the device and of the type that it lives in.
        bias: whether to add a bias to each target. The subclass calls reset_parameters.
    """

    digest: Tensor  # (32,) uint8: the SHA-256 of the edges, topokit.topologies.layer_digest

    def __init__(
        self,
        layer: Layer,
        pattern: Layer,
        choice: Choice,
        like: Tensor,
        *,
        bias: bool,
    ):
        super().__init__()
        self.edges = layer.edges
        self.weights = pattern.edges
        self.dense_weights = pattern.shape[0] * pattern.shape[1]  # of the dense layer of the same shape
        self.targets = layer.shape[1]
        self.choice = choice
        self._kernel: Kernel[Any] = KERNELS[choice.kernel]
        self._plan: Plan = self._kernel.prepare(pattern).to(like.device)
        self.register_buffer("digest", torch.tensor(list(layer_digest(layer)), dtype=torch.uint8, device=like.device))
        self.values = nn.Parameter(self._plan.from_canonical(like.new_zeros(self.weights)))
        self.bias = nn.Parameter(like.new_empty(self.targets)) if bias else None

    @property
    def kernel(self) -> str:
        """The name of the kernel it multiplies with."""
        return self._kernel.name

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw each value from a normal distribution of variance 2 / fan-in; bias 0. O(size of values).

        The fan-in is the number of weights that really reach the target. The draw is made on the CPU in float32
        and in canonical order, so one seed gives one network under every kernel, device and type.

        Args:
            generator: a CPU generator; torch's global one where left out.

        Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852.
        """
        edges = self.topology_layer().indices.astype(np.int64)
        targets = torch.from_numpy(edges).repeat_interleave(self.weights // max(self.edges, 1))
        fan_in = torch.bincount(targets, minlength=self.targets).float()
        canonical = torch.randn(self.weights, generator=generator, dtype=torch.float32, device="cpu")
        canonical *= (2 / fan_in).sqrt()[targets]
        self.values.copy_(self.from_canonical(canonical.to(self.values)))
        if self.bias is not None:
            self.bias.zero_()

    def to_canonical(self, tensor: Tensor) -> Tensor:
        """One number per weight, shape (weights,), sorted by source, then target, of a tensor laid out as `values`."""
        return self._plan.to_canonical(tensor)

    def from_canonical(self, canonical: Tensor) -> Tensor:
        """A tensor laid out as `values` of one number per weight, shape (weights,), sorted by source, then target."""
        return self._plan.from_canonical(canonical)

    @torch.no_grad()
    def dense_weight(self) -> Tensor:
        """The weight of a dense layer that does the same, shape (out, in, ...) as torch has it: 0 off the edges.

        Raises:
            TooLargeError: not enough free memory.
        """
        pattern = self._plan.layer()
        require_memory(self.dense_weights * self.values.element_size(), "a dense weight")
        weight = self.values.new_zeros(pattern.shape[::-1])
        weight[self._places(pattern)] = self._plan.to_canonical(self.values)
        return weight.reshape(self.dense_shape)

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Take the values of a dense layer's weight, shape (out, in, ...) as torch has it, at the edges."""
        pattern = self._plan.layer()
        weight = weight.to(self.values).reshape(pattern.shape[::-1])
        self.values.copy_(self._plan.from_canonical(weight[self._places(pattern)]))

    def _places(self, pattern: Layer) -> tuple[Tensor, Tensor]:
        """Where each weight stands in a dense one of shape (targets, sources), in the pattern's order."""
        targets, sources = (torch.tensor(nodes) for nodes in (pattern.targets, pattern.sources))
        return targets.to(self.values.device), sources.to(self.values.device)

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """The shape of the weight of a dense layer that does the same."""
        return self.targets, self.dense_weights // max(self.targets, 1)

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
            if values.shape != (self.weights,):
                error_msgs.append(
                    f"{prefix}values has shape {tuple(values.shape)}; this layer has {self.weights} weights"
                )
                return
            # torch hands over a dict of its own, so this leaves the caller's alone
            state_dict[prefix + "values"] = self.from_canonical(values.to(self.values.device))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def dense_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict that a model would have if all of its sparse layers were dense, with 0 off the edges.

    A model with nn.Linear and nn.Conv2d in place of SparseLinear and SparseConv2d loads it and computes the same;
    so a sparse model can be exported, to ONNX for example, or handed to whoever has no topokit.

    Args:
        model: any module.

    Returns:
        Its state_dict with a `weight` in place of each sparse layer's `values` and `digest`; all else is left as it is.

    Raises:
        TooLargeError: not enough free memory.
    """
    layers = {
        f"{name}." if name else "": module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, SparseModule)
    }
    dense: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        prefix, _, last = name.rpartition(".")
        layer = layers.get(f"{prefix}." if prefix else "")
        if layer is None or last not in ("values", "digest"):
            dense[name] = tensor
        elif last == "values":
            dense[name.removesuffix("values") + "weight"] = layer.dense_weight()
    return dense


def _hex(digest: Tensor) -> str:
    return bytes(digest.tolist()).hex()[:12]
