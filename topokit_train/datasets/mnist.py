"""mnist and fashion-mnist: published IDX files, known by their checksums, found here or downloaded.

Sources: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998; Xiao, Rasul, Vollgraf,
"Fashion-MNIST", 2017, arXiv:1708.07747.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from topokit_train.datasets import Dataset
from topokit_train.datasets.idx import FILES, find, from_files
from topokit_train.datasets.published import require_published, retrieve


@dataclass(frozen=True, kw_only=True)
class Published:
    """A dataset of four IDX files that everybody has alike.

    Args:
        name: of the dataset, and of its folder below the data folder and the cache.
        mirrors: addresses of folders that hold the gzipped files, the first to ask first.
        gzipped: MD5 of each file of FILES as it is published, gzipped, to download it.
        plain: MD5 of each unpacked file, however it was packed.
    """

    name: str
    mirrors: tuple[str, ...]
    gzipped: tuple[str, str, str, str]
    plain: tuple[str, str, str, str]


MNIST = Published(
    name="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    gzipped=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    plain=(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
)

FASHION_MNIST = Published(
    name="fashion-mnist",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    gzipped=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    plain=(
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
)


def load_mnist(_place: str, data_dir: Path | None) -> Dataset:
    """60,000 handwritten digits to train on and 10,000 to test with, 28x28."""
    return load(MNIST, data_dir)


def load_fashion_mnist(_place: str, data_dir: Path | None) -> Dataset:
    """60,000 pictures of clothes to train on and 10,000 to test with, 28x28, in 10 classes."""
    return load(FASHION_MNIST, data_dir)


def load(published: Published, data_dir: Path | None) -> Dataset:
    """The dataset from data_dir/<name>, data_dir itself, the cache, or the first mirror that answers.

    Raises:
        FileFormatError: a file in data_dir is not the published one.
        TopokitError: a file is neither here nor to be had.
    """
    folders = [] if data_dir is None else [data_dir / published.name, data_dir]
    paths = []
    for number, file in enumerate(FILES):
        path = find(file, folders)
        if path is None:
            path = _fetch(published, number, folders)
        else:
            advice = "Fetch it again, or give your own files as `dataset` idx:FOLDER"
            require_published(path, published.plain[number], published.name, advice, unpack=True)
        paths.append(path)
    return from_files(published.name, paths)


def _fetch(published: Published, number: int, folders: list[Path]) -> Path:
    (path,) = retrieve(
        published.name,
        f"{FILES[number]}.gz",
        published.gzipped[number],
        mirrors=published.mirrors,
        folders=folders,
        needs=[f"{name}.gz" for name in FILES],
    )
    return path
