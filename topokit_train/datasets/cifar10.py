"""cifar10: the published binary files, known by their checksums, found here or downloaded.

A file is records of 3,073 bytes: the label, then the red, green and blue pixels, 32 rows of 32 each.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from topokit.csr import require_memory
from topokit.errors import FileFormatError
from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.datasets.published import require_published, retrieve

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10
CROP = (24, 24)  # as the paper and TensorFlow's tutorial have it
FOLDER = "cifar-10-batches-bin"  # in the archive
ARCHIVE = "cifar-10-binary.tar.gz"
ADVICE = "Fetch it again, or remove it and have it downloaded"


@dataclass(frozen=True, kw_only=True)
class Published:
    """The files as everybody has them.

    Args:
        mirrors: addresses of folders that hold the archive, the first to ask first.
        archive: MD5 of the archive.
        files: MD5 of each file in it; the last one is the test.
    """

    mirrors: tuple[str, ...]
    archive: str
    files: Mapping[str, str]


CIFAR10 = Published(
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    archive="c32a1d4ab5d03f1284b67883e8d87530",
    files={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
)


def load_cifar10(_place: str, data_dir: Path | None) -> Dataset:
    """50,000 pictures in color to train on and 10,000 to test with, 32x32, of which networks see 24x24."""
    return load(CIFAR10, data_dir)


def load(published: Published, data_dir: Path | None) -> Dataset:
    """The dataset from data_dir/cifar10 or data_dir, from the cache, or from the first mirror that answers.

    In data_dir there may be the files, in a folder cifar-10-batches-bin or without one, or the archive.

    Raises:
        FileFormatError: a file in data_dir is damaged, or not the published one.
        TopokitError: the files are neither here nor to be had.
    """
    places = [] if data_dir is None else [data_dir / "cifar10", data_dir]
    folders = [folder for place in places for folder in (place / FOLDER, place)]
    paths = [_find(file, folders) for file in published.files]
    archive = _find(ARCHIVE, places)
    if all(paths):
        parts = _read_files(published, paths)
    elif archive:
        parts = _read_archive(published, archive)
    else:
        parts = _read_files(published, _fetch(published, folders))
    *train, test = parts
    return Dataset(
        name="cifar10",
        train_inputs=np.concatenate([images for images, _ in train]),
        train_targets=np.concatenate([labels for _, labels in train]),
        test_inputs=test[0],
        test_targets=test[1],
        classes=CLASSES,
        crop=CROP,
    )


def records(data: bytes, where: object) -> tuple[UInt8Array, UInt8Array]:
    """The images, shape (N, 3, 32, 32), and labels, shape (N,), in the contents of a file; read-only.

    Args:
        data: the contents.
        where: the file's name, for messages.

    Raises:
        FileFormatError: no whole number of records, or a label that is none.
    """
    if not data or len(data) % RECORD:
        raise FileFormatError(
            f"{where} holds {len(data):,} bytes: CIFAR-10 has records of {RECORD:,} bytes, and the last is not whole"
        )
    table = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = table[:, 0]
    if labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        raise FileFormatError(f"{where}: record {first} has the label {labels[first]}; labels are 0 to {CLASSES - 1}")
    return table[:, 1:].reshape(-1, *SHAPE), labels


def _read_files(published: Published, paths: Iterable[Path | None]) -> list[tuple[UInt8Array, UInt8Array]]:
    parts = []
    for path, md5 in zip(paths, published.files.values(), strict=True):
        assert path is not None
        require_memory(2 * path.stat().st_size, f"reading {path}")
        parts.append(records(path.read_bytes(), path))  # says more than a checksum where the file is cut off
        require_published(path, md5, "cifar10", ADVICE)
    return parts


def _read_archive(published: Published, path: Path) -> list[tuple[UInt8Array, UInt8Array]]:
    require_published(path, published.archive, "cifar10", ADVICE)
    with tarfile.open(path) as tar:
        members = [tar.extractfile(f"{FOLDER}/{file}") for file in published.files]
        return [records(member.read(), path) for member in members if member is not None]


def _find(file: str, folders: Iterable[Path]) -> Path | None:
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _fetch(published: Published, folders: list[Path]) -> list[Path]:
    unpacked = retrieve(
        "cifar10",
        ARCHIVE,
        published.archive,
        mirrors=published.mirrors,
        folders=folders,
        needs=[*published.files, f"or {ARCHIVE}"],
        members=[f"{FOLDER}/{file}" for file in published.files],
    )
    paths = {path.name: path for path in unpacked}
    return [paths[file] for file in published.files]
