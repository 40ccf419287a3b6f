"""The native library, if the package was built with one: what it computes, NumPy and torch compute more slowly.

The environment variable TOPOKIT_NATIVE limits it: "0" switches it off, "baseline", "avx2" or "avx512" names the best
instruction set that it may use. docs/native.md describes it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = Path(__file__).with_name("libtopokit.so")
ABI = 1  # TOPOKIT_ABI in native/topokit.h


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    """The library and its instruction set; or None and the reason."""
    limit = os.environ.get("TOPOKIT_NATIVE", "1")
    if limit == "0":
        return None, "TOPOKIT_NATIVE is 0"
    if not LIBRARY.exists():
        return None, "not compiled"
    try:
        found = ctypes.CDLL(str(LIBRARY))
        found.tk_isa.restype = ctypes.c_char_p
        if found.tk_abi() != ABI:
            return None, f"{LIBRARY.name} belongs to another version: install the package again"
    except (OSError, AttributeError) as error:
        return None, f"{LIBRARY.name} does not load: {error}"
    if limit != "1" and not found.tk_limit(limit.encode()):
        return None, f"TOPOKIT_NATIVE is {limit}, but must be 0, 1, baseline, avx2 or avx512"
    found.tk_run.restype = None
    return found, found.tk_isa().decode()


def native() -> ctypes.CDLL | None:
    """Return the native library; None if there is none, or it is switched off."""
    return _loaded()[0]


def description() -> str:
    """Return which native library is used, as a short text.

    >>> description().startswith(("native library: ", "no native library: "))
    True
    """
    library, text = _loaded()
    return f"native library: {text}" if library else f"no native library: {text}"


def is_canonical(indptr: NDArray[Any], indices: NDArray[Any], shape: tuple[int, int]) -> bool:
    """Return whether the library finds a layer in canonical form; False also if it cannot tell. O(edges).

    Args:
        indptr: shape (sources + 1,), uint64.
        indices: shape (edges,), uint64.
        shape: (sources, targets).
    """
    library = native()
    if library is None or indptr.shape != (shape[0] + 1,) or not _readable(indptr, indices):
        return False
    sizes = map(ctypes.c_int64, (*shape, indices.size))
    return bool(library.tk_canonical(_address(indptr), _address(indices), *sizes))


def counts(indices: NDArray[Any], targets: int) -> NDArray[np.int64] | None:
    """Return how often each target is in `indices`, shape (targets,); None if the library cannot count. O(edges)."""
    library = native()
    if library is None or not _readable(indices) or indices.size >= 2**32:
        return None
    found = np.empty(targets, np.int64)
    sizes = map(ctypes.c_int64, (indices.size, targets))
    return found if library.tk_count(_address(indices), *sizes, _address(found)) else None


def _readable(*arrays: NDArray[Any]) -> bool:
    return all(one.ndim == 1 and one.dtype == np.uint64 and one.flags.c_contiguous for one in arrays)


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
