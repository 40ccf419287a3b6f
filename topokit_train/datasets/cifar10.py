"""cifar10: the published binary files, found locally or downloaded.

A file is records of 3,073 bytes: the label, then the red, green and blue pixels, 32 rows of 32 each.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.datasets.published import Published

RECORD = 1 + 3 * 32 * 32
FOLDER = "cifar-10-batches-bin"  # in the archive
ARCHIVE = "cifar-10-binary.tar.gz"

CIFAR10 = Published(
    name="cifar10",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    downloads={ARCHIVE: "c32a1d4ab5d03f1284b67883e8d87530"},
    files={
        f"{FOLDER}/data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        f"{FOLDER}/data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        f"{FOLDER}/data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        f"{FOLDER}/data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        f"{FOLDER}/data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        f"{FOLDER}/test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
    archive=ARCHIVE,
)


def load(_place: str, data_dir: Path | None) -> Dataset:
    """Read 50,000 colour images to train on and 10,000 to test with, 32x32, of which networks see 24x24.

    Raises:
        FileFormatError, TopokitError, TooLargeError: see `Published.read`.
    """
    *train, test = CIFAR10.read(data_dir)
    crop = (24, 24)  # as in the paper and in TensorFlow's tutorial
    return Dataset("cifar10", *_pair(b"".join(train)), *_pair(test), classes=10, crop=crop)


def _pair(content: bytes) -> tuple[UInt8Array, UInt8Array]:
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].copy()
