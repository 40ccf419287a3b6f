"""Datasets, by name. A new one is one file here and one line in DATASETS.

Loading needs no torch. The registry holds strings, so that listing the datasets imports nothing.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit._registry import Registry
from topokit.errors import InvalidSpecError
from topokit.fields import one_of
from topokit_train.datasets.checks import require_sound
from topokit_train.functions import is_function, load_function, located

Array = NDArray[Any]
UInt8Array = NDArray[np.uint8]

DATASETS = Registry(
    "dataset",
    {
        "digits": "topokit_train.datasets.digits:load",
        "mnist": "topokit_train.datasets.mnist:load_mnist",
        "fashion-mnist": "topokit_train.datasets.mnist:load_fashion_mnist",
        "cifar10": "topokit_train.datasets.cifar10:load",
        "idx": "topokit_train.datasets.idx:load",
        "text": "topokit_train.datasets.text:load",
    },
)
"""Each is a function load(place, data_dir) -> Dataset."""

NEED_PLACE = {"idx": "FOLDER", "text": "FILE"}
"""Datasets whose names contain their place, as idx:FOLDER does, and the place."""

FUNCTION = "function"  # the kind of a dataset that a user's function returns
GIVEN = "given"  # the kind of a dataset that was passed from Python, given:NAME
OWN = (*NEED_PLACE, FUNCTION, GIVEN)
"""Kinds of datasets whose content may change under the same name."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to train on and to test with, and the task; verified when constructed.

    Args:
        name: as in `--dataset`; given:NAME for data that were passed from Python.
        train_inputs: shape (N, ...). Bytes of shape (N, channels, rows, columns) are images: their pixels are scaled
            and, with a `crop`, augmented. Other numbers are used as they are.
        train_targets: shape (N,) of classification, labels from 0 to classes - 1; (N,) or (N, outputs) of regression;
            (N, tokens) of next-token.
        test_inputs: shape (M, ...).
        test_targets: shape (M, ...).
        task: a name in `topokit_train.datasets.given.TASKS`.
        classes: number of classes, or of tokens in the vocabulary; None for regression.
        crop: (rows, columns) of the part of an image that a network sees: a random part in training, mirrored and
            recoloured at random, see `topokit_train.feeding.augmentation`; the middle in tests. None: the whole image.

    Raises:
        InvalidSpecError: numbers that do not fit together, see `topokit_train.datasets.checks`.
    """

    name: str
    train_inputs: Array
    train_targets: Array
    test_inputs: Array
    test_targets: Array
    task: str = "classification"
    classes: int | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        require_sound(self)

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images: bytes."""
        return self.train_inputs.dtype == np.uint8

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a network's input for one sample; (channels, rows, columns) for images."""
        shape = self.train_inputs.shape[1:]
        return shape if self.crop is None else (shape[0], *self.crop)

    @property
    def outputs(self) -> int:
        """Number of a network's outputs for a sample, or for a token: classes, or targets of a regression."""
        return self.classes or prod(self.train_targets.shape[1:])

    def checksum(self) -> str:
        """Return the SHA-256 of all shapes and numbers, as hexadecimal digits. O(numbers of all samples)."""
        digest = hashlib.sha256()
        arrays = (self.train_inputs, self.train_targets, self.test_inputs, self.test_targets)
        for array in arrays:
            digest.update(repr(array.shape).encode())
            digest.update(array.tobytes())
        if self.name.partition(":")[0] not in DATASETS:  # as in 0.1.0
            kinds = [str(array.dtype) for array in arrays]
            digest.update(f"{self.task} {self.classes} {self.crop} {kinds}".encode())
        return digest.hexdigest()


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a dataset by its name.

    Args:
        name: a key of DATASETS, idx:FOLDER, text:FILE, or a function: file.py:function or package.module:function. A
            function may have the argument `data_dir`; it returns a `Dataset` or (x_train, y_train, x_test, y_test).
        data_dir: the folder in which files are searched first; if None, the folder in TOPOKIT_DATA_DIR, if set.

    Raises:
        InvalidSpecError: no such dataset, data_dir is not a folder, or a function returns an invalid dataset.
        FileFormatError: a file is damaged, or is not the published one.
        TopokitError: a file is missing and cannot be downloaded, or a function fails.
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
    """Return the kind of a dataset, a key of DATASETS, FUNCTION or GIVEN, and its place.

    Raises:
        InvalidSpecError: no such dataset; a place is missing; or the dataset has none.

    >>> split_name("mnist"), split_name("idx:photos"), split_name("mine.py:data")
    (('mnist', ''), ('idx', 'photos'), ('function', 'mine.py:data'))
    """
    if not isinstance(name, str):
        raise InvalidSpecError(f"`dataset` must be a name or a topokit_train.dataset(...), not {shortened(name)}")
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
        raise InvalidSpecError(f"the dataset {kind} takes no folder: its files are searched in `data_dir`")
    return kind, place


def beside(name: str, folder: Path) -> str:
    """Return a dataset's name in which a relative path starts from a folder.

    >>> beside("text:verses.txt block=8", Path("/data")), beside("mnist", Path("/data"))
    ('text:/data/verses.txt block=8', 'mnist')
    """
    kind, place = split_name(name)
    if kind == FUNCTION:
        return located(name, folder)
    return f"{kind}:{folder / Path(place).expanduser()}" if kind in NEED_PLACE else name
