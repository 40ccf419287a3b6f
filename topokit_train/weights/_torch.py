"""Torch checkpoints of torch.save: a state dict, alone or in nested dictionaries. Only tensors are unpickled."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from topokit.csr import require_memory
from topokit.errors import FileFormatError, TopokitError, needing
from topokit.extraction.choosing import unwrapped
from topokit.extraction.weights import Weights
from topokit_train.reading.tensors import named_parts
from topokit_train.weights import Reader

NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "network")
"""Keys of the state dict in the checkpoints of training scripts, in order of search."""

MASKS = ("masks", "mask_dict", "mask", "weight_mask")
"""Keys of the masks beside a state dict."""

DEPTH = 4
"""Dictionaries within dictionaries in which tensors are looked for."""


def read(path: Path) -> Weights:
    """Read the weights of a torch checkpoint, or of a .pt2 program.

    Raises:
        FileFormatError: damaged, with Python objects other than tensors, or without a state dict.
        MissingDependencyError: torch is not installed.
        TooLargeError: not enough free memory.
    """
    if any(member.filename.endswith("models/model.json") for member in _members(path)):
        with needing("a .pt2 program"):
            from topokit_train.reading._programs import read_program
        return read_program(path)
    return named_parts(_tensors(_loaded(path), path), path)


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


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of a zip archive; none of another file."""
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise FileFormatError(f"{path} is damaged ({error}): get it again from its source") from error


def _require_archive(path: Path) -> None:
    """Refuse a zip archive that torch.save did not write, or that does not fit into memory when unpacked."""
    members = _members(path)
    if not members:
        return  # written by torch before 1.6, or damaged
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
    """Return the tensors of the state dict in a checkpoint, by name, and the masks beside it as `name_mask`."""
    tensors, owner = _state(loaded, DEPTH)
    if not tensors:
        found = f"a {type(loaded).__name__}"
        if isinstance(loaded, Mapping):
            found = f"a dictionary of {', '.join(str(key)[:40] for key in list(loaded)[:8]) or 'nothing'}"
        raise FileFormatError(f"{path} has {found}, but no state dict: save one, torch.save(model.state_dict(), ...)")
    if isinstance(loaded, Mapping):
        bare = unwrapped(tensors)
        for name, mask in _flat(_masks_beside(loaded, DEPTH), DEPTH):
            (short,) = unwrapped([owner + name.removesuffix("_mask")])
            names = (short, f"{short}.weight", f"{short}_orig", f"{short}.weight_orig")
            whole = next((bare[one].removesuffix("_orig") for one in names if one in bare), None)
            if whole is None:
                raise FileFormatError(
                    f"{path} has a mask {name}, but no parameter {short}: rename the mask, or remove it"
                )
            tensors[f"{whole}_mask"] = mask
    return tensors


def _state(value: object, depth: int) -> tuple[dict[str, Any], str]:
    """Return the tensors of the first state dict in nested dictionaries; none if there is no state dict.

    If a dictionary beside it has weights of the same names and shapes, such as an average of them, the tensors of both
    are returned: all names then begin with the keys of their dictionaries, and the second value is the first key and a
    dot. Otherwise it is "".
    """
    if not isinstance(value, Mapping) or not depth:
        return {}, ""
    for key in NESTED:
        state, owner = _state(value.get(key), depth - 1)
        if state:
            everything = dict(_flat(value, depth))
            others = {name: one for name, one in everything.items() if not name.startswith(f"{key}.")}
            return (everything, f"{key}.{owner}") if _has_copies(others, state) else (state, owner)
    return dict(_flat(value, depth)), ""


def _masks_beside(value: object, depth: int) -> Mapping[Any, Any]:
    """Return the masks beside the first state dict in nested dictionaries, or beside a dictionary around it."""
    if not isinstance(value, Mapping) or not depth:
        return {}
    here = (value[key] for key in MASKS if isinstance(value.get(key), Mapping))
    inside = (_masks_beside(value.get(key), depth - 1) for key in NESTED)
    return next((found for found in (*here, *inside) if found), {})


def _has_copies(others: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether the other tensors have the name and shape of a matrix or of filters in a state dict."""
    weights = {(name, state[whole].shape) for name, whole in unwrapped(state).items() if state[whole].dim() > 1}
    return any((end, one.shape) in weights for name, one in others.items() for end in _ends(name))


def _ends(name: str) -> list[str]:
    """Return the name without its first word, without its first two words, and so on."""
    parts = name.split(".")
    return [".".join(parts[k:]) for k in range(1, len(parts))]


def _flat(value: Mapping[Any, Any], depth: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors in nested dictionaries, the keys joined by dots; none of masks or of an optimizer."""
    import torch

    for name, entry in value.items():
        if not isinstance(name, str) or (not prefix and name in MASKS):
            continue
        if isinstance(entry, torch.Tensor):
            yield prefix + name, entry
        elif isinstance(entry, Mapping) and depth > 1 and "optim" not in name:
            yield from _flat(entry, depth - 1, f"{prefix}{name}.")


READER = Reader(
    begins=lambda start: start[:4] == b"PK\x03\x04" or start[:1] == b"\x80",
    read=read,
)
