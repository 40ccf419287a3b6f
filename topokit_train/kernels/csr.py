"""csr: one number per edge, multiplied as a matrix in compressed sparse rows (CSR)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from topokit.layered import Layer
from topokit.measures.structure import Structure
from topokit_train.kernels.base import Kernel, Plan, keep_buffers

with warnings.catch_warnings():
    # torch warns once a process that CSR is in beta, which no user can act on: the warning is spent here
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
    torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)


class CsrPlan(Plan):
    """W in compressed rows, and its transpose. Values have shape (edges,), sorted by target, then source.

    A product takes O(edges * batch) time, forward and backward, and no memory of size in * out. A nan in x
    reaches the outputs that it is connected to, and no others.
    The compressed rows of the transpose are the topology's own arrays, so its values are the canonical ones.
    12 bytes an edge (24 from 2^31 edges) beside the values.
    """

    starts: Tensor  # (out + 1,): the edges into target v are number starts[v] to starts[v + 1] - 1
    sources: Tensor  # (edges,)
    transposed_starts: Tensor  # (in + 1,)
    targets: Tensor  # (edges,)

    def __init__(self, layer: Layer):
        super().__init__()
        transposed = layer.to_scipy()
        transposed.data = np.arange(layer.edges, dtype=transposed.indices.dtype)
        weight = transposed.tocsc()
        self.number(weight.data)
        keep_buffers(self, starts=weight.indptr, sources=weight.indices)
        keep_buffers(self, transposed_starts=transposed.indptr, targets=transposed.indices)

    def operands(self, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Under autocast the values keep their type, as half precision is not faster here."""
        return x.to(values.dtype), values

    def product(self, x: Tensor, values: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        x = x.contiguous()
        return _times(self.starts, self.sources, values, x), (x,)

    def gradient_of_x(self, grad: Tensor, values: Tensor, _saved: Sequence[Tensor]) -> Tensor:
        # stored rows are several times as fast as the transpose of the others
        return _times(self.transposed_starts, self.targets, self.to_canonical(values), grad.contiguous())

    def gradient_of_values(self, grad: Tensor, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
        (x,) = saved or (x.contiguous(),)
        return _sampled(self.starts, self.sources, grad.contiguous(), x)


def _sampled(starts: Tensor, indices: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The entries of y x^T at the edges of a matrix in compressed rows."""
    if torch.compiler.is_compiling():
        sampled: Tensor = _sampled_operator(starts, indices, y, x)
        return sampled
    dtype = _precision(x.dtype)
    zeros = y.new_zeros(indices.numel(), dtype=dtype)  # not the values: even with beta=0 a nan would spread
    pattern = compressed(starts, indices, zeros, (y.shape[0], x.shape[0]))
    entries: Tensor = torch.sparse.sampled_addmm(pattern, y.to(dtype), x.T.to(dtype), beta=0)
    return entries.values().to(x.dtype)


def _times(starts: Tensor, indices: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """The product of a matrix in compressed rows and x, shape (rows, batch)."""
    exporting = torch.compiler.is_exporting()  # for programs that know torch's operators alone
    if torch.compiler.is_compiling() and not exporting:
        product: Tensor = _times_operator(starts, indices, values, x)
        return product
    if exporting or (x.device.type == "cpu" and x.dtype != torch.float64 and x.shape[1]):
        # Each row is a bag of rows of x, weighted: two to three times as fast as torch's sparse product at batch 16 to
        # 512, as that reads x without fetching ahead. In float64 it is no faster. With several threads it raises for an
        # empty batch. Detached, as it would prepare for derivatives that are not taken from it.
        x, values = x.detach(), values.detach()
        return torch.embedding_bag(x, indices, starts, per_sample_weights=values, include_last_offset=True)[0]
    dtype = _precision(x.dtype)
    matrix = compressed(starts, indices, values.to(dtype), (starts.numel() - 1, x.shape[0]))
    return (matrix @ x.to(dtype)).to(x.dtype)


# torch.compile cannot look into sparse tensors, so it calls these two as they are; each takes 16 us more so
@torch.library.custom_op("topokit::csr_times", mutates_args=())
def _times_operator(starts: Tensor, indices: Tensor, values: Tensor, x: Tensor) -> Tensor:
    return _times(starts, indices, values, x)


@torch.library.custom_op("topokit::csr_sampled", mutates_args=())
def _sampled_operator(starts: Tensor, indices: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return _sampled(starts, indices, y, x)


_times_operator.register_fake(lambda starts, _indices, _values, x: x.new_empty(starts.shape[0] - 1, x.shape[1]))
_sampled_operator.register_fake(lambda _starts, indices, _y, x: x.new_empty(indices.shape[0]))


def compressed(starts: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a matrix in compressed sparse rows, differentiable in its values, which are not copied."""
    return torch.sparse_csr_tensor(starts, indices, values, shape, check_invariants=False)


def _precision(dtype: torch.dtype) -> torch.dtype:
    """The type in which torch's sparse products compute: they do not support half precision."""
    return torch.promote_types(dtype, torch.float32)


# microseconds for a step, per node, per edge, and per edge and image; see `Kernel`
_COST = {"cpu": (239, 0.048, 3.1e-3, 2.1e-4), "cuda": (19, 0, 0, 7.5e-6)}


def cost(layer: Layer, _found: Structure, device: str, batch: int) -> float:
    """See `Kernel`. O(1)."""
    fixed, per_node, per_edge, per_product = _COST[device]
    return fixed + per_node * sum(layer.shape) + (per_edge + per_product * batch) * layer.edges


KERNEL = Kernel("csr", CsrPlan, ("cpu", "cuda"), (torch.float32, torch.float64, torch.bfloat16), cost)
