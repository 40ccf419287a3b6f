"""The Graph Challenge's two other files: the images to classify, and the rows that survive (the categories).

Source: Kepner et al. 2019, "Sparse Deep Neural Network Graph Challenge", arXiv:1909.05631.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topokit.csr import MAX_WIDTH, require_memory
from topokit.errors import FileFormatError, reading
from topokit.formats import _matrix_market
from topokit.formats._layer_files import layer_of, read_table
from topokit.layered import Layer
from topokit.reprs import counted

_PATTERN = b"%%matrixmarket matrix coordinate pattern"


def read_images(path: Path, pixels: int) -> Layer:
    """Thresholded images as a layer of shape (images, pixels): an edge is a pixel that is 1.

    Args:
        path: a TSV with lines `image<TAB>pixel<TAB>1`, both from 1, or a Matrix Market file of a pattern.
        pixels: how many an image has.

    Raises:
        FileFormatError: damaged, of another number of pixels, or with values other than 1.
        TooLargeError: not enough free memory.
        TopokitError: it cannot be read.
    """
    images = _read(path, pixels, columns=3)
    if images.shape[1] != pixels:
        raise FileFormatError(
            f"{path} holds images of {images.shape[1]} pixels, but the network has {counted(pixels, 'input')}: "
            "they must be equal"
        )
    return images


def read_categories(path: Path, rows: int) -> NDArray[np.int64]:
    """The numbers of the rows that survive, from 1, increasing.

    Args:
        path: a text with a number a line, or a Matrix Market file of a pattern with a single column.
        rows: how many images were classified.

    Raises:
        FileFormatError: damaged, or the categories of another number of images.
        TopokitError: it cannot be read.
    """
    survivors = _read(path, 1, columns=1, rows=rows)
    if survivors.shape != (rows, 1):
        shape = " x ".join(map(str, survivors.shape))
        raise FileFormatError(f"{path} is {shape}; the categories of {rows} images are {rows} x 1")
    return survivors.sources + 1


def _read(path: Path, width: int, columns: int, rows: int | None = None) -> Layer:
    with reading(path):
        require_memory(path.stat().st_size, f"reading {path}")
        text = path.read_bytes()
        if text.startswith(b"%%"):
            if not text[:80].lower().startswith(_PATTERN):
                raise FileFormatError(f"{path} holds numbers: threshold them, and write a pattern")
            return _matrix_market.read(path).layer(0)
        table = read_table(text, columns, path)
        if columns == 1:
            table = np.hstack([table, np.ones_like(table)])
        elif (table[:, 2] != 1).any():
            raise FileFormatError(f"{path} holds values other than 1: threshold them to 0 and 1, and leave out the 0")
        if rows is None:
            largest = table[:, 0].max(initial=1)
            rows = max(1, int(largest)) if largest < MAX_WIDTH else 1  # what is no number is refused below
        return layer_of(table, (rows, width), path, "the table")
