"""digits: 1,797 handwritten digits that come with the package, so that a first run needs no download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, doi:10.24432/C50P49, CC BY 4.0; see digits.LICENSE.
"""

from __future__ import annotations

import gzip
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topokit_train.datasets import Dataset, UInt8Array

TRAIN = 1437  # the last 360 are the test
SIDE = 28  # that of MNIST, so that the same models run


def load(_place: str, _data_dir: Path | None) -> Dataset:
    """Read the first 1,437 digits to train on and the last 360 to test with, resized from 8x8 to 28x28."""
    pixels, labels = read()
    images = enlarge(np.rint(pixels * (255 / 16)).astype(np.uint8))[:, np.newaxis]
    return Dataset("digits", images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:], classes=10)


def read() -> tuple[UInt8Array, UInt8Array]:
    """Return the data as published: pixels from 0 to 16, shape (1797, 8, 8), and labels, shape (1797,)."""
    packed = files(__package__).joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].copy()


def enlarge(images: UInt8Array) -> UInt8Array:
    """Resize images (N, 8, 8) to (N, 28, 28) by linear interpolation between the pixels' centres."""
    side = images.shape[1]
    centres = (np.arange(SIDE) + 0.5) * (side / SIDE) - 0.5
    weights = np.array([np.interp(centres, np.arange(side), pixel) for pixel in np.eye(side)])
    enlarged: NDArray[np.float64] = weights.T @ images @ weights
    # The values are multiples of 1/196: this addition makes every machine round the halves up.
    return np.floor(enlarged + (0.5 + 1e-6)).astype(np.uint8)
