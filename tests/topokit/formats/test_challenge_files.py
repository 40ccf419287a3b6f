"""The Graph Challenge's images and categories: read as they are, or refused."""

import numpy as np
import pytest

from topokit.errors import FileFormatError, TopokitError
from topokit.formats import read_categories, read_images

MTX = "%%MatrixMarket matrix coordinate pattern general\n"


def written(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["2\t3\t1\n1\t1\t1\n2\t1\t1\n", MTX + "2 3 3\n2 3\n1 1\n2 1\n"])
def test_images(tmp_path, text):
    images = read_images(written(tmp_path, text), 3)
    assert np.array_equal(images.to_dense(), [[1, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize("text", ["7\n2\n", MTX + "9 1 2\n7 1\n2 1\n"])
def test_categories(tmp_path, text):
    assert read_categories(written(tmp_path, text), 9).tolist() == [2, 7]


def test_no_categories(tmp_path):
    assert read_categories(written(tmp_path, ""), 9).tolist() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\t1\t1\n", "rows are numbered from 1"),
        ("1\t0\t1\n", "columns are numbered from 1 to 3"),
        ("1\t4\t1\n", "columns are numbered from 1 to 3"),
        ("-1\t1\t1\n", "rows are numbered from 1"),
        ("nan\t1\t1\n", "in row nan"),
        ("inf\t1\t1\n", "in row inf"),
        ("1\t1\t0.5\n", "values other than 1"),
        ("1\t1\tnan\n", "values other than 1"),
        ("1\t1\n", "2 columns instead of 3"),
        ("1\t1\t1\n1\t1\t1\n", "file: the table: source 1 lists target 1 twice: give each edge once"),
        ("a\tb\tc\n", "line 1 is 'a.*c'; it must be 3 numbers"),
        (MTX + "2 4 1\n1 1\n", "images of 4 pixels, but the network has 3 inputs"),
        (MTX.replace("pattern", "real") + "1 3 1\n1 1 0.5\n", "holds numbers"),
    ],
)
def test_images_that_are_refused(tmp_path, text, said):
    with pytest.raises(FileFormatError, match=said):
        read_images(written(tmp_path, text), 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\n", "rows are numbered from 1 to 9"),
        ("10\n", "rows are numbered from 1 to 9"),
        ("1.5\n", "in row 1.5"),
        ("2\n2\n", "twice"),
        ("1\t2\n", "2 columns instead of 1"),
        (MTX + "60000 1 1\n7 1\n", "60000 x 1; the categories of 9 images are 9 x 1"),
        (MTX + "9 2 1\n7 1\n", "9 x 2"),
    ],
)
def test_categories_that_are_refused(tmp_path, text, said):
    with pytest.raises(FileFormatError, match=said):
        read_categories(written(tmp_path, text), 9)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TopokitError, match="cannot read"):
        read_images(tmp_path / "missing", 3)
