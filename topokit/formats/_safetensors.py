"""The canonical format: one safetensors file, written layer by layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from topokit.errors import FileFormatError, TopokitError
from topokit.formats._format import Format, damaged, parse_widths, require_room
from topokit.formats._masks import holds_masks, read_masks
from topokit.formats._tensors import SCHEMA, header, opened, require_known_schema
from topokit.layered import Layered, Promises, Recipe
from topokit.masking import from_masks
from topokit.recipes import from_recipe
from topokit.topology import Topology, combined_digest, fingerprint, layer_digest

_BLOCK = 1 << 20  # edges narrowed to uint32 at a time


def write(net: Layered, path: Path) -> str:
    """Write `net` in one pass, one layer in memory; returns its fingerprint.

    All sizes are known beforehand, so the header comes first, with a placeholder of the fingerprint's
    length which is overwritten at the end. The uint64 tensors stand before the uint32 ones, as the
    library orders them: all of them are aligned.
    """
    tensors = [(f"layer.{i}.indptr", "U64", (width + 1,)) for i, width in enumerate(net.widths[:-1])]
    tensors += [(f"layer.{i}.indices", "U32", (edges,)) for i, edges in enumerate(net.layer_edges)]
    digests: list[bytes] = []
    with path.open("wb") as file:
        sources_at = file.write(header(tensors, _metadata(net, "0" * 64)))
        targets_at = sources_at + 8 * sum(width + 1 for width in net.widths[:-1])
        for i, layer in enumerate(net.stream()):
            sources_at = _write_at(file, sources_at, layer.indptr, "<u8")
            targets_at = _write_at(file, targets_at, layer.indices, "<u4")
            first = net.same_layer(i)
            digests.append(digests[first] if first < i else layer_digest(layer))
        recorded = combined_digest(net.widths, digests)
        file.seek(0)
        file.write(header(tensors, _metadata(net, recorded)))
    return recorded


def _write_at(file: BinaryIO, place: int, values: NDArray[np.uint64], dtype: str) -> int:
    file.seek(place)
    for start in range(0, values.size, _BLOCK):
        place += file.write(values[start : start + _BLOCK].astype(dtype).data)
    return place


def _metadata(net: Layered, recorded: str, kind: str = "topology") -> dict[str, str]:
    about = {
        "topokit.kind": kind,
        "topokit.schema": str(SCHEMA),
        "fingerprint": recorded,
        "widths": json.dumps(net.widths),
    }
    return about if net.recipe is None else {**about, "recipe": json.dumps(net.recipe)}


def as_tensors(net: Layered) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata of `net` to put into a safetensors file beside others, such as weights.

    `load` then reads the topology from that file. 12 bytes an edge.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for i, layer in enumerate(net.stream()):
        tensors[f"layer.{i}.indptr"] = layer.indptr.copy()
        tensors[f"layer.{i}.indices"] = layer.indices.astype(np.uint32)
    return tensors, _metadata(net, fingerprint(net), kind="checkpoint")


def read(path: Path) -> Topology:
    """Read a topology, a checkpoint's topology or masks; everything is validated, nothing is proved.

    Cost: O(edges) time, 8 bytes an edge and up to 13 for the widest layer.

    Raises:
        FileFormatError: damaged, written by a later release, or no topology.
        InvalidGraphError: its arrays are no layered graph.
        TooLargeError: not enough free memory.
    """
    with opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
        kind = metadata.get("topokit.kind")
        if kind == "topology" or (kind == "checkpoint" and "widths" in metadata):
            return _read_topology(path, file, metadata, alone=kind == "topology")
        if holds_masks(file):
            return from_masks(read_masks(path, file, metadata))
    raise FileFormatError(
        f"{path} holds neither a topology (topokit.kind) nor masks (tensors named like fc1.weight_mask)"
    )


def _read_topology(path: Path, file: Any, metadata: Mapping[str, str], *, alone: bool) -> Topology:
    require_known_schema(metadata, path)
    widths = parse_widths(metadata.get("widths"))
    _require_tensors(path, file, widths, alone=alone)
    edges = [file.get_slice(f"layer.{i}.indices").get_shape()[0] for i in range(len(widths) - 1)]
    require_room(path, widths, 8 * sum(edges) + 13 * max(edges))
    arrays = (
        (file.get_tensor(f"layer.{i}.indptr"), file.get_tensor(f"layer.{i}.indices")) for i in range(len(widths) - 1)
    )
    recipe = _recipe(metadata, path)
    recorded = metadata.get("fingerprint", "")
    if len(recorded) != 64 or set(recorded) - set("0123456789abcdef"):
        raise FileFormatError(f"{path}: the fingerprint must be 64 hexadecimal digits")
    promises = _promises(recipe, widths)
    return Topology.from_csr(arrays, widths, recipe=recipe, promises=promises, recorded_fingerprint=recorded)


def _require_tensors(path: Path, file: Any, widths: tuple[int, ...], *, alone: bool) -> None:
    names = set(file.keys())
    if len(widths) - 1 > len(names):
        raise FileFormatError(f"{path}: {len(widths)} widths, but only {len(names)} tensors")
    wanted = {f"layer.{i}.{part}" for i in range(len(widths) - 1) for part in ("indptr", "indices")}
    wrong = (wanted - names) or (names - wanted if alone else set())
    if wrong:
        problem = "lacks" if wanted - names else "holds more than a topology:"
        raise FileFormatError(f"{path} {problem} tensor {min(wrong)[:80]!r}")
    for name in wanted:
        tensor = file.get_slice(name)
        dtype, shape = tensor.get_dtype(), tensor.get_shape()
        needed = "U64" if name.endswith("indptr") else "U32"
        if dtype != needed or len(shape) != 1:
            raise FileFormatError(
                f"{path}: tensor {name} is {dtype} of shape {shape}; it must be {needed}, one-dimensional"
            )


def _recipe(metadata: Mapping[str, str], path: Path) -> Recipe | None:
    if "recipe" not in metadata:
        return None
    with damaged(path, ValueError, RecursionError):
        recipe = json.loads(metadata["recipe"])
    if not isinstance(recipe, dict):
        raise FileFormatError(f"{path}: the recipe must be a JSON object")
    return recipe


def _promises(recipe: Recipe | None, widths: tuple[int, ...]) -> Promises | None:
    """What the recipe's maker vouches for; nothing where it is unknown or describes another network.

    No layer is made, as the recipe may describe a huge one. Whether it makes these very edges is for the
    soundness check to say.
    """
    if recipe is None:
        return None
    try:
        spec = from_recipe(recipe)
    except TopokitError:
        return None
    return spec.promises if spec.widths == widths else None


FORMAT = Format(suffix=".safetensors", begins=lambda start: start[8:9] == b"{", read=read, write=write)
