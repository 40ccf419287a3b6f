"""Torch checkpoints of torch.save: a state dict, alone or in nested dictionaries. Only tensors are unpickled."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
"""Depth of nested dictionaries in which tensors are searched for."""


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
    return _weights(_loaded(path), path)


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


def _weights(loaded: object, path: Path) -> Weights:
    """Return the weights in a checkpoint: those of its state dict, with the masks beside it, and those outside it.

    The state dict is the dictionary under the first of the keys NESTED or, without these keys, the whole checkpoint.
    The names of tensors outside it begin with their keys. If some of them are copies of weights in the state dict, such
    as averages, its names begin with its keys too, and all weights are chosen by default, so that the user is asked for
    one copy. Otherwise only those of the state dict are chosen by default.
    """
    _require_names(loaded, path)
    keys = _keys_of_state(loaded, DEPTH)
    owner = "".join(f"{key}." for key in keys)
    everything = dict(_flat(loaded, DEPTH)) if isinstance(loaded, Mapping) else {}
    state = {name.removeprefix(owner): one for name, one in everything.items() if name.startswith(owner)}
    if not state:
        what = f"a {type(loaded).__name__}"
        if isinstance(loaded, Mapping):
            what = f"a dictionary of {', '.join(str(key)[:40] for key in list(loaded)[:8]) or 'nothing'}"
        raise FileFormatError(f"{path} has {what}, but no state dict: save one, torch.save(model.state_dict(), ...)")
    others = {name: one for name, one in everything.items() if not name.startswith(owner)}
    beside_state = _masks_of(loaded, keys)
    masks = dict(_masks(beside_state, state, path))
    unused = named_parts(dict(_unused(loaded, beside_state)), path).parts
    why = dict.fromkeys(unused, "masks are read only beside the state dict, or in a dictionary around it")
    if _has_copies(others, state):
        everything |= {owner + name: mask for name, mask in masks.items()}
        found = named_parts(everything, path)
        return replace(
            found,
            parts={**found.parts, **unused},
            skipped={**found.skipped, **why},
            models=tuple(_models(loaded, DEPTH)),
        )
    found = named_parts(state | masks, path)
    beside = named_parts(others, path).parts
    reason = f"it is not in the state dict {owner[:-1]}, which was read"
    return replace(
        found,
        parts={**found.parts, **{name: part for name, part in {**beside, **unused}.items() if name not in found.parts}},
        skipped={**dict.fromkeys(beside, reason), **why, **found.skipped},
        models=tuple(one.removeprefix(owner) for one in _models(loaded, DEPTH) if one.startswith(owner)),
    )


def _keys_of_state(value: object, depth: int) -> tuple[str, ...]:
    """Return the keys of the first state dict in nested dictionaries; none if it is the dictionary itself."""
    for key in NESTED if isinstance(value, Mapping) and depth else ():
        inner = value.get(key)  # type: ignore[attr-defined]
        if isinstance(inner, Mapping) and any(_flat(inner, depth - 1)):
            return key, *_keys_of_state(inner, depth - 1)
    return ()


def _masks_of(loaded: object, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return the masks beside a state dict, or in the innermost dictionary around it that has some."""
    around = [loaded]
    for key in keys:
        around.append(around[-1][key])  # type: ignore[index]
    here = (one[key] for one in reversed(around) if isinstance(one, Mapping) for key in MASKS if key in one)
    return next((one for one in here if isinstance(one, Mapping) and one), {})


def _require_names(value: object, path: Path, depth: int = DEPTH) -> None:
    """Refuse masks without the names of their parameters, in lists or under numbers, in nested dictionaries."""
    import torch

    for name, entry in value.items() if isinstance(value, Mapping) and depth else ():
        named = isinstance(entry, Mapping) and all(isinstance(key, str) for key in entry)
        several = entry.values() if isinstance(entry, Mapping) else entry if isinstance(entry, list | tuple) else ()
        if name in MASKS and not named and any(isinstance(one, torch.Tensor) for one in several):
            raise FileFormatError(
                f"{path} has masks in {name} without the names of their parameters: save a dictionary with the names, "
                f"or remove {name}"
            )
        _require_names(entry, path, depth - 1)


def _unused(value: object, used: Mapping[str, Any], depth: int = DEPTH, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of all masks in nested dictionaries but those that are used."""
    for name, entry in value.items() if isinstance(value, Mapping) and depth else ():
        if not isinstance(name, str) or not isinstance(entry, Mapping) or "optim" in name or entry is used:
            continue
        inside = f"{prefix}{name}."
        yield from _flat(entry, depth, inside) if name in MASKS else _unused(entry, used, depth - 1, inside)


def _masks(masks: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Yield masks by the names of their parameters, with the ending `_mask`."""
    bare = unwrapped(state)
    for name, mask in _flat(masks, DEPTH):
        (short,) = unwrapped([name.removesuffix("_mask")])
        names = (short, f"{short}.weight", f"{short}_orig", f"{short}.weight_orig")
        whole = next((bare[one].removesuffix("_orig") for one in names if one in bare), None)
        if whole is None:
            raise FileFormatError(f"{path} has a mask {name}, but no parameter {short}: rename the mask, or remove it")
        yield f"{whole}_mask", mask


def _models(value: object, depth: int, prefix: str = "") -> Iterator[str]:
    """Yield the prefix of the names of the tensors in each state dict of nested dictionaries.

    The names in a state dict have dots, unlike those in a dictionary of which each entry is a module.
    """
    if not isinstance(value, Mapping) or not depth or "optim" in prefix:
        return
    if any(isinstance(name, str) and "." in name for name in value):
        yield prefix
    else:
        for name, entry in value.items():
            if isinstance(name, str) and name not in MASKS:
                yield from _models(entry, depth - 1, f"{prefix}{name}.")


def _has_copies(others: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Return whether some of the other tensors have the name and shape of a weight in the state dict."""
    plain = {name: one for name, one in state.items() if not one.is_nested and one.dim() > 1}
    weights = {(name.removesuffix("_orig"), state[whole].shape) for name, whole in unwrapped(plain).items()}
    known = {(name.removesuffix("_orig"), one.shape) for name, one in others.items() if not one.is_nested}
    return any((end, shape) in weights for name, shape in known for end in _ends(name))


def _ends(name: str) -> list[str]:
    """Return the name without its first word, without its first two words, and so on."""
    parts = name.split(".")
    return [".".join(parts[k:]) for k in range(1, len(parts))]


def _flat(value: Mapping[Any, Any], depth: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors in nested dictionaries, by their keys with dots; not masks, nor those of an optimizer."""
    import torch

    for name, entry in value.items():
        if not isinstance(name, str) or (name in MASKS and (not prefix or isinstance(entry, Mapping))):
            continue
        if isinstance(entry, torch.Tensor):
            yield prefix + name, entry
        elif isinstance(entry, Mapping) and depth > 1 and "optim" not in name:
            yield from _flat(entry, depth - 1, f"{prefix}{name}.")


READER = Reader(
    begins=lambda start: start[:4] == b"PK\x03\x04" or start[:1] == b"\x80",
    read=read,
)
