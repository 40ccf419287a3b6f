"""Torch checkpoints of torch.save: a state dict, alone or in nested dictionaries. Only tensors are unpickled."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import FileFormatError, TopokitError, needing
from topokit.extraction.weights import Weights, state_dict
from topokit_train.weights import Reader

NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "network")
"""Keys of the state dict in the checkpoints of training scripts, in order of search, up to three levels deep."""


def read(path: Path) -> Weights:
    """Read the weights of a torch checkpoint.

    Raises:
        FileFormatError: damaged, with Python objects other than tensors, or without a state dict.
        MissingDependencyError: torch is not installed.
        TooLargeError: not enough free memory.
    """
    tensors = _tensors(_loaded(path), path)

    def array(name: str) -> NDArray[Any]:
        return _array(tensors[name], name, path)

    return state_dict({name: tuple(tensor.shape) for name, tensor in tensors.items()}, array)


def _loaded(path: Path) -> object:
    with needing("a torch checkpoint"):
        import torch
    try:
        _require_archive(path)
        with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants():  # type: ignore[no-untyped-call]
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except TopokitError:
        raise
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            f"{path} is damaged or has Python objects other than tensors{_culprit(error)}; loading them could run "
            "any code, so topokit refuses: save the state dict alone, torch.save(model.state_dict(), ...)"
        ) from None
    except Exception as error:  # a manipulated file can make torch raise almost any error
        reason = str(error).partition("\n")[0].partition(". ")[0][:160] or type(error).__name__
        raise FileFormatError(f"{path} is damaged ({reason}): get it again from its source") from error


def _require_archive(path: Path) -> None:
    """Refuse a zip archive that torch.save did not write, or that does not fit into memory when unpacked."""
    if not zipfile.is_zipfile(path):
        return  # written by torch before 1.6, or damaged
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename.rpartition("/")[2] for member in members]
    if "data.pkl" not in names:
        raise FileFormatError(f"{path} is a zip archive that torch.save did not write: give a file of weights")
    if "constants.pkl" in names:
        raise FileFormatError(
            f"{path} is a TorchScript program, which topokit does not run: load it with torch.jit.load, and save its "
            "weights, torch.save(model.state_dict(), ...)"
        )
    require_memory(2 * sum(member.file_size for member in members), f"reading {path}")


def _culprit(error: Exception) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" ({found[1]})" if found else ""


def _tensors(loaded: object, path: Path) -> dict[str, Any]:
    """Return the tensors of the state dict in a checkpoint, by name."""
    tensors = _state(loaded, depth=3)
    if not tensors:
        found = f"a {type(loaded).__name__}"
        if isinstance(loaded, Mapping):
            found = f"a dictionary of {', '.join(str(key)[:40] for key in list(loaded)[:8]) or 'nothing'}"
        raise FileFormatError(f"{path} has {found}, but no state dict: save one, torch.save(model.state_dict(), ...)")
    return tensors


def _state(value: object, depth: int) -> dict[str, Any]:
    """Return the tensors of the first state dict in nested dictionaries; none if there is no state dict."""
    import torch

    if not isinstance(value, Mapping) or not depth:
        return {}
    nested = (_state(value.get(key), depth - 1) for key in NESTED)
    tensors = {name: entry for name, entry in value.items() if isinstance(entry, torch.Tensor)}
    own = tensors if all(isinstance(name, str) for name in tensors) else {}
    return next((state for state in nested if state), own)


def _array(tensor: Any, name: str, path: Path) -> NDArray[Any]:
    import torch

    if tensor.device.type == "meta":
        raise FileFormatError(f"{path}: {name} has a shape, but no numbers (device meta): save the real weights")
    require_memory(8 * tensor.numel(), f"reading {name}")  # a sparse tensor becomes dense
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()  # NumPy lacks some of these types; float32 has all of their values
    array: NDArray[Any] = np.asarray(tensor.numpy())
    return array


READER = Reader(begins=lambda start: start[:4] == b"PK\x03\x04" or start[:1] == b"\x80", read=read)
