"""Masks applied to a file of weights: a copy of the file in which weights without an edge are 0."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import shown
from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit.formats._masks import require_safetensors
from topokit.formats._tensors import DTYPES, MASK, Entry, TensorFile
from topokit.formats._writing import replacing
from topokit.masking import MASK_DIMENSIONS, checked_masks

_WITH_NAN = {"F16", "BF16", "F32", "F64"}
"""Types in which NumPy finds NaN."""


def parameter_shapes(path: str | Path, names: list[str]) -> list[tuple[int, ...]]:
    """Return the shapes of some parameters in a safetensors state dict, pruned ones (`x_orig`) included.

    Args:
        path: the state dict.
        names: of the parameters; fc1 means fc1.weight if the file has no fc1.

    Raises:
        FileFormatError: the file is damaged, or a file of topokit.
        InvalidSpecError: it has no parameter of such a name, or two names mean the same parameter.
        TopokitError: it cannot be read.
    """
    return list(_shapes_of(TensorFile(path), names).values())


def _shapes_of(file: TensorFile, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter by its whole name; see `parameter_shapes`."""
    path, entries = file.path, file.entries
    if file.kind is not None:
        raise FileFormatError(f"{path} is not a state dict but a topokit {file.kind[:20]} file: give a model's own")
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        if name.endswith((MASK, "_orig")) and {f"{name[:-5]}{MASK}", f"{name[:-5]}_orig"} & entries.keys():
            raise InvalidSpecError(f"{name} of {path} belongs to the parameter {name[:-5]}: give that name")
        keys = {key: whole for whole in (name, f"{name}.weight") for key in (f"{whole}_orig", whole) if key in entries}
        if not keys:
            known = [key for key, shape in file.shapes.items() if len(shape) in MASK_DIMENSIONS]
            raise InvalidSpecError(f"{path} has no parameter named {name}: it has {', '.join(known[:12]) or 'none'}")
        key, whole = next(iter(keys.items()))
        if whole in found:
            raise InvalidSpecError(f"two names mean {whole} of {path}: give one mask for each parameter")
        found[whole] = entries[key].shape
    return found


def save_masked(
    source: str | Path,
    masks: Mapping[str, ArrayLike],
    path: str | Path,
    *,
    force: bool = False,
) -> dict[str, int]:
    """Copy a safetensors state dict, with 0 for the weights that masks remove; the other bytes do not change.

    In the pairs of torch.nn.utils.prune, both the weights and the masks become 0. If the file has masks of its own, a
    weight is kept only if both masks keep it.

    Args:
        source: a safetensors file, of any types that have a 0.
        masks: parameter name -> 0 or 1 in the shape of the parameter; fc1 means fc1.weight if the file has no fc1.
        path: the file to write, which ends in .safetensors or has no suffix.
        force: overwrite an existing file.

    Returns:
        Whole name of each masked parameter -> number of weights that are kept.

    Raises:
        InvalidSpecError: no such parameter, a mask of another shape, or a path with the suffix of another format.
        InvalidGraphError: a mask has values other than 0 and 1, or weights are NaN.
        FileFormatError: the source is damaged, or not a state dict.
        OutputExistsError: the file exists, and `force` is not set.
        TopokitError: a file cannot be read or written.
    """
    require_safetensors(path)
    file = TensorFile(source)
    from topokit.extraction.names import packed_weights
    from topokit.extraction.rules import require_numbers

    packed = dict(packed_weights(file.shapes))
    checked = _whole_names(file, checked_masks(masks))
    for name in checked:
        key = name if name in file.entries else f"{name}_orig"
        dtype = file.entries[key].dtype
        if name in packed:
            raise InvalidSpecError(f"{name} in {source}: {packed[name]}")
        if dtype == "F8_E8M0":
            raise InvalidSpecError(f"{name} in {source} has the type F8_E8M0, which has no 0: save it as F32")
        if _bits(dtype) % 8:
            raise InvalidSpecError(f"{name} in {source} has several numbers in a byte: save it as F32")
        if dtype in _WITH_NAN:
            require_numbers(f"{source}: {name}", file.read(key))
    left = {name: int((mask & _own_mask(file, name, mask.shape)).sum()) for name, mask in checked.items()}
    with replacing(path, force=force) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except OSError as error:
            raise TopokitError(f"cannot copy {source} to {path}: {error.strerror or error}") from error
        for name, mask in checked.items():
            for key in (name, f"{name}_orig", f"{name}{MASK}"):
                if key in file.entries:
                    zero = _zero_points(file, name, mask.shape) if key == name else None
                    _clear(temporary, file.entries[key], ~mask, zero)
    return left


def _whole_names(file: TensorFile, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Return the masks by the whole names of their parameters.

    Raises:
        InvalidSpecError: a mask has another shape than its parameter, or see `parameter_shapes`.
    """
    shapes = _shapes_of(file, masks)
    found = dict(zip(shapes, masks.values(), strict=True))
    for name, mask in found.items():
        if mask.shape != shapes[name]:
            raise InvalidSpecError(
                f"the mask of {name} has the shape {shown(mask.shape)}, but {name} in {file.path} has "
                f"{shown(shapes[name])}: give the masks of this model"
            )
    return found


def _own_mask(file: TensorFile, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of a parameter in the state dict itself; all True if there is none."""
    key = name + MASK
    if key not in file.entries:
        return np.ones(shape, np.bool_)
    own = file.entries[key].shape
    if own != shape:
        raise FileFormatError(
            f"{file.path}: {key} has the shape {shown(own)}, but {name} has {shown(shape)}: they must be equal"
        )
    return np.asarray(file.read(key) != 0)


def _zero_points(file: TensorFile, name: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return the number that means 0 for each quantised weight; None if the weights are not quantised.

    Raises:
        InvalidSpecError: the type of the weights does not have these numbers.
    """
    key = f"{name}_zero_point"
    if key not in file.entries:
        return None
    stored = file.entries[name].dtype
    from topokit.extraction.names import spread

    points = spread(file.read(key), shape)
    limits = np.iinfo(DTYPES[stored]) if DTYPES.get(stored, "f")[-2] in "iu" else None
    if limits is None or points.min() < limits.min or points.max() > limits.max:
        raise InvalidSpecError(f"{file.path}: {key} has numbers that {name} ({stored}) cannot hold: dequantise it")
    return np.broadcast_to(points, shape).astype(DTYPES[stored])


def _clear(path: Path, entry: Entry, where: NDArray[np.bool_], zero: NDArray[Any] | None = None) -> None:
    """Set some numbers of a tensor in a file to 0, or to the zero points `zero`: those for which `where` is True."""
    dtype, shape, start = entry
    size = _bits(dtype) * math.prod(shape) // 8
    require_memory(2 * size, f"writing {path}")
    with path.open("rb+") as file:
        file.seek(start)
        numbers = np.frombuffer(bytearray(file.read(size)), np.uint8).reshape(math.prod(shape), -1)
        if zero is None:
            numbers[where.ravel()] = 0
        else:
            zeros = np.ascontiguousarray(zero).view(np.uint8).reshape(numbers.shape)
            numbers[where.ravel()] = zeros[where.ravel()]
        file.seek(start)
        file.write(numbers.tobytes())


def _bits(dtype: str) -> int:
    """Return the bits of a number, from the name of its safetensors type: F8_E4M3 has 8."""
    digits = "".join(character for character in dtype.partition("_")[0] if character.isdigit())
    return int(digits or 8)
