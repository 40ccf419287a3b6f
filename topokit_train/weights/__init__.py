"""Readers of files of weights, of topokit and other programs. A new kind is one file here and one line in READERS.

The content of a file, never its name, says of which kind it is. Only tensors are unpickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from topokit._registry import Registry
from topokit.errors import FileFormatError, reading
from topokit.extraction.weights import Weights
from topokit.fields import path_of
from topokit.formats import CHECKPOINT

READERS = Registry(
    "kind of weights file",
    {
        "safetensors": "topokit_train.weights._safetensors:READER",
        "torch": "topokit_train.weights._torch:READER",
        "onnx": "topokit_train.weights._onnx:READER",
    },
)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The reader of one kind of file; each private module of this package has one, `READER`.

    Args:
        begins: says whether a file that starts with these bytes (up to 512) may be of this kind.
        read: returns its weights, validated.
    """

    begins: Callable[[bytes], bool]
    read: Callable[[Path], Weights]


def read_weights(path: str | Path) -> Weights:
    """Read the weights in a file: a checkpoint of topokit, a safetensors or torch state dict, or an ONNX model.

    `topokit.extract` returns their topology.

    Args:
        path: the file, or the folder of a run, whose checkpoint is read.

    Returns:
        The weights. If the kind of file allows it, numbers are read when they are needed.

    Raises:
        FileFormatError: of none of the kinds, damaged, or with Python objects other than tensors.
        MissingDependencyError: the package that reads this kind is not installed.
        TooLargeError: not enough free memory.
        TopokitError: the file cannot be read.
    """
    path = path_of(path)
    if (path / CHECKPOINT).is_file():
        path /= CHECKPOINT
    with reading(path):
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for kind in READERS:
            reader: Reader = READERS[kind]
            if reader.begins(start):
                return replace(reader.read(path), origin={"kind": kind, "file": path.name, "sha256": digest})
    raise FileFormatError(
        f"{path} is not a file of weights that topokit reads ({', '.join(READERS)}): give a checkpoint, a state dict "
        "or an ONNX model"
    )
