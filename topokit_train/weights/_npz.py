"""NumPy's .npz files: arrays by name, such as the weights of Keras, in the order of the file."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import FileFormatError
from topokit.extraction import Weights, state_dict
from topokit_train.weights import Reader


def read(path: Path) -> Weights:
    """Read the weights of an .npz file; nothing is unpickled.

    Raises:
        FileFormatError: damaged, or with Python objects.
        TooLargeError: not enough free memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
    except Exception as error:  # of a manipulated file
        raise FileFormatError(f"{path} is damaged ({str(error)[:160]}): save it again") from error
    objects = [name for name, (_, dtype) in headers.items() if dtype.hasobject]
    if objects:
        raise FileFormatError(f"{path}: {objects[0]} has Python objects, which topokit does not load: save numbers")
    shapes = {name: shape for name, (shape, _) in headers.items()}

    def array(name: str) -> NDArray[Any]:
        shape, dtype = headers[name]
        require_memory(2 * dtype.itemsize * int(np.prod(shape, dtype=np.float64)), f"reading {name}")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return np.asarray(arrays[name])
        except Exception as error:  # as above
            raise FileFormatError(f"{path}: {name} is damaged ({str(error)[:160]}): save it again") from error

    found = state_dict(shapes, array)
    return replace(found, default=found.default or tuple(found.parts))


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(name) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
    return shape, dtype


def _begins(start: bytes) -> bool:
    length = int.from_bytes(start[26:28], "little")
    return start[:4] == b"PK\x03\x04" and start[30 : 30 + length].endswith(b".npy")


READER = Reader(begins=_begins, read=read)
