"""Datasets of images, by name. A new one is one file here and one line in DATASETS.

Loading needs no torch. The registry holds strings, so that listing the datasets imports nothing.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topokit._registry import Registry
from topokit.errors import InvalidSpecError

UInt8Array = NDArray[np.uint8]

DATASETS = Registry(
    "dataset",
    {
        "digits": "topokit_train.datasets.digits:load",
        "mnist": "topokit_train.datasets.mnist:load_mnist",
        "fashion-mnist": "topokit_train.datasets.mnist:load_fashion_mnist",
        "cifar10": "topokit_train.datasets.cifar10:load_cifar10",
        "idx": "topokit_train.datasets.idx:load",
    },
)
"""Each is a function load(folder, data_dir) -> Dataset."""

NEED_FOLDER = ("idx",)
"""Datasets whose name says where they lie: idx:FOLDER."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images, to train on and to test with.

    Args:
        name: as in `--dataset`.
        train_images: shape (N, channels, rows, columns), 0 to 255.
        train_labels: shape (N,), from 0 to classes - 1.
        test_images: shape (M, channels, rows, columns).
        test_labels: shape (M,).
        classes: number of classes.
        crop: (rows, columns) of the part that a network sees of an image: in training a random one, mirrored and
            recoloured at random, see `topokit_train.feeding.augmentation`; in tests the middle. None: all of an image.
    """

    name: str
    train_images: UInt8Array
    train_labels: UInt8Array
    test_images: UInt8Array
    test_labels: UInt8Array
    classes: int
    crop: tuple[int, int] | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of what a network sees of an image."""
        channels, rows, columns = self.train_images.shape[1:]
        return channels, *(self.crop or (rows, columns))

    @property
    def outputs(self) -> int:
        """The number of outputs of a network."""
        return self.classes

    @property
    def pixels(self) -> int:
        """Numbers in what a network sees of an image: channels * rows * columns."""
        return prod(self.input_shape)

    def checksum(self) -> str:
        """The SHA-256 of shapes, images and labels, as hexadecimal digits. O(pixels of all images)."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a dataset by its name.

    Args:
        name: a key of DATASETS, or idx:FOLDER.
        data_dir: where files are looked for first; where None, the folder TOPOKIT_DATA_DIR names, if any.

    Raises:
        InvalidSpecError: no such dataset, or data_dir is no folder.
        FileFormatError: a file is damaged, or is not the published one.
        TopokitError: a file is neither here nor to be had.
    """
    kind, folder = split_name(name)
    place = data_dir or os.environ.get("TOPOKIT_DATA_DIR")
    if place and not Path(place).is_dir():
        raise InvalidSpecError(f"the data folder {place} does not exist: correct `data_dir` or TOPOKIT_DATA_DIR")
    dataset: Dataset = DATASETS[kind](folder, Path(place) if place else None)
    return dataset


def split_name(name: str) -> tuple[str, Path]:
    """(the key of DATASETS, the folder) that a dataset's name says; without a folder, "." stands for it.

    Raises:
        InvalidSpecError: no such dataset, or a folder where none belongs, or none where one does.

    >>> split_name("mnist")[0]
    'mnist'
    """
    kind, colon, folder = name.partition(":")
    if kind not in DATASETS:
        DATASETS[kind]  # raises, naming the nearest
    if kind in NEED_FOLDER and not folder:
        raise InvalidSpecError(f"the dataset {kind} needs the folder of its files: {kind}:FOLDER")
    if colon and kind not in NEED_FOLDER:
        raise InvalidSpecError(f"the dataset {kind} takes no folder: its files are looked for in `data_dir`")
    return kind, Path(folder).expanduser()
