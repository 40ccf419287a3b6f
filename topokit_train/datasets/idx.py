"""IDX files, the format of the MNIST database, and idx:FOLDER, the dataset of any folder of them.

An IDX file is two zero bytes, a byte for the type of its numbers (8: unsigned bytes), a byte for the
number of dimensions, each dimension as a big-endian 32-bit integer, and then the numbers.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from topokit.csr import require_memory
from topokit.errors import FileFormatError, NotFoundError
from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.datasets.published import GZIP_MAGIC

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""What the four files of a dataset are called; each may be gzipped and then ends in .gz."""

UNSIGNED_BYTE = 8
MAX_DEFLATE = 1032  # bytes that one byte of a gzip file can stand for, at most


def load(place: str, _data_dir: Path | None) -> Dataset:
    """The dataset idx:FOLDER: as many classes as the largest label says, images of any size.

    Raises:
        FileFormatError: a file is missing or damaged, or images and labels do not fit together.
    """
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise NotFoundError(f"idx:{place}: there is no folder {folder}: give the one that holds the four files")
    paths = [find(file, [folder]) for file in FILES]
    missing = [file for file, path in zip(FILES, paths, strict=True) if path is None]
    if missing:
        raise FileFormatError(f"{folder} holds no {', '.join(missing)}, with or without .gz: put them there")
    return from_files(f"idx:{folder}", cast(list[Path], paths))


def find(file: str, folders: Iterable[Path]) -> Path | None:
    """The first of the folders' files of that name, plain or with .gz."""
    candidates = (folder / name for folder in folders for name in (file, f"{file}.gz"))
    return next((path for path in candidates if path.is_file()), None)


def from_files(name: str, paths: Iterable[Path]) -> Dataset:
    """The dataset in four files, in the order of FILES.

    Raises:
        FileFormatError: a file is damaged, or images and labels do not fit together.
    """
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)
    )
    for part, images, labels in (("train", train_images, train_labels), ("t10k", test_images, test_labels)):
        if len(images) != len(labels):
            raise FileFormatError(f"{name}: {part} has {len(images)} images, but {len(labels)} labels")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise FileFormatError(
            f"{name}: train images are {train_images.shape[1:]}, but t10k images {test_images.shape[1:]}"
        )
    return Dataset(
        name=name,
        train_inputs=train_images[:, np.newaxis],
        train_targets=train_labels,
        test_inputs=test_images[:, np.newaxis],
        test_targets=test_labels,
        classes=int(max(train_labels.max(), test_labels.max())) + 1,
    )


def read_idx(path: Path, dimensions: int) -> UInt8Array:
    """The unsigned bytes in an IDX file, plain or gzipped, as a read-only array.

    What the header declares is held against the file's size before any memory is taken for it.

    Args:
        path: the file; what it is, is read from it and not from its suffix.
        dimensions: how many the array must have: 3 for images, 1 for labels.

    Raises:
        FileFormatError: not an IDX file of that kind, damaged, or of another size than it declares.
        TooLargeError: more than this machine's free memory.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        most = path.stat().st_size * (MAX_DEFLATE if gzipped else 1)
        try:
            return _read(gzip.open(raw) if gzipped else raw, dimensions, most, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path} is a damaged gzip file: {error}") from None


def _read(stream: BinaryIO | gzip.GzipFile, dimensions: int, most: int, path: Path) -> UInt8Array:
    header = stream.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)):
        raise FileFormatError(
            f"{path} starts with the bytes {header[:4].hex(' ') or '(none)'}, "
            f"not with 00 00 08 {dimensions:02x}: it is no IDX file of unsigned bytes in {dimensions} dimensions"
        )
    if len(header) < 4 + 4 * dimensions:
        raise FileFormatError(f"{path} ends within its header")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = prod(shape)
    if size == 0:
        raise FileFormatError(f"{path} declares the shape {shape}: it holds nothing")
    if size > most:
        raise FileFormatError(f"{path} declares {size:,} bytes of shape {shape}, more than the file can hold")
    require_memory(size, str(path))
    data = stream.read(size + 1)  # one more than declared: to see that the file ends there, and gzip's own checksum
    if len(data) != size:
        found = f"{len(data):,}" if len(data) < size else "more"
        raise FileFormatError(f"{path} declares {size:,} bytes of shape {shape}, but holds {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)
