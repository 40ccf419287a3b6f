"""What the names in a state dict say: pairs of weights and masks, norms, quantised and packed weights, layouts."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Shape, shown
from topokit.errors import InvalidGraphError
from topokit.extraction.weights import EMBEDDING, Part, Read, Weights

Array = NDArray[Any]
Shapes = Mapping[str, Shape]

PACKED = ("absmax", "bitmask", "compressed", "qweight", "_packed", "quant_state", "quant_map")
"""Parts of the names that programs give to the arrays of packed or compressed weights."""

_PARAMETRIZED = re.compile(r"(.*?)(?:\.)?parametrizations\.(\w+)\.(original[01]?|\d+\.(?:mask|_u|_v))")
_NORM = re.compile(r"norm(?!als?\b|als?_)|(^|[._])(ln|bn)_?\w{0,2}\.", re.IGNORECASE)
_EMBEDDING = re.compile(r"(^|[._])((?!un)\w*emb\w*(?<!_out)|tok(ens?)?|wte|wpe|pos)(\.weight)?$", re.IGNORECASE)
_CONV1D = re.compile(r"(^|\.)(c_attn|c_fc)\.weight$")
_OF_GPT2 = re.compile(r"(^|\.)(c_attn|c_fc|c_proj|q_attn)\.weight$")
_GPT2 = re.compile(r"(?:^|\.)(wte|wpe|lm_head|h\.(\d+)\.(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj))\.weight$")
_TABLE = re.compile(r"bias|index|mask|table|_ids?$")
_KERNEL = re.compile(r"(^|[./_])(depthwise_|pointwise_)?kernel(:0)?$")


def state_dict(shapes: Shapes, read: Callable[[str], Array]) -> Weights:
    """Return the weights of a state dict: all tensors of two to five dimensions that can be layers.

    Known by name: the pairs of torch.nn.utils.prune, `x_orig` and `x_mask`, also a mask beside a plain x, or alone;
    `mask` beside `weight`; torch's parametrizations, weight_norm and spectral_norm; `x_zero_point` and `x_scale` of
    quantised weights; packed weights; norms; embeddings; kernels of Keras and Flax, and GPT-2's Conv1D. Parameters
    named `weight` or `kernel` are layers; in a file of masks alone, all masks are.

    Args:
        shapes: tensor name -> shape, in the order of the layers.
        read: reads a tensor by its name.

    Raises:
        InvalidGraphError: a mask has another shape than its weight.
    """
    parts: dict[str, Part] = {}
    refused, skipped = dict(packed_weights(shapes)), {}
    for name in shapes:
        stem = stem_of(name, shapes)
        if stem and stem not in parts and stem not in refused:
            parts[stem] = _part(stem, shapes, read)
    layouts = _layouts({name: part.shape for name, part in parts.items()}, shapes)
    for name in [name for name, part in parts.items() if len(part.shape) > 1]:
        if reason := _no_layer(name, parts[name].shape):
            skipped[name] = reason
        elif name in layouts:
            one = parts[name]
            by = EMBEDDING if is_embedding(name, one.shape, shapes) else ""
            parts[name] = replace(one, layout=layouts[name], known=True, assumed=by)
    parts = {name: part for name, part in parts.items() if 1 < len(part.shape) < 6 and min(part.shape) > 0}
    masked = not any(part.weight for part in parts.values())
    default = [name for name in parts if name not in skipped and (masked or is_weight(name))]
    edgeless = [
        name.removesuffix(".values")
        for name in shapes
        if name.endswith(".values") and name.removesuffix("values") + "digest" in shapes
    ]
    return Weights(
        parts=parts,
        default=tuple(default),
        edgeless=tuple(edgeless),
        skipped=skipped,
        refused=refused,
    )


def is_weight(name: str) -> bool:
    """Return whether a name is that of a layer's weight."""
    return name.rpartition(".")[2] == "weight" or bool(_KERNEL.search(name))


def stem_of(name: str, shapes: Shapes) -> str:
    """Return the name of the weight that a tensor belongs to; "" of one that only helps to read another."""
    if match := _PARAMETRIZED.fullmatch(name):
        return f"{match[1]}.{match[2]}" if match[1] else match[2]
    for ending in ("_mask", "_orig", "_g", "_u", "_v"):
        stem = name.removesuffix(ending)
        if stem != name and (ending == "_mask" or f"{stem}_orig" in shapes or f"{stem}_g" in shapes):
            return f"{stem.removesuffix('._weight')}.weight" if stem.endswith("._weight") else stem
    if name.endswith((".mask", "_zero_point", "_scale")):
        owner = f"{name[:-5]}.weight" if name.endswith(".mask") else re.sub("_(zero_point|scale)$", "", name)
        return "" if owner in shapes else name
    return name


def _part(name: str, shapes: Shapes, read: Callable[[str], Array]) -> Part:
    """Return the weight `name`, which has a mask, or numbers, or both."""
    above, _, own = name.rpartition(".")
    inside = f"{above}.parametrizations.{own}" if above else f"parametrizations.{own}"
    numbers = _numbers(name, inside, shapes, read)
    beside = [f"{above}.mask"] if own == "weight" else []
    masks = [f"{name}_mask", *beside, f"{above}._weight_mask", f"{inside}.0.mask"]
    mask = next((key for key in masks if key in shapes), None)
    if mask is None or numbers is None:
        key = mask or name
        shape, reader = numbers or (shapes[key], partial(read, key))
        return Part(shape=shape, **{"mask" if mask else "weight": reader})  # type: ignore[arg-type]
    shape, weight = numbers
    if shapes[mask] != shape:
        raise InvalidGraphError(
            f"the mask of {name} has the shape {shown(shapes[mask])}, but its weights have {shown(shape)}: "
            "they must be equal"
        )
    return Part(shape=shape, weight=lambda: np.where(read(mask) != 0, weight(), 0), mask=partial(read, mask))


def _numbers(name: str, inside: str, shapes: Shapes, read: Callable[[str], Array]) -> tuple[Shape, Read] | None:
    """Return shape and reader of the numbers of a weight, resolved from norms and zero points; None of a mask alone."""
    for size, value in ((f"{name}_g", f"{name}_v"), (f"{inside}.original0", f"{inside}.original1")):
        if size in shapes and value in shapes:
            return shapes[value], partial(_normalised, read, (size, value))
    plain = next((key for key in (f"{name}_orig", f"{inside}.original", name) if key in shapes), None)
    if plain is None:
        return None
    for left, right in ((f"{name}_u", f"{name}_v"), (f"{inside}.0._u", f"{inside}.0._v")):
        if left in shapes and right in shapes:
            return shapes[plain], partial(_by_largest, read, (plain, left, right))
    if f"{name}_zero_point" in shapes:
        scale = f"{name}_scale" if f"{name}_scale" in shapes else None
        return shapes[plain], lambda: _dequantised(
            read(plain), read(f"{name}_zero_point"), read(scale) if scale else np.ones(1)
        )
    return shapes[plain], partial(read, plain)


def _normalised(read: Callable[[str], Array], names: tuple[str, str]) -> Array:
    """Return the weight of weight_norm: directions, scaled so that each slice has its length."""
    size, value = map(read, names)
    axes = tuple(axis for axis in range(value.ndim) if size.ndim == value.ndim and size.shape[axis] == 1)
    norm = np.sqrt((value.astype(np.float64) ** 2).sum(axis=axes, keepdims=True)) if axes else np.abs(value)
    return np.where(norm > 0, value * (size / np.where(norm > 0, norm, 1)), 0)


def _by_largest(read: Callable[[str], Array], names: tuple[str, str, str]) -> Array:
    """Return the weight of spectral_norm: divided by its largest singular value, of which the vectors are known."""
    weight, left, right = map(read, names)
    largest = float(left @ weight.reshape(len(left), -1) @ right)
    return np.asarray(weight / largest)


def _dequantised(weight: Array, zero_point: Array, scale: Array) -> Array:
    """Return the numbers of quantised weights."""
    shape = weight.shape
    return (weight.astype(np.float64) - spread(zero_point, shape)) * spread(scale, shape)


def spread(numbers: Array, shape: Shape) -> Array:
    """Return zero points or scales in a weight's shape: one is for all, a row, or a group of columns of a row.

    Raises:
        InvalidGraphError: there are as many of none of these.
    """
    if numbers.size == 1:
        return np.broadcast_to(numbers.reshape(()).astype(np.float64), shape)
    rows = numbers.reshape(numbers.shape[0], -1)
    columns = prod(shape[1:])
    if len(rows) != shape[0] or columns % rows.shape[1]:
        raise InvalidGraphError(f"zero points of the shape {shown(numbers.shape)} for {shown(shape)}")
    return rows.astype(np.float64).repeat(columns // rows.shape[1], axis=1).reshape(shape)


def packed_weights(shapes: Shapes) -> Iterator[tuple[str, str]]:
    """Yield the packed weights and the reason to refuse them."""
    for name in shapes:
        found = next((word for word in PACKED if word in name), None)
        if found:
            why = f"packed or compressed weights ({name[-60:]}): dequantise the model, and save that"
            yield name, why
            owner = name[: name.index(found)].rstrip("._")
            if owner in shapes:
                yield owner, why


def is_embedding(name: str, shape: Shape, names: Collection[str]) -> bool:
    """Return whether a weight is read as a table of embeddings: by its name alone, and if it has no bias."""
    bias = f"{name.removesuffix('weight')}bias"
    return len(shape) == 2 and bool(_EMBEDDING.search(name)) and not (name.endswith("weight") and bias in names)


def in_gpt2_order(names: Sequence[str]) -> list[str]:
    """Return the names of GPT-2's layers in the order of the model; none if some names are others."""
    found = [_GPT2.search(name) for name in names]
    if not all(found) or not any(_CONV1D.search(name) for name in names):
        return []
    keys = [(float(one[2] or (one[1] == "lm_head") * inf - 1), one[1]) for one in found if one]
    # within a block, attn.c_attn, attn.c_proj, mlp.c_fc and mlp.c_proj are in the order of the alphabet
    return [name for _, name in sorted(zip(keys, names, strict=True))]


def could_be_layer(name: str, part: Part) -> bool:
    """Return whether an array may be the weight of a layer, by its name and shape; also one not named weight."""
    own = name.rpartition(".")[2]
    plain = own != "weight" and (_EMBEDDING.search(name) or _TABLE.search(own))
    return len(part.shape) in (2, 4) and (part.mask is not None or not plain)


def _layouts(shapes: Shapes, names: Collection[str]) -> dict[str, str]:
    """Return the layouts that names say."""
    wide = [shape for name, shape in shapes.items() if _CONV1D.search(name) and len(shape) == 2]
    gpt2 = bool(wide) and all(shape[1] > shape[0] for shape in wide)
    found = {}
    for name, shape in shapes.items():
        if _KERNEL.search(name):
            found[name] = "last"
        elif is_embedding(name, shape, names) or (len(shape) == 2 and gpt2 and _OF_GPT2.search(name)):
            found[name] = "in-out"
    return found


def _no_layer(name: str, shape: Shape) -> str:
    """Return why a weight is not a layer; "" if it may be one."""
    if _NORM.search(name):
        return "a normalisation has no edges"
    if len(shape) > 5:
        return "more than five dimensions"
    return ""
