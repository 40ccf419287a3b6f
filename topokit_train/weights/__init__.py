"""Reading the weights in files of other programs and of our own. A new kind is one file here and one line in READERS.

What a file is, is read from the file and never from its name. Nothing is ever unpickled that is not a tensor.
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
    """One kind of file; each module of this package with a leading underscore and a `READER` holds one.

    Args:
        begins: whether a file that starts with these bytes (up to 512) may be of this kind.
        read: gives its weights, and validates what it reads.
    """

    begins: Callable[[bytes], bool]
    read: Callable[[Path], Weights]


def read_weights(path: str | Path) -> Weights:
    """The weights in a file: a checkpoint of ours, a safetensors or torch state dict, or an ONNX model.

    `topokit.extract` makes a topology of them.

    Args:
        path: what to read; of a run's folder its checkpoint.

    Returns:
        The weights; numbers are read from the file when they are asked for, where its kind allows.

    Raises:
        FileFormatError: of none of the kinds, damaged, or with Python objects other than tensors.
        MissingDependencyError: what reads this kind is not installed.
        TooLargeError: not enough free memory.
        TopokitError: it cannot be read.
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
        f"{path} is no file of weights that topokit reads ({', '.join(READERS)}): give a checkpoint, a state dict or "
        "an ONNX model"
    )
