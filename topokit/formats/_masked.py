"""Masks put onto a file of weights: a copy of it in which the weights off the edges are 0."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topokit.convolutions import shown
from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit.extraction.rules import require_numbers
from topokit.formats._masks import require_safetensors
from topokit.formats._stored import stored
from topokit.formats._tensors import places
from topokit.formats._writing import replacing
from topokit.masking import checked_masks

_WITH_NAN = {"F16", "BF16", "F32", "F64"}
"""Types of which NumPy can say what is not a number."""


def parameter_shapes(path: str | Path, names: list[str]) -> list[tuple[int, ...]]:
    """The shapes of some parameters in a safetensors state dict, pruned ones (`x_orig`) included.

    Args:
        path: the state dict.
        names: of the parameters; fc1 is fc1.weight where the file has no fc1.

    Raises:
        FileFormatError: damaged, or a checkpoint or topology of ours.
        InvalidSpecError: it has no parameter of such a name, or two names mean the same one.
        TopokitError: it cannot be read.
    """
    return list(_shapes_of(path, names).values())


def _shapes_of(path: str | Path, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by its whole name; `parameter_shapes` says more."""
    file = stored(path)
    if "topokit.kind" in file.metadata:
        raise FileFormatError(
            f"{path} is no state dict but a file of topokit ({file.metadata['topokit.kind'][:20]}): give a model's own"
        )
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        if name.endswith(("_mask", "_orig")) and {f"{name[:-5]}_mask", f"{name[:-5]}_orig"} & {*file.shapes}:
            raise InvalidSpecError(f"{name} of {path} belongs to the parameter {name[:-5]}: give that name")
        known = [whole for whole in (name, f"{name}.weight") if {whole, f"{whole}_orig"} & {*file.shapes}]
        if not known:
            held = [key for key, shape in file.shapes.items() if len(shape) in (2, 4)]
            raise InvalidSpecError(f"{path} has no parameter named {name}: it has {', '.join(held[:12]) or 'none'}")
        whole = known[0]
        if whole in found:
            raise InvalidSpecError(f"two names mean {whole} of {path}: give one mask for each parameter")
        found[whole] = tuple(file.shapes.get(f"{whole}_orig", file.shapes.get(whole, ())))
    return found


def save_masked(
    source: str | Path, masks: Mapping[str, ArrayLike], path: str | Path, *, force: bool = False
) -> dict[str, int]:
    """Copy a safetensors state dict, with 0 for the weights that masks take out; all else is as it was, byte for byte.

    The pairs of torch.nn.utils.prune get the 0 in their weights and in their masks. What the file's own masks take out
    stays out: a weight is left where both masks keep it.

    Args:
        source: a safetensors file; of any types, as a 0 is a 0 in all of them.
        masks: parameter name -> 0 or 1 in the shape of the parameter; fc1 is fc1.weight where the file has no fc1.
        path: the file to write, which ends in .safetensors or has no suffix.
        force: overwrite it where it exists.

    Returns:
        Parameter's whole name -> how many weights it has left that are not masked.

    Raises:
        InvalidSpecError: no such parameter, a mask of another shape, or a path that is of another format.
        InvalidGraphError: masks that are not of 0 and 1, or weights that are not a number.
        FileFormatError: the source is damaged, or no state dict.
        OutputExistsError: the file exists, and `force` is not set.
        TopokitError: it cannot be read or written.
    """
    require_safetensors(path)
    checked = _whole_names(source, checked_masks(masks))
    held = places(Path(source))
    for name in checked:
        key = name if name in held else f"{name}_orig"
        if _bits(held[key][0]) % 8:
            raise InvalidSpecError(f"{name} in {source} has several numbers in a byte: save it as F32")
        if held[key][0] in _WITH_NAN:
            require_numbers(f"{source}: {name}", stored(source).read(key))
    left = {name: int((mask & _own_mask(source, name, mask.shape)).sum()) for name, mask in checked.items()}
    with replacing(path, force=force) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except OSError as error:
            raise TopokitError(f"cannot copy {source} to {path}: {error.strerror or error}") from error
        for name, mask in checked.items():
            for key in (name, f"{name}_orig", f"{name}_mask"):
                if key in held:
                    _clear(temporary, held[key], ~mask)
    return left


def _whole_names(source: str | Path, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """The masks by the whole names of their parameters, whose shapes they have."""
    shapes = _shapes_of(source, masks)
    for (name, shape), mask in zip(shapes.items(), masks.values(), strict=True):
        if mask.shape != shape:
            raise InvalidSpecError(
                f"the mask of {name} has the shape {shown(mask.shape)}, but {name} in {source} has {shown(shape)}: "
                "give the masks of this model"
            )
    return dict(zip(shapes, masks.values(), strict=True))


def _own_mask(source: str | Path, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """What a state dict itself keeps of a parameter."""
    file = stored(source)
    own = file.shapes.get(f"{name}_mask")
    if own is None:
        return np.ones(shape, np.bool_)
    if own != shape:
        raise FileFormatError(
            f"{source}: {name}_mask has the shape {shown(own)}, but {name} has {shown(shape)}: they must be equal"
        )
    return np.asarray(file.read(f"{name}_mask") != 0)


def _clear(path: Path, place: tuple[str, tuple[int, ...], int], where: NDArray[np.bool_]) -> None:
    """Set to 0 the numbers of a tensor `where` says so, in the file."""
    dtype, shape, start = place
    size = _bits(dtype) * math.prod(shape) // 8
    require_memory(2 * size, f"writing {path}")
    with path.open("rb+") as file:
        file.seek(start)
        numbers = np.frombuffer(bytearray(file.read(size)), np.uint8).reshape(math.prod(shape), -1)
        numbers[where.ravel()] = 0
        file.seek(start)
        file.write(numbers.tobytes())


def _bits(dtype: str) -> int:
    """The size of a safetensors type, which its name says: F8_E4M3 has 8 bits."""
    digits = "".join(character for character in dtype.partition("_")[0] if character.isdigit())
    return int(digits or 8)
