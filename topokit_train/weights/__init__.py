"""Readers of files of weights, and extraction from a model in any form.

A new kind of file is one module here and one line in READERS.

The content of a file determines its kind, never its name. Only tensors are unpickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokit._registry import Registry
from topokit.errors import FileFormatError, InvalidSpecError, NotFoundError, needing, reading
from topokit.extraction import Extraction, Rule, Weights, from_arrays, select
from topokit.fields import path_of
from topokit.formats import CHECKPOINT, FORMATS
from topokit.reprs import listed
from topokit_train.functions import load_function, names_function

if TYPE_CHECKING:
    from torch import nn

READERS = Registry(
    "kind of weights file",
    {
        "safetensors": "topokit_train.weights._safetensors:READER",
        "npz": "topokit_train.weights._npz:READER",
        "torch": "topokit_train.weights._torch:READER",
        "onnx": "topokit_train.weights._onnx:READER",
    },
)

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "*.onnx", "*.pt2")
"""Names by which the file of weights in a folder of a model is found."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The reader of one kind of file; each private module of this package has one, `READER`.

    Args:
        begins: returns whether a file that begins with these bytes (up to 512) may be of this kind.
        read: returns the weights of a file, validated.
    """

    begins: Callable[[bytes], bool]
    read: Callable[[Path], Weights]


def read_weights(path: str | Path) -> Weights:
    """Read the weights in a file: a checkpoint of topokit, a state dict, an ONNX model or a .pt2 program.

    `topokit.extract` returns their topology.

    Args:
        path: the file, or the folder of a run, whose checkpoint is read.

    Returns:
        The weights. If the kind of file allows it, their numbers are read only when they are needed.

    Raises:
        FileFormatError: the file is of none of these kinds, is damaged, or has Python objects other than tensors.
        MissingDependencyError: the package that reads this kind is not installed.
        TooLargeError: not enough free memory.
        TopokitError: the file cannot be read.
    """
    path = path_of(path)
    if (path / CHECKPOINT).is_file():
        path /= CHECKPOINT
    with reading(path):
        if path.is_dir():
            raise NotFoundError(f"{path} is a folder{_about_folder(path)}")
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for kind in READERS:
            reader: Reader = READERS[kind]
            if reader.begins(start):
                found = reader.read(path)
                kind = "program" if kind == "torch" and found.graph else kind  # a .pt2 file
                return replace(found, origin={"kind": kind, "file": path.name, "sha256": digest})
    if path.suffix == ".py":
        raise InvalidSpecError(f"{path} is Python code: name the function that returns the model, {path}:FUNCTION")
    raise FileFormatError(
        f"{path} is not a file of weights that topokit reads ({', '.join(READERS)}): give a checkpoint, a state dict, "
        "an ONNX model or a .pt2 program"
    )


def _about_folder(path: Path) -> str:
    """Return what a folder that is not of a run has, and which file to give."""
    files = [entry for entry in sorted(path.iterdir()) if entry.is_file()]
    if found := [entry.name for pattern in WEIGHTS for entry in files if fnmatch(entry.name, pattern)]:
        return f": give a file of weights in it: {listed(str(path / name) for name in found)}"
    suffixes = {entry.suffix for entry in files}
    if kinds := [kind.suffix for kind in map(FORMATS.__getitem__, FORMATS) if kind.folder and kind.suffix in suffixes]:
        held = " and ".join(kinds)
        return f" of {held} files, a topology and not weights: `topokit info` and `topokit convert` read it"
    return ": give a file of weights, or the folder of a run"


def extract(
    model: nn.Module | str | PathLike[str] | Weights | Mapping[str, Any],
    example_input: Any = None,
    *,
    layers: str | Sequence[str] = (),
    rule: str | None = None,
    above: float | None = None,
    keep: float | str | None = None,
    scope: str = "layer",
    conv: str = "channel",
    layout: str | None = None,
) -> Extraction:
    """Return the layers of a model as topologies, and how they are connected.

    The edges are weights of layers. If a constant scales the outputs of a layer, the layer keeps all its edges, even if
    the constant contains 0.

    Args:
        model: a torch module; a file of weights, an ONNX model or a .pt2 program; file.py:function, a function that
            returns a module and an example input; or what `topokit.extract` takes.
        example_input: for a module: a tensor, a tuple of all arguments, or a dictionary of keyword arguments.
        layers: see `topokit.extract`, as the others.
        rule: "mask" or "nonzero".
        above: keep |w| > above.
        keep: share of the weights to keep, the largest.
        scope: "layer" or "global".
        conv: "channel" or "weight".
        layout: "out-in" or "in-out"; for arrays without a graph.

    Returns:
        `layers`: a table of what was read; `chains`: a topology for each run of layers in series; `joints`: how the
        chains are connected; `topology`: the only chain, if there is one.

    Raises:
        InvalidSpecError: a module without an example input, or see `topokit.extract`.
        InvalidGraphError: names the node of the graph that cannot be read.
        TopokitError: a file cannot be read.

    Cost: torch.export of a module; O(weights) time; the edges and one layer in memory, see `topokit.extract`.
    """
    weights = read_model(model, example_input)
    return select(weights, Rule(rule=rule, above=above, keep=keep, scope=scope), layers, conv, layout)


def read_model(model: Any, example_input: Any = None) -> Weights:
    """Return the weights of a model: of a module, a file, file.py:function, or arrays; see `extract`."""
    if isinstance(model, Weights):
        return model
    if names_function(model):
        made = load_function(model, "model")()
        if not isinstance(made, tuple) or len(made) != 2:
            raise InvalidSpecError(f"{model} must return two things, a module and an example input for it")
        model, example_input = made
    elif isinstance(model, str | PathLike):
        return read_weights(Path(model))
    elif isinstance(model, Mapping):
        return from_arrays(model)
    with needing("a torch module"):
        from torch import nn

        from topokit_train.reading._modules import read_module
    if not isinstance(model, nn.Module):
        raise InvalidSpecError(
            f"`model` must be a torch module, a file or a dictionary of arrays, not {type(model).__name__}"
        )
    if example_input is None:
        raise InvalidSpecError("a module needs `example_input`, such as torch.zeros(1, 784): its graph depends on it")
    return read_module(model, example_input)
