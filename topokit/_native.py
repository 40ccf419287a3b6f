"""The native library, if the package was built with one: what it computes, NumPy and torch compute more slowly.

The environment variable TOPOKIT_NATIVE limits it: "0" switches it off, "baseline", "avx2" or "avx512" names the best
instruction set that it may use. docs/native.md describes it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

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
