"""SparseModule: what layers with a given wiring have in common, whether they multiply or convolve."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.csr import require_memory
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.topologies import layer_digest
from topokit_train.kernels import KERNELS
from topokit_train.kernels.base import Kernel, Plan
from topokit_train.kernels.csr import compressed
from topokit_train.layers.choice import Choice


class SparseModule(nn.Module):
    """A layer whose only connections are the edges of one topology layer, with one number for each real weight.

    `values` has shape (weights,), in the kernel's order. In a state_dict it is a copy in canonical order, which is
    sorted by source, then target, so that it loads under every kernel; `digest` is saved with it, and a state_dict
    of other edges is refused. `to_canonical` and `from_canonical` do the same for an optimizer's tensors.

    Args:
        layer: the edges.
        pattern: the edges that the kernel multiplies by, one for each weight.
        choice: the kernel, and why it was taken.
        like: a tensor on the device and of the type that it lives in.
        bias: whether to add a bias to each target. The subclass calls reset_parameters.
    """

    groups: int = 1
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
        self.targets = layer.shape[1]
        self.choice = choice
        self.source, self.init = "layer", "he"  # where the edges and the first values are from, for a report
        self._kernel: Kernel[Any] = KERNELS[choice.kernel]
        self._plan: Plan = self._kernel.prepare(pattern).to(like.device)
        self.register_buffer("digest", torch.tensor(list(layer_digest(layer)), dtype=torch.uint8, device=like.device))
        self.values = nn.Parameter(self._plan.from_canonical(like.new_zeros(self.weights)))
        self.bias = nn.Parameter(like.new_empty(self.targets)) if bias else None

    @property
    def kernel(self) -> str:
        """The name of the kernel it multiplies with."""
        return self._kernel.name

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw each value, see `draw`, and set each bias to 0.

        Args:
            generator: a CPU generator; torch's global one if omitted.
        """
        self.draw(generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def draw(self, generator: torch.Generator | None = None) -> None:
        """Draw each value from a normal distribution of variance 2 / fan-in. O(size of values).

        The fan-in is the number of weights that really reach the target. The draw is made on the CPU in float32
        and in canonical order, so one seed gives one network under every kernel, device and type.

        Args:
            generator: a CPU generator; torch's global one if omitted.

        Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852.
        """
        targets = self._canonical_targets()
        canonical = torch.randn(self.weights, generator=generator, dtype=torch.float32, device="cpu")
        canonical *= (2 / self.fan_in().float()).sqrt()[targets]
        self.values.copy_(self.from_canonical(canonical.to(self.values)))

    @torch.no_grad()
    def rescale(self) -> None:
        """Multiply the values of each target by the square root of the dense fan-in over its real one.

        So its output keeps the variance that it had with all weights, for independent weights and inputs of one
        variance each. O(size of values).
        """
        dense = prod(self.dense_shape[1:])
        factors = (dense / self.fan_in().clamp(min=1)).sqrt()[self._canonical_targets()]
        self.values.mul_(self.from_canonical(factors.to(self.values)))

    def fan_in(self) -> Tensor:
        """Count the weights that reach each target, shape (targets,), int64, on the CPU. O(size of values)."""
        return torch.bincount(self._canonical_targets(), minlength=self.targets)

    def _canonical_targets(self) -> Tensor:
        """The target of each weight in canonical order."""
        targets = torch.from_numpy(self.topology_layer().indices.astype(np.int64))
        return targets.repeat_interleave(self.weights // max(self.edges, 1))

    @abstractmethod
    def dense(self) -> nn.Module:
        """Return a module of torch that computes the same, with weights that are 0 off the edges.

        Raises:
            TooLargeError: there is not enough free memory.
        """

    @torch.no_grad()
    def _handed_to(self, module: nn.Linear | nn.Conv2d) -> nn.Module:
        """Give a dense module, which is on the meta device, this one's weight and bias."""
        module.weight = nn.Parameter(self.dense_weight(), requires_grad=self.values.requires_grad)
        if self.bias is not None:
            module.bias = nn.Parameter(self.bias.clone(), requires_grad=self.bias.requires_grad)
        return module

    @torch.no_grad()
    def rewire(self, layer: Layer) -> Tensor:
        """Replace the edges in place. Edges that stay keep their values, new ones get 0; parameters stay the same ones.

        Args:
            layer: the new edges, of the same shape as the old ones.

        Returns:
            For each new weight in canonical order the number of the old one, or -1; shape (weights,), on the CPU.

        Raises:
            InvalidSpecError: the layer has another shape.

        Cost: O(edges log edges).
        """
        before = self.topology_layer()
        if layer.shape != before.shape:
            raise InvalidSpecError(f"the new edges are {layer.shape[0]} -> {layer.shape[1]}, the old {before.shape}")
        origin = _origin(before, layer)
        each = self.weights // max(self.edges, 1)
        if each > 1:
            origin = torch.where(origin[:, None] < 0, -1, origin[:, None] * each + torch.arange(each)).flatten()
        moved = carried_over(self.to_canonical(self.values), origin)
        # band and block need edges that are a band or blocks
        new = self._with_edges(layer, self.kernel if self.kernel in ("csr", "masked") else "csr")
        new.source, new.init, new.training = self.source, self.init, self.training
        self.values.data = new.from_canonical(moved)
        kept = {name: value for name, value in vars(self).items() if "hooks" in name or name == "_parameters"}
        vars(self).update(vars(new) | kept)
        return origin

    @abstractmethod
    def _with_edges(self, layer: Layer, kernel: str) -> SparseModule:
        """A layer that has all settings of this one, but other edges and values."""

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
        require_memory(self.dense_weights * self.values.element_size(), "a dense weight")
        weight = self.values.new_zeros(self.targets, self.reach)
        weight[self._places()] = self._plan.to_canonical(self.values)
        return weight.reshape(self.dense_shape)

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Take the values of a dense layer's weight, shape (out, in, ...) as torch has it, at the edges."""
        weight = weight.to(self.values).reshape(self.targets, -1)
        self.values.copy_(self._plan.from_canonical(weight[self._places()]))

    @property
    def weight(self) -> Tensor:
        """The weight as a sparse CSR tensor, shape (out, in), of a convolution (out, in * rows * columns).

        It is a copy, differentiable in the values: what changes it, as torch.nn.init does, leaves the layer as it was.
        To change the layer, use `reset_parameters`, `take` or `values`. O(edges log edges).
        """
        rows, columns = self._ends()
        order = np.lexsort((columns, rows))
        starts = np.searchsorted(rows[order], np.arange(self.targets + 1))
        where = (torch.from_numpy(numbers).to(self.values.device) for numbers in (starts, columns[order], order))
        indptr, indices, edges = where
        shape = (self.targets, self.reach * self.groups)
        return compressed(indptr, indices, self._plan.to_canonical(self.values)[edges], shape)

    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Target and source of each weight, in the canonical order of the pattern."""
        pattern = self._plan.layer()
        return pattern.indices.astype(np.int64), pattern.sources.astype(np.int64)

    def _places(self) -> tuple[Tensor, Tensor]:
        """Row and column of each weight in a dense one of shape (targets, ...), in the pattern's order."""
        rows, sources = self._ends()
        columns = sources % self.reach  # in groups they are counted from the group's first
        return torch.from_numpy(rows).to(self.values.device), torch.from_numpy(columns).to(self.values.device)

    @property
    @abstractmethod
    def dense_shape(self) -> tuple[int, ...]:
        """The shape of the weight of a dense layer that does the same."""

    @property
    def dense_weights(self) -> int:
        """How many weights such a dense layer has."""
        return prod(self.dense_shape)

    @property
    def reach(self) -> int:
        """How many of them each target has."""
        return self.dense_weights // self.targets

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if fn(self.digest).is_meta:
            raise InvalidSpecError("a sparse layer cannot be on meta, where its edges would be lost: leave it on cpu")
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refuse a dense weight, which torch.nn.utils.prune and others would put in place of the edges' values.

        Raises:
            InvalidSpecError: for every name that begins with weight.
        """
        if name.startswith("weight"):
            raise InvalidSpecError(
                f"{name} cannot be set: {type(self).__name__} has no dense weight but `values`, one for each edge: "
                "change `values`, or call `take`"
            )
        super().register_parameter(name, param)

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


def carried_over(canonical: Tensor, origin: Tensor) -> Tensor:
    """Numbers of old weights as those of new ones, which are 0 if they are not old: see `SparseModule.rewire`.

    Args:
        canonical: one number for each old weight, in canonical order.
        origin: as `rewire` returns it.
    """
    origin = origin.to(canonical.device)
    padded = torch.cat([canonical, canonical.new_zeros(1)])  # -1 is the last one
    return padded[origin]


def _origin(before: Layer, after: Layer) -> Tensor:
    """The number of each edge in an older layer; -1 if it is new."""
    old, new = (layer.sources * layer.shape[1] + layer.targets for layer in (before, after))
    if not old.size:
        return torch.full((new.size,), -1)
    place = np.searchsorted(old, new).clip(max=old.size - 1)
    return torch.from_numpy(np.where(old[place] == new, place, -1))


def _hex(digest: Tensor) -> str:
    return bytes(digest.tolist()).hex()[:12]
