"""The canonical format: one safetensors file, written layer by layer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import break_in
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit.fields import path_of
from topokit.formats._format import EXTRACT, Format, chain_key, damaged, in_run, listed, parse_widths, require_room
from topokit.formats._masks import read_masks, read_parameters, require_safetensors
from topokit.formats._tensors import MASK, SCHEMA, TensorFile, header
from topokit.formats._writing import replacing
from topokit.layered import Layered, Promises, Recipe
from topokit.masking import MASK_DIMENSIONS, Masks, Parameter, chains_of, checked_masks, from_masks, oriented
from topokit.recipes import from_recipe
from topokit.reprs import counted
from topokit.topologies import Topology, combined_digest, fingerprint, layer_digest

BY_SHAPE = "masks do not say how layers are connected: these are in series by their order and shapes alone"
"""The message to the user about a topology of masks."""

SEVERAL_BY_SHAPE = (
    "masks do not say how layers are connected: these are in several chains by their order and shapes alone"
)
"""The message to the user about several topologies of a file of masks."""

_BLOCK = 1 << 20  # edges narrowed to uint32 at a time


def write(net: Layered, path: Path) -> str:
    """Write a network in one pass, with one layer in memory, and return its fingerprint."""
    return _write([net], path)[0]


def _write(nets: Sequence[Layered], path: Path, **more: str) -> tuple[str, ...]:
    """Write networks, and more metadata, in one pass, with one layer in memory, and return their fingerprints.

    All sizes are known beforehand, so the header is written first. It has placeholders for the fingerprints, which are
    overwritten at the end. All uint64 tensors precede the uint32 ones, as the library orders them, so all are aligned.
    """
    named = list(zip(_prefixes(nets), nets, strict=True))
    tensors = [
        (f"{k}layer.{i}.indptr", "U64", (width + 1,)) for k, net in named for i, width in enumerate(net.widths[:-1])
    ]
    sources = sum(size for _, _, (size,) in tensors)
    tensors += [(f"{k}layer.{i}.indices", "U32", (n,)) for k, net in named for i, n in enumerate(net.layer_edges)]
    recorded = []
    with path.open("wb") as file:
        sources_at = file.write(header(tensors, _metadata(nets, ["0" * 64] * len(nets)) | more))
        targets_at = sources_at + 8 * sources
        for net in nets:
            digests: list[bytes] = []
            for i, layer in enumerate(net.stream()):
                sources_at = _write_at(file, sources_at, layer.indptr, "<u8")
                targets_at = _write_at(file, targets_at, layer.indices, "<u4")
                first = net.same_layer(i)
                digests.append(digests[first] if first < i else layer_digest(layer))
            recorded.append(combined_digest(net.widths, digests))
        file.seek(0)
        file.write(header(tensors, _metadata(nets, recorded) | more))
    return tuple(recorded)


def _write_at(file: BinaryIO, place: int, values: NDArray[np.uint64], dtype: str) -> int:
    file.seek(place)
    for start in range(0, values.size, _BLOCK):
        place += file.write(values[start : start + _BLOCK].astype(dtype).data)
    return place


def _metadata(nets: Sequence[Layered], recorded: Sequence[str], kind: str = "topology") -> dict[str, str]:
    described = [_description(net, one) for net, one in zip(nets, recorded, strict=True)]
    about = described[0] if len(nets) == 1 else {"topologies": json.dumps(described)}
    return {"topokit.kind": kind, "topokit.schema": str(SCHEMA), **about}


def _description(net: Layered, recorded: str) -> dict[str, str]:
    about = {"fingerprint": recorded, "widths": json.dumps(net.widths)}
    known = {"recipe": net.recipe, "names": net.names or None}
    about |= {key: json.dumps(value) for key, value in known.items() if value is not None}
    return about | ({"conv": "channel"} if net.by_channel and not _by_channel(net.recipe, {}) else {})


def save_all(
    nets: Sequence[Layered], path: str | Path, joints: Sequence[Any] | None = None, *, force: bool = False
) -> tuple[str, ...]:
    """Write one or several topologies, and how they are connected, to a safetensors file, which `load_all` reads.

    Args:
        nets: at least one.
        path: the file to write, which ends in .safetensors or has no suffix.
        joints: how the topologies are connected, JSON-able; `read_joints` returns them. None if it is not known.
        force: overwrite an existing file.

    Returns:
        The fingerprint of each topology.

    Raises:
        InvalidSpecError: a path with the suffix of another format.
        OutputExistsError: the file exists, and `force` is not set.
        TopokitError: the file cannot be written.
    """
    require_safetensors(path)
    more = {} if joints is None else {"joints": json.dumps(joints)}
    with replacing(path, force=force) as temporary:
        return _write(nets, temporary, **more)


def read_joints(path: str | Path) -> list[dict[str, Any]] | None:
    """Return how the topologies of a file are connected: kind, and the names that it is from and to.

    None if the file does not record it, such as a checkpoint; an empty list if nothing connects them.

    Raises:
        FileFormatError: damaged, or not a safetensors file.
    """
    joints = TensorFile(in_run(path_of(path))).json("joints")
    if joints is None:
        return None
    if not isinstance(joints, list) or not all(isinstance(joint, dict) for joint in joints):
        raise FileFormatError(f"{path}: joints must be a JSON list of objects")
    return joints


def holds_several(path: str | Path) -> bool:
    """Return whether a file of topokit, or the folder of a run, has several topologies, which `load_all` reads.

    A file of masks has several if the masks are not one chain in their recorded order.
    """
    try:
        file = TensorFile(in_run(path_of(path)))
        if file.kind == "masks":
            known = read_parameters(file.path)
            shapes = [_shape(file, name, known) for name in file.masked]
            are_masks = all(len(shape) in MASK_DIMENSIONS and min(shape) > 0 for shape in shapes)
            return are_masks and break_in(shapes) is not None
        return file.kind in ("topology", "checkpoint") and "topologies" in file.metadata
    except TopokitError:
        return False


def as_tensors(*nets: Layered) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return tensors and metadata of one or several networks, for a safetensors file that also has others, as weights.

    `load` reads the topology from that file; if there are several, `load_all` does. 12 bytes an edge.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for prefix, net in zip(_prefixes(nets), nets, strict=True):
        for i, layer in enumerate(net.stream()):
            tensors[f"{prefix}layer.{i}.indptr"] = layer.indptr.copy()
            tensors[f"{prefix}layer.{i}.indices"] = layer.indices.astype(np.uint32)
    return tensors, _metadata(nets, list(map(fingerprint, nets)), kind="checkpoint")


def _prefixes(nets: Sequence[object]) -> list[str]:
    """Return the prefix of the names of each topology's tensors: "" if there is only one topology."""
    return [""] if len(nets) == 1 else [f"topology.{number}." for number in range(len(nets))]


def _shape(file: TensorFile, name: str, known: Mapping[str, Parameter]) -> tuple[int, ...]:
    """Return the shape of a mask as (out, in, ...)."""
    if name not in known:
        return file.entries[name + MASK].shape
    out, into, *filters = known[name].shape
    return (out, into * known[name].groups, *filters)


def read(path: Path) -> Topology:
    """Read a topology, the topology of a checkpoint, or masks. Everything is validated, nothing is proved.

    Cost: O(edges) time, 8 bytes an edge and up to 13 for the widest layer.

    Raises:
        FileFormatError: the file is damaged, of a later release, or contains no topology or several.
        InvalidGraphError: its arrays are not a layered graph.
        TooLargeError: not enough free memory.
    """
    file = TensorFile(path)
    found = _topologies(file)
    if not found:
        return _by_shape(from_masks(_in_order(file, _masks(file))))
    if len(found) > 1:
        raise FileFormatError(
            f"{path} holds {len(found)} topologies: give one, as in "
            f'"{quote(str(path))} chain={chain_key(found, 0)}": {listed(found)}'
        )
    return found[0]


def _in_order(file: TensorFile, masks: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return masks in the order of the layers, which is recorded in a file of ours.

    Raises:
        InvalidSpecError: the order in a file of another program is not certain.
    """
    if file.kind == "masks":
        return Masks(masks, read_parameters(file.path))
    from topokit.extraction import from_arrays
    from topokit.extraction.choosing import chosen
    from topokit.extraction.orders import arranged

    masks = checked_masks(masks)
    weights = replace(from_arrays({name + MASK: mask for name, mask in masks.items()}), order="")
    try:
        layers, _ = arranged(weights, chosen(weights, ()), exact=False, layout=None)
    except InvalidSpecError as error:
        from_masks(masks)  # first the errors of the masks themselves
        raise InvalidSpecError(f"{file.path}: {error}; all of these are for `topokit extract`") from error
    return {one.name: oriented(masks[one.name], one.part.layout, one.groups) for one in layers}


def read_all(path: Path) -> tuple[Topology, ...]:
    """Read all topologies of a file; errors and cost as for `read`."""
    file = TensorFile(path)
    if found := _topologies(file):
        return found
    first, *others = chains_of(Masks(_masks(file), read_parameters(path)))
    return tuple(_noted(net, SEVERAL_BY_SHAPE) for net in (first, *others)) if others else (_by_shape(first),)


def _by_shape(net: Topology) -> Topology:
    """Return a topology of masks, with a note on what masks do not say."""
    return net if len(net) == 1 else _noted(net, BY_SHAPE)


def _noted(net: Topology, note: str) -> Topology:
    return Topology(net.layers, recipe=net.recipe, names=net.names, by_channel=net.by_channel, notes=(note,))


def _masks(file: TensorFile) -> dict[str, NDArray[Any]]:
    for name in file.masked:
        for key in (name, f"{name}_orig"):
            if key in file.entries and file.entries[key].shape != file.entries[name + MASK].shape:
                raise FileFormatError(f"{file.path}: the mask of {name} and its weights have different shapes")
    if file.masked:
        return read_masks(file)
    is_of = "is a file of weights and " if file.entries else ""
    raise FileFormatError(
        f"{file.path} {is_of}holds neither a topology (topokit.kind) nor masks (tensors named like fc1.weight_mask): "
        + (EXTRACT if is_of else "give another file")
    )


def _topologies(file: TensorFile) -> tuple[Topology, ...]:
    """Return the topologies in a file of topokit; none if it contains something else."""
    if file.kind not in ("topology", "checkpoint"):
        return ()
    if "widths" in file.metadata or (file.kind == "topology" and "topologies" not in file.metadata):
        file.require_known_schema()
        return (_read_topology(file, file.metadata),)
    if "topologies" not in file.metadata:
        return ()
    file.require_known_schema()
    described = file.json("topologies")
    if (
        not isinstance(described, list)
        or not described
        or not all(isinstance(about, dict) and all(isinstance(v, str) for v in about.values()) for about in described)
    ):
        raise FileFormatError(f"{file.path}: topologies must be a JSON list of descriptions")
    prefixes = [f"topology.{number}." for number in range(len(described))]
    return tuple(_read_topology(file, about, prefix) for about, prefix in zip(described, prefixes, strict=True))


def _read_topology(file: TensorFile, about: Mapping[str, str], prefix: str = "") -> Topology:
    widths = parse_widths(about.get("widths"))
    _require_tensors(file, widths, prefix)
    layers = [f"{prefix}layer.{i}" for i in range(len(widths) - 1)]
    edges = [file.entries[f"{layer}.indices"].shape[0] for layer in layers]
    require_room(file.path, widths, 8 * sum(edges) + 13 * max(edges))
    recipe = _json(file, about, "recipe", dict)
    names = _json(file, about, "names", list) or []
    if names and (len(names) != len(layers) or not all(isinstance(name, str) for name in names)):
        raise FileFormatError(f"{file.path}: names must be a JSON list of {len(layers)} names, one for each layer")
    recorded = about.get("fingerprint", "")
    if not re.fullmatch("[0-9a-f]{64}", recorded):
        raise FileFormatError(f"{file.path}: the fingerprint must be 64 hexadecimal digits")
    return Topology.from_csr(
        ((file.read(f"{layer}.indptr"), file.read(f"{layer}.indices")) for layer in layers),
        widths,
        recipe=recipe,
        promises=_promises(recipe, widths),
        by_channel=_by_channel(recipe, about),
        recorded_fingerprint=recorded,
        names=names,
    )


def _require_tensors(file: TensorFile, widths: tuple[int, ...], prefix: str) -> None:
    if len(widths) - 1 > len(file.entries):
        raise FileFormatError(
            f"{file.path}: {counted(len(widths), 'width')}, but only {counted(len(file.entries), 'tensor')}"
        )
    wanted = {f"{prefix}layer.{i}.{part}" for i in range(len(widths) - 1) for part in ("indptr", "indices")}
    lacking, others = wanted - file.entries.keys(), file.entries.keys() - wanted
    if lacking or (others and file.kind == "topology" and not prefix):
        problem = "lacks" if lacking else "holds more than a topology:"
        raise FileFormatError(f"{file.path} {problem} tensor {min(lacking or others)[:80]!r}")
    for name in wanted:
        dtype, shape, _ = file.entries[name]
        needed = "U64" if name.endswith("indptr") else "U32"
        if dtype != needed or len(shape) != 1:
            raise FileFormatError(
                f"{file.path}: tensor {name} is {dtype} of shape {list(shape)}; it must be {needed}, one-dimensional"
            )


def _json(file: TensorFile, about: Mapping[str, str], key: str, kind: type) -> Any:
    if key not in about:
        return None
    with damaged(file.path, ValueError, RecursionError):
        value = json.loads(about[key])
    if not isinstance(value, kind):
        raise FileFormatError(f"{file.path}: {key} must be a JSON {'object' if kind is dict else 'list'}")
    return value


def _by_channel(recipe: Recipe | None, metadata: Mapping[str, str]) -> bool:
    """Return whether convolutions were read by channel, as the file or the recipe of an extraction says.

    The extracted topology may be inside any number of transforms: a recipe can be nested deeper than Python recurses.
    """
    if metadata.get("conv") == "channel":
        return True
    parts: list[object] = [recipe]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict) and isinstance(options := part.get("options"), dict):
            if "extraction" in part and options.get("conv") == "channel":
                return True
            if "transform" in part:
                parts.append(options.get("of"))
    return False


def _promises(recipe: Recipe | None, widths: tuple[int, ...]) -> Promises | None:
    """Return the properties that the recipe guarantees; None if it is unknown, or describes other widths.

    No layer is computed, because the recipe may describe a huge one. The soundness check compares the edges.
    """
    if recipe is None:
        return None
    try:
        spec = from_recipe(recipe)
    except TopokitError:
        return None
    return spec.promises if spec.widths == widths else None


FORMAT = Format(
    suffix=".safetensors", begins=lambda start: start[8:9] == b"{", read=read, write=write, read_all=read_all
)
