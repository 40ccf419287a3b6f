"""Every way of multiplying by a layer with the same values: dense, masked, torch's formats, kernels, peers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Container
from functools import partial

import torch
from _peers import PEERS, Way, targets_and_sources, versions, with_values
from torch import Tensor
from torch.nn import functional

from topokit.layered import Layer
from topokit.measures.structure import structure
from topokit_train.kernels import KERNELS

warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)  # torch's notice that CSR is in beta
GATHERED = 2**24  # numbers, 64 MiB: a peer that copies the input for each edge is left out where that is more


def _dense(weight: Tensor) -> Way:
    dense = weight.to_dense().requires_grad_()
    return Way(lambda x: functional.linear(x, dense), dense, features_first=False)


def _masked_dense(weight: Tensor) -> Way:
    dense = weight.to_dense()
    mask = (dense != 0).to(dense.dtype)
    dense.requires_grad_()
    return Way(lambda x: functional.linear(x, dense * mask), dense, features_first=False)


def _torch_csr(weight: Tensor) -> Way:
    values = weight.values().clone().requires_grad_()
    return Way(lambda x: with_values(weight, values) @ x, values, features_first=True)


def _torch_coo(weight: Tensor) -> Way:
    ends, shape = torch.stack(targets_and_sources(weight)), weight.shape
    values = weight.values().clone().requires_grad_()

    def product(x: Tensor) -> Tensor:
        matrix = torch.sparse_coo_tensor(ends, values, shape, is_coalesced=True, check_invariants=False)
        return torch.sparse.mm(matrix, x)

    return Way(product, values, features_first=True)


def _kernel(name: str, layer: Layer, weight: Tensor) -> Way:
    kernel = KERNELS[name]
    plan = kernel.prepare(layer)
    canonical = torch.from_numpy(weight.to_dense().numpy().T[layer.sources, layer.indices])
    values = plan.from_canonical(canonical).requires_grad_()
    return Way(lambda x: kernel.multiply(x, values, plan), values, features_first=True)


TORCH = {"dense": _dense, "masked dense": _masked_dense, "torch csr": _torch_csr, "torch coo": _torch_coo}
NAMES = (*TORCH, *(f"topokit {name}" for name in KERNELS), *PEERS)


def ways(layer: Layer, batch: int) -> dict[str, Callable[[Tensor], Way]]:
    """What can multiply by this layer, each a function of W, which is a CSR tensor of shape (out, in).

    Left out are kernels whose cost for it is infinite, and peers that would gather more than GATHERED numbers.
    """
    found: dict[str, Callable[[Tensor], Way]] = dict(TORCH)
    form = structure(layer)
    for name, kernel in KERNELS.items():
        if kernel.cost(layer, form, "cpu", batch) < float("inf"):
            found[f"topokit {name}"] = partial(_kernel, name, layer)
    for name in versions():
        if not (PEERS[name].gathers and layer.edges * batch > GATHERED):
            found[name] = PEERS[name].build
    return found


def weight_of(layer: Layer, seed: int = 0) -> Tensor:
    """W as a CSR tensor of shape (out, in), its values drawn from a normal distribution."""
    pattern = layer.to_scipy().T.tocsr()
    pattern.sort_indices()
    values = torch.randn(layer.edges, generator=torch.Generator().manual_seed(seed))
    starts, columns = (torch.from_numpy(array.astype("int64")) for array in (pattern.indptr, pattern.indices))
    return torch.sparse_csr_tensor(starts, columns, values, pattern.shape, check_invariants=False)


def step_of(way: Way, x: Tensor, grad: Tensor, first: bool) -> tuple[Callable[[], Tensor], Tensor]:
    """A training step that returns y, and the input it works on; both in the layout of the way.

    Args:
        way: the layer.
        x: the input, shape (batch, in).
        grad: the gradient of the output, shape (batch, out).
        first: the layer is its network's first, so the input needs no gradient.
    """
    x, grad = (tensor.T.contiguous() if way.features_first else tensor.clone() for tensor in (x, grad))
    x.requires_grad_(not first)

    def step() -> Tensor:
        x.grad = way.weight.grad = None
        y = way.product(x)
        y.backward(grad)
        return y.detach()

    return step, x


def steps(layer: Layer, batch: int, first: bool, names: Container[str]) -> dict[str, Callable[[], Tensor]]:
    """A training step of the dense way and of those named, once taken and compared with the dense one.

    Raises:
        SystemExit: a way's output, or its gradient of the input or the weight, is not the dense layer's.
    """
    weight = weight_of(layer)
    random = torch.Generator().manual_seed(1)
    x, grad = (torch.randn(batch, width, generator=random) for width in layer.shape)
    wanted, found = None, {}
    for name, build in ways(layer, batch).items():
        if name != "dense" and name not in names:
            continue
        way = build(weight)
        step, own_x = step_of(way, x, grad, first)
        y = step()
        # the parameter's order differs from way to way, so the sum of squares at the edges is what can be compared
        edges = way.weight.grad[weight.to_dense() != 0] if name == "dense" else way.weight.grad
        seen = [y.T if way.features_first else y, edges.square().sum()]
        if not first:
            seen.append(own_x.grad.T if way.features_first else own_x.grad)
        wanted = wanted or seen
        if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(seen, wanted, strict=True)):
            raise SystemExit(f"{name} does not give what the dense layer gives")
        found[name] = step
    gc.collect()
    return found
