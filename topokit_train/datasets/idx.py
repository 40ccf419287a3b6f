"""IDX files, the format of the MNIST database, and idx:FOLDER, the dataset in a folder of four such files.

An IDX file is two zero bytes, a byte for the type of its numbers (8: unsigned bytes), a byte for the
number of dimensions, each dimension as a big-endian 32-bit integer, and then the numbers.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np

from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidSpecError, NotFoundError
from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.datasets.published import find, opened

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Names of the four files; a gzipped one ends in .gz."""

UNSIGNED_BYTE = 8
MAX_DEFLATE = 1032  # largest possible ratio of the content of a gzip file to its size


def load(place: str, _data_dir: Path | None) -> Dataset:
    """Read the dataset idx:FOLDER. The largest label determines the number of classes; images have any size.

    Raises:
        FileFormatError: a file is missing or damaged, or images and labels do not fit together.
        TooLargeError: not enough free memory.
    """
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise NotFoundError(f"idx:{place}: there is no folder {folder}: give the one that holds the four files")
    paths = {file: find(file, [folder]) for file in FILES}
    missing = [file for file, path in paths.items() if path is None]
    if missing:
        raise FileFormatError(f"{folder} has no {', '.join(missing)}, with or without .gz: put them there")
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, 3 if "images" in file else 1) for file, path in paths.items() if path
    )
    try:
        train, test = (train_images[:, np.newaxis], train_labels), (test_images[:, np.newaxis], test_labels)
        classes = 1 + int(max(train_labels.max(), test_labels.max()))
        return Dataset(f"idx:{folder}", *train, *test, classes=classes)
    except InvalidSpecError as error:
        raise FileFormatError(str(error)) from None


def read_idx(path: Path, dimensions: int) -> UInt8Array:
    """Return the unsigned bytes in an IDX file, plain or gzipped, as an array.

    The declared size is compared with the size of the file before memory is allocated.

    Args:
        path: the file. Its first bytes, not its suffix, say whether it is gzipped.
        dimensions: number of dimensions of the array: 3 for images, 1 for labels.

    Raises:
        FileFormatError: not an IDX file of that kind, damaged, or of another size than it declares.
        TooLargeError: not enough free memory.
    """
    with opened(path) as stream:
        header = stream.read(4 + 4 * dimensions)
        if header[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)):
            raise FileFormatError(
                f"{path} is not an IDX file of unsigned bytes in {dimensions} dimensions: it starts with the bytes "
                f"{header[:4].hex(' ') or '(none)'}, not with 00 00 08 {dimensions:02x}"
            )
        if len(header) < 4 + 4 * dimensions:
            raise FileFormatError(f"{path} ends within its header")
        shape = struct.unpack(f">{dimensions}I", header[4:])
        declared = f"{path} declares {prod(shape):,} bytes of shape {shape}"
        if prod(shape) == 0:
            raise FileFormatError(f"{declared}: it is empty")
        if prod(shape) > MAX_DEFLATE * path.stat().st_size:
            raise FileFormatError(f"{declared}, more than the file can contain")
        require_memory(2 * prod(shape), str(path))  # they are copied into a writable array
        data = stream.read(prod(shape) + 1)  # one more byte, so that the end of the file and its checksum are checked
    if len(data) != prod(shape):
        found = f"{len(data):,}" if len(data) < prod(shape) else "more"
        raise FileFormatError(f"{declared}, but contains {found}")
    return np.frombuffer(bytearray(data), np.uint8).reshape(shape)
