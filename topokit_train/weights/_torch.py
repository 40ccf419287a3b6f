"""Torch checkpoints, as torch.save writes them: a state dict, alone or one level down. Only tensors are unpickled."""

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
"""Where training scripts keep the state dict in a checkpoint; looked for in this order, up to three levels down."""


def read(path: Path) -> Weights:
    """The weights of a torch checkpoint.

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
            f"{path} is damaged or holds Python objects other than tensors{_culprit(error)}; loading them could run "
            "anything, so they are not loaded: save the state dict alone, torch.save(model.state_dict(), ...)"
        ) from None
    except Exception as error:  # a file that was tampered with makes torch raise almost anything
        reason = str(error).partition("\n")[0].partition(". ")[0][:160] or type(error).__name__
        raise FileFormatError(f"{path} is damaged: {reason}: get it again from where it came from") from error


def _require_archive(path: Path) -> None:
    """Refuse a zip archive that is not one of torch.save, or that would fill the memory when unpacked."""
    if not zipfile.is_zipfile(path):
        return  # of torch before 1.6, or damaged
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename.rpartition("/")[2] for member in members]
    if "data.pkl" not in names:
        raise FileFormatError(f"{path} is a zip archive, but none of torch.save: give a file of weights")
    if "constants.pkl" in names:
        raise FileFormatError(
            f"{path} is a TorchScript program, which is not run: load it with torch.jit.load, and save its weights, "
            "torch.save(model.state_dict(), ...)"
        )
    require_memory(2 * sum(member.file_size for member in members), f"reading {path}")


def _culprit(error: Exception) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" ({found[1]})" if found else ""


def _tensors(loaded: object, path: Path) -> dict[str, Any]:
    """The tensors of the state dict that a checkpoint is or holds, by name."""
    import torch

    state = _state(loaded, depth=3)
    if state is None:
        keys = ", ".join(str(key)[:40] for key in list(loaded)[:8]) if isinstance(loaded, Mapping) else ""
        held = f"a dictionary of {keys or 'nothing'}" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise FileFormatError(f"{path} holds {held}, and no state dict: save one, torch.save(model.state_dict(), ...)")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def _state(value: object, depth: int) -> Mapping[str, Any] | None:
    import torch

    if not isinstance(value, Mapping) or not depth:
        return None
    for key in NESTED:
        found = _state(value.get(key), depth - 1)
        if found is not None:
            return found
    names = [name for name, entry in value.items() if isinstance(entry, torch.Tensor)]
    return value if names and all(isinstance(name, str) for name in names) else None


def _array(tensor: Any, name: str, path: Path) -> NDArray[Any]:
    import torch

    if tensor.device.type == "meta":
        raise FileFormatError(f"{path}: {name} has a shape and no numbers (device meta): save the model's real weights")
    require_memory(8 * tensor.numel(), f"reading {name}")  # of a sparse tensor, in full
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()  # NumPy lacks some of these types; float32 holds all of their values
    array: NDArray[Any] = np.asarray(tensor.numpy())
    return array


READER = Reader(begins=lambda start: start[:4] == b"PK\x03\x04" or start[:1] == b"\x80", read=read)
