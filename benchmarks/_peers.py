"""Other packages' sparse layers with a given wiring. One that is not installed is left out.

Each is timed in the layout it wants. Where a package's layer draws a wiring of its own, the function under that
layer is used, which spares it its transposes. What else was tried, and why it is not here, is told in
docs/benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

import torch
from torch import Tensor


class Way(NamedTuple):
    """A layer ready to be multiplied by.

    Args:
        product: x -> y = x W^T, differentiable in x and in the weight.
        weight: the parameter, a leaf of autograd.
        features_first: x and y have shape (features, batch), not (batch, features).
    """

    product: Callable[[Tensor], Tensor]
    weight: Tensor
    features_first: bool


class Peer(NamedTuple):
    """A package.

    Args:
        build: W, a CSR tensor of shape (out, in) -> Way.
        gathers: whether a step copies the input once for each edge.
    """

    build: Callable[[Tensor], Way]
    gathers: bool = False


def targets_and_sources(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both ends of each edge, sorted by target, then source."""
    counts = weight.crow_indices().diff()
    return torch.repeat_interleave(torch.arange(weight.shape[0]), counts), weight.col_indices()


def with_values(weight: Tensor, values: Tensor) -> Tensor:
    """The same wiring with other values, differentiable in them."""
    return torch.sparse_csr_tensor(
        weight.crow_indices(), weight.col_indices(), values, weight.shape, check_invariants=False
    )


def _sparseprop(weight: Tensor) -> Way:
    from sparseprop.modules.linear import SparseLinear

    layer = SparseLinear(weight.to_dense())
    return Way(layer, layer.W_val, features_first=False)


def _sparselab(weight: Tensor) -> Way:
    import sparselab
    from sparselab.ops import _SpMMFunction

    padded = sparselab.PaddedCSR.from_torch_sparse_csr(weight, padding_ratio=0)
    values = torch.from_numpy(padded.values).requires_grad_()
    return Way(lambda x: _SpMMFunction.apply(values, padded, x, "simd"), values, features_first=True)


def _torch_sparse(weight: Tensor) -> Way:
    from torch_sparse import SparseTensor

    pattern = SparseTensor(rowptr=weight.crow_indices(), col=weight.col_indices(), sparse_sizes=tuple(weight.shape))
    pattern.fill_cache_()  # the transpose's order, once
    values = weight.values().clone().requires_grad_()
    return Way(lambda x: pattern.set_value(values, layout="coo") @ x, values, features_first=True)


def _sparselinear(weight: Tensor) -> Way:
    from sparselinear import SparseLinear

    targets, sources = weight.shape
    layer = SparseLinear(sources, targets, bias=False, connectivity=torch.stack(targets_and_sources(weight)))
    layer.weights.data = weight.values().clone()
    return Way(layer, layer.weights, features_first=False)


def _kpnn2(weight: Tensor) -> Way:
    from kpnn2 import PackedLinear

    targets, sources = targets_and_sources(weight)
    layer = PackedLinear(sources, targets, *weight.shape, bias=False)
    layer.weight.data = weight.values().clone()
    return Way(layer, layer.weight, features_first=False)


def _torchsparsegradutils(weight: Tensor) -> Way:
    from torchsparsegradutils import sparse_mm

    values = weight.values().clone().requires_grad_()
    return Way(lambda x: sparse_mm(with_values(weight, values), x), values, features_first=True)


PEERS = {
    "sparseprop": Peer(_sparseprop),
    "sparselab": Peer(_sparselab),
    "torch-sparse": Peer(_torch_sparse),
    "sparselinear": Peer(_sparselinear, gathers=True),
    "kpnn2": Peer(_kpnn2, gathers=True),
    "torchsparsegradutils": Peer(_torchsparsegradutils, gathers=True),
}


@cache
def versions() -> dict[str, str]:
    """The versions of the peers that can be imported."""
    found = {}
    for name in PEERS:
        try:
            import_module(name.replace("-", "_"))
        except (ImportError, OSError):  # not installed, or something that it needs is not
            continue
        found[name] = version(name)
    return found
