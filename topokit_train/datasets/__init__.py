"""Datasets, by name. A new one is one file here and one line in DATASETS.

Loading needs no torch. The registry holds strings, so that listing the datasets imports nothing.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit._registry import Registry
from topokit.errors import InvalidSpecError
from topokit.fields import one_of
from topokit_train.functions import is_function, load_function, located

Array = NDArray[Any]
UInt8Array = NDArray[np.uint8]

DATASETS = Registry(
    "dataset",
    {
        "digits": "topokit_train.datasets.digits:load",
        "mnist": "topokit_train.datasets.mnist:load_mnist",
        "fashion-mnist": "topokit_train.datasets.mnist:load_fashion_mnist",
        "cifar10": "topokit_train.datasets.cifar10:load_cifar10",
        "idx": "topokit_train.datasets.idx:load",
        "text": "topokit_train.datasets.text:load",
    },
)
"""Each is a function load(place, data_dir) -> Dataset."""

NEED_PLACE = {"idx": "FOLDER", "text": "FILE"}
"""Datasets whose name says where they are, idx:FOLDER, and what follows the colon."""

FUNCTION = "function"
"""The kind of a dataset that a function of the user returns."""

GIVEN = "given"
"""The kind of a dataset that was passed from Python: given:NAME."""

OWN = (*NEED_PLACE, FUNCTION, GIVEN)
"""The kinds of datasets whose names do not say what they hold."""

CLASSIFICATION = "classification"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Samples to train on and to test with, and the task.

    Args:
        name: as in `--dataset`; given:NAME for data that were passed from Python.
        train_inputs: shape (N, ...). Bytes of shape (N, channels, rows, columns) are images: their pixels are scaled
            and, with a `crop`, augmented. Other numbers are used as they are.
        train_targets: shape (N,) of classification, labels from 0 to classes - 1; (N,) or (N, outputs) of regression;
            (N, tokens) of next-token.
        test_inputs: shape (M, ...).
        test_targets: shape (M, ...).
        task: a name in `topokit_train.datasets.given.TASKS`.
        classes: number of classes, of tokens in the vocabulary, or None for regression.
        crop: (rows, columns) of the part that a network sees of an image: in training a random one, mirrored and
            recoloured at random, see `topokit_train.feeding.augmentation`; in tests the middle. None: all of an image.
    """

    name: str
    train_inputs: Array
    train_targets: Array
    test_inputs: Array
    test_targets: Array
    task: str = CLASSIFICATION
    classes: int | None = None
    crop: tuple[int, int] | None = None

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images."""
        return self.train_inputs.dtype == np.uint8 and self.train_inputs.ndim == 4

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what a network sees of a sample; of an image (channels, rows, columns)."""
        shape = self.train_inputs.shape[1:]
        return shape if self.crop is None else (shape[0], *self.crop)

    @property
    def outputs(self) -> int:
        """Numbers that a network gives for a sample, or for a token: classes, or targets of a regression."""
        return self.classes or prod(self.train_targets.shape[1:])

    def checksum(self) -> str:
        """Return the SHA-256 of all shapes and numbers, as hexadecimal digits. O(numbers of all samples)."""
        digest = hashlib.sha256()
        arrays = (self.train_inputs, self.train_targets, self.test_inputs, self.test_targets)
        for array in arrays:
            digest.update(repr(array.shape).encode())
            digest.update(array.tobytes())
        if self.name.partition(":")[0] not in DATASETS:  # those have had their checksums since 0.1.0
            kinds = [str(array.dtype) for array in arrays]
            digest.update(f"{self.task} {self.classes} {self.crop} {kinds}".encode())
        return digest.hexdigest()


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a dataset by its name.

    Args:
        name: a key of DATASETS, idx:FOLDER, text:FILE, or a function: file.py:function or package.module:function. It
            may ask for `data_dir`, and returns what `topokit_train.dataset` takes, or a `Dataset`.
        data_dir: where files are looked for first; if None, the folder in TOPOKIT_DATA_DIR, if set.

    Raises:
        InvalidSpecError: no such dataset, data_dir is not a folder, or a function returns an invalid dataset.
        FileFormatError: a file is damaged, or is not the published one.
        TopokitError: a file is not found and cannot be downloaded, or a function fails.
    """
    from topokit_train.datasets.given import as_dataset

    kind, place = split_name(name)
    folder = data_dir or os.environ.get("TOPOKIT_DATA_DIR")
    if folder and not Path(folder).is_dir():
        raise InvalidSpecError(f"the data folder {folder} does not exist: correct `data_dir` or TOPOKIT_DATA_DIR")
    at = Path(folder) if folder else None
    if kind == FUNCTION:
        return as_dataset(load_function(name, "dataset")(data_dir=at), name)
    if kind == GIVEN:
        raise InvalidSpecError(f"the dataset {place} was passed from Python: pass it again, as `data`")
    dataset: Dataset = DATASETS[kind](place, at)
    return dataset


def split_name(name: str) -> tuple[str, str]:
    """Return the kind of a dataset, a key of DATASETS, FUNCTION or GIVEN, and what its name says of its place.

    Raises:
        InvalidSpecError: no such dataset, or a place where none belongs, or none where one does.

    >>> split_name("mnist"), split_name("idx:photos"), split_name("mine.py:data")
    (('mnist', ''), ('idx', 'photos'), ('function', 'mine.py:data'))
    """
    kind, colon, place = name.partition(":")
    if kind == GIVEN:
        return GIVEN, place
    if kind not in DATASETS:
        if is_function(name):
            return FUNCTION, name
        raise InvalidSpecError(f"`dataset` must be one of {one_of(kind, (*DATASETS, 'FILE.py:FUNCTION'))}")
    if kind in NEED_PLACE and not place:
        raise InvalidSpecError(f"the dataset {kind} needs the place of its data: {kind}:{NEED_PLACE[kind]}")
    if colon and kind not in NEED_PLACE:
        raise InvalidSpecError(f"the dataset {kind} takes no folder: its files are looked for in `data_dir`")
    return kind, place


def beside(name: str, folder: Path) -> str:
    """Return a dataset's name with a relative path in it made one from a folder.

    >>> beside("text:verses.txt block=8", Path("/data")), beside("mnist", Path("/data"))
    ('text:/data/verses.txt block=8', 'mnist')
    """
    kind, place = split_name(name)
    if kind == FUNCTION:
        return located(name, folder)
    return f"{kind}:{folder / Path(place).expanduser()}" if kind in NEED_PLACE else name
