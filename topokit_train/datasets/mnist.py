"""mnist and fashion-mnist: published IDX files, found locally or downloaded.

Sources: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998; Xiao, Rasul, Vollgraf,
"Fashion-MNIST", 2017, arXiv:1708.07747.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from topokit_train.datasets import Dataset, UInt8Array
from topokit_train.datasets.published import Published

MNIST = Published(
    name="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    downloads={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    files={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)

FASHION_MNIST = Published(
    name="fashion-mnist",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    downloads={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    files={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)


def load_mnist(_place: str, data_dir: Path | None) -> Dataset:
    """Read 60,000 handwritten digits to train on and 10,000 to test with, 28x28."""
    return load(MNIST, data_dir)


def load_fashion_mnist(_place: str, data_dir: Path | None) -> Dataset:
    """Read 60,000 images of clothes to train on and 10,000 to test with, 28x28, in 10 classes."""
    return load(FASHION_MNIST, data_dir)


def load(published: Published, data_dir: Path | None) -> Dataset:
    """Read a dataset of four IDX files, whose headers are 16 bytes for images and 8 bytes for labels.

    Raises:
        FileFormatError, TopokitError, TooLargeError: see `Published.read`.
    """
    train_images, train_labels, test_images, test_labels = published.read(data_dir)
    train, test = _pair(train_images, train_labels), _pair(test_images, test_labels)
    return Dataset(published.name, *train, *test, classes=10)


def _pair(images: bytes, labels: bytes) -> tuple[UInt8Array, UInt8Array]:
    pixels = np.frombuffer(bytearray(images), np.uint8, offset=16)  # writable, for torch warns of other arrays
    return pixels.reshape(-1, 1, 28, 28), np.frombuffer(bytearray(labels), np.uint8, offset=8)
