"""The memory that a training step of one layer takes: what is kept between steps, what waits for backward, the peak.

The peak is the process's, as the system sees it, so it holds what any library allocates; Linux only. It is measured in
a process of its own in which glibc gives every block back at once (`ENVIRONMENT`), above what the process held before
the layer was there.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from _ways import Way, step_of, ways, weight_of
from torch import Tensor

from topokit import RadixNet
from topokit.layered import Layer

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The dense tensors that a tensor is stored as."""
    if tensor.layout == torch.sparse_csr:
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout == torch.sparse_coo:
        yield from (tensor._indices(), tensor._values())
    elif tensor.layout == torch.strided:
        yield tensor


def _storages(tensors: list[Tensor]) -> dict[int, int]:
    """Address and bytes of all memory that these tensors lie in."""
    found = (part.untyped_storage() for tensor in tensors for part in _parts(tensor))
    return {storage.data_ptr(): storage.nbytes() for storage in found}


def _living() -> dict[int, int]:
    return _storages([thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)])


def saved_bytes(way: Way, x: Tensor) -> int:
    """What the forward product keeps for the backward one, x among it; weight and index arrays are there anyway."""
    before, saved = _living(), [x.detach()]

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = way.product(x)
    # some peers hang tensors on autograd's context, which the hooks do not see
    new = {at: size for at, size in (_living() | _storages(saved)).items() if at not in before}
    for at in _storages([y]):
        new.pop(at, None)
    return sum(new.values()) + x.untyped_storage().nbytes()


def _settle() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _resident(field: str) -> int:
    """Bytes in memory now (VmRSS) or at the peak (VmHWM)."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def _train(way: Way, x: Tensor, grad: Tensor, first: bool) -> tuple[int, int]:
    """The bytes saved for backward, and the peak of the second step."""
    optimizer = torch.optim.Adam([way.weight], fused=True)
    step, own_x = step_of(way, x, grad, first)
    step()
    optimizer.step()
    saved = saved_bytes(way, own_x)
    _settle()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    step()
    optimizer.step()
    return saved, _resident("VmHWM")


def footprint(layer: Layer, batch: int, first: bool, name: str) -> dict[str, int]:
    """Bytes of one way: parameters with their gradient and Adam's state, saved for backward, peak of a step."""
    small = RadixNet(radices=[(2, 4)], kron=(8, 8, 1)).layer(0)
    if name in (there := ways(small, batch)):  # loads libraries and starts threads, which are not the layer's
        _train(there[name](weight_of(small)), torch.randn(batch, 64), torch.randn(batch, 64), first)
    x, grad = (torch.randn(batch, width) for width in layer.shape)
    build = ways(layer, batch)[name]
    _settle()
    before = _resident("VmRSS")
    way = build(weight_of(layer))
    saved, peak = _train(way, x, grad, first)
    return {"parameters": 4 * way.weight.nbytes, "saved": saved, "peak": peak - before}
