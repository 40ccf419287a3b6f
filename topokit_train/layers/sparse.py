"""SparseModule: what sparse linear layers and sparse convolutions have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import prod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topokit.csr import Storage, require_memory
from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.reprs import counted
from topokit.topologies import layer_digest
from topokit_train.kernels import KERNELS
from topokit_train.kernels.base import Kernel, Plan
from topokit_train.layers.choice import Choice


class SparseModule(nn.Module):
    """A layer whose only connections are the edges of one topology layer, with one number for each real weight.

    `values` has shape (weights,), in the kernel's order. In a state_dict it is a copy in canonical order, which is
    sorted by source, then target, so that it loads under every kernel; `digest` is saved with it, and a state_dict
    of other edges is refused. `to_canonical` and `from_canonical` do the same for an optimizer's tensors.

    Args:
        layer: the edges, which are copied.
        pattern: the edges that the kernel multiplies by, one for each weight.
        choice: the kernel, and why it was chosen.
        like: a tensor on the device and of the type of the layer.
        dense_shape: shape of the weight of a dense layer that does the same.
        bias: whether to add a bias to each target. The subclass calls reset_parameters.
    """

    groups: int = 1
    digest: Tensor  # (32,) uint8: the SHA-256 of the edges, topokit.topologies.layer_digest
    _order: Tensor | None  # (weights,): the place of each weight among the pattern's edges; None if it is the same

    def __init__(
        self,
        layer: Layer,
        pattern: Layer,
        choice: Choice,
        like: Tensor,
        dense_shape: tuple[int, ...],
        *,
        bias: bool,
    ):
        super().__init__()
        # a layer of a stream is valid only until the next one
        self._layer = Layer(Storage(layer.indptr.copy(), layer.indices.copy(), layer.shape))
        self.edges = layer.edges
        self.weights = pattern.edges
        self.targets = layer.shape[1]
        self.dense_shape = dense_shape
        self.choice = choice
        self.source, self.init = "layer", "he"  # where the edges and the first values are from, for a report
        self._kernel: Kernel = KERNELS[choice.kernel]
        self._plan: Plan = self._kernel.prepare(pattern).to(like.device)
        self.register_buffer("digest", torch.tensor(list(layer_digest(layer)), dtype=torch.uint8, device=like.device))
        self.register_buffer("_order", None, persistent=False)
        if pattern is not layer:
            rows, sources = self._ends()
            order = np.argsort(np.argsort(sources % pattern.shape[0] * self.targets + rows))
            self._order = torch.from_numpy(order).to(like.device)
        self.values = nn.Parameter(self._plan.from_canonical(like.new_zeros(self.weights)))
        self.bias = nn.Parameter(like.new_empty(self.targets)) if bias else None

    def __repr__(self) -> str:  # without its plan, which is a module too
        return f"{type(self).__name__}({self.extra_repr()}, bias={self.bias is not None}, kernel={self.kernel})"

    @property
    def kernel(self) -> str:
        """The name of its kernel."""
        return self._kernel.name

    @property
    def dense_weights(self) -> int:
        """Number of weights of a dense layer that does the same."""
        return prod(self.dense_shape)

    @property
    def reach(self) -> int:
        """Number of weights of each target in that dense layer."""
        return prod(self.dense_shape[1:])

    def topology_layer(self) -> Layer:
        """Return the edges."""
        return self._layer

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
        canonical = torch.randn(self.weights, generator=generator, dtype=torch.float32, device="cpu")
        # an index that is an array would be read number by number inside torch.device
        canonical *= (2 / self.fan_in().float()).sqrt()[torch.from_numpy(self._ends()[0])]
        self.values.copy_(self.from_canonical(canonical.to(self.values)))

    @torch.no_grad()
    def rescale(self) -> None:
        """Multiply the values of each target by the square root of the dense fan-in over its real one.

        So its output keeps the variance that it had with all weights, for independent weights and inputs of one
        variance each. O(size of values).
        """
        factors = (self.reach / self.fan_in().clamp(min=1)).sqrt()[torch.from_numpy(self._ends()[0])]
        self.values.mul_(self.from_canonical(factors.to(self.values)))

    def fan_in(self) -> Tensor:
        """Count the weights that reach each target, shape (targets,), int64, on the CPU. O(size of values)."""
        return torch.from_numpy(np.bincount(self._ends()[0], minlength=self.targets))

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
        each = self._weights_of_an_edge
        if each > 1:
            origin = torch.where(origin[:, None] < 0, -1, origin[:, None] * each + torch.arange(each)).flatten()
        moved = carried_over(self.to_canonical(self.values), origin)
        new = self._with_edges(
            layer,
            bias=self.bias is not None,
            kernel=self.kernel if self.kernel in ("csr", "native", "masked") else "csr",  # the others need a structure
            device=self.values.device,
            dtype=self.values.dtype,
            generator=torch.Generator(),  # the draw is overwritten
        )
        new.source, new.init, new.training = self.source, self.init, self.training
        self.values.data = new.from_canonical(moved)
        kept = {name: value for name, value in vars(self).items() if "hooks" in name or name == "_parameters"}
        vars(self).update(vars(new) | kept)
        return origin

    @abstractmethod
    def _with_edges(self, layer: Layer, **settings: Any) -> SparseModule:
        """A layer like this one with other edges and values."""

    def to_canonical(self, tensor: Tensor) -> Tensor:
        """Return a tensor laid out as `values` in canonical order, shape (weights,)."""
        canonical = self._plan.to_canonical(tensor)
        return canonical if self._order is None else canonical[self._order]

    def from_canonical(self, canonical: Tensor) -> Tensor:
        """Return a tensor in canonical order, shape (weights,), laid out as `values`."""
        if self._order is not None:
            canonical = torch.empty_like(canonical).index_copy_(0, self._order, canonical)
        return self._plan.from_canonical(canonical)

    @torch.no_grad()
    def dense(self) -> nn.Module:
        """Return a module of torch that computes the same, with weights that are 0 off the edges.

        Raises:
            TooLargeError: there is not enough free memory.
        """
        module = self._dense_on_meta()
        module.weight = nn.Parameter(self.dense_weight(), requires_grad=self.values.requires_grad)
        if self.bias is not None:
            module.bias = nn.Parameter(self.bias.clone(), requires_grad=self.bias.requires_grad)
        return module

    @abstractmethod
    def _dense_on_meta(self) -> nn.Linear | nn.Conv2d:
        """A dense layer of the same settings on the meta device."""

    @torch.no_grad()
    def dense_weight(self) -> Tensor:
        """Return the weight of a dense layer that does the same, of shape `dense_shape`: 0 off the edges.

        Raises:
            TooLargeError: not enough free memory.
        """
        require_memory(self.dense_weights * self.values.element_size(), "a dense weight")
        weight = self.values.new_zeros(self.targets, self.reach)
        weight[self._places()] = self.to_canonical(self.values)
        return weight.reshape(self.dense_shape)

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Take the values of a dense layer's weight, of shape `dense_shape`, at the edges."""
        weight = weight.to(self.values).reshape(self.targets, -1)
        self.values.copy_(self.from_canonical(weight[self._places()]))

    @property
    def weight(self) -> Tensor:
        """The weight as a sparse CSR tensor, shape (out, in), of a convolution (out, in * rows * columns).

        It is a copy, differentiable in the values: what changes it, as torch.nn.init does, leaves the layer as it was.
        To change the layer, use `reset_parameters`, `take` or `values`. O(edges log edges).
        """
        ends = torch.from_numpy(np.stack(self._ends())).to(self.values.device)
        shape = (self.targets, self.reach * self.groups)
        weight = torch.sparse_coo_tensor(ends, self.to_canonical(self.values), shape, check_invariants=False)
        return weight.to_sparse_csr()

    @property
    def _weights_of_an_edge(self) -> int:
        return self.weights // max(self.edges, 1)

    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Target and source of each weight in canonical order; the weights of an edge are neighbours."""
        each = self._weights_of_an_edge
        sources = self._layer.sources[:, None] * each + np.arange(each)
        return self._layer.targets.repeat(each), sources.ravel()

    def _places(self) -> tuple[Tensor, Tensor]:
        """Row and column of each weight in a dense one of shape (targets, reach), in canonical order."""
        rows, sources = self._ends()
        columns = sources % self.reach  # in groups they are counted from the group's first
        return torch.from_numpy(rows).to(self.values.device), torch.from_numpy(columns).to(self.values.device)

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

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "values"] = self.to_canonical(destination[prefix + "values"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        error_msgs: list[str] = others[-1]
        values, digest = state_dict.get(prefix + "values"), state_dict.get(prefix + "digest")
        if digest is not None and digest.tolist() != self.digest.tolist():
            error_msgs.append(
                f"{prefix}values belong to other edges (SHA-256 {_hex(digest)}; this layer has {_hex(self.digest)}): "
                "build the layer from the topology they were saved with"
            )
        elif values is not None and values.shape != (self.weights,):
            error_msgs.append(
                f"{prefix}values has shape {tuple(values.shape)}; this layer has {counted(self.weights, 'weight')}"
            )
        else:
            if values is not None:  # torch passes a dict of its own, so the caller's is not changed
                state_dict[prefix + "values"] = self.from_canonical(values.to(self.values.device))
            super()._load_from_state_dict(state_dict, prefix, *others)


def carried_over(canonical: Tensor, origin: Tensor) -> Tensor:
    """Return numbers of old weights as those of new ones, 0 for weights that are new: see `SparseModule.rewire`.

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
    origin = np.full(new.size, -1)
    _, places, kept = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    origin[kept] = places
    return torch.from_numpy(origin)


def _hex(digest: Tensor) -> str:
    return bytes(digest.tolist()).hex()[:12]
