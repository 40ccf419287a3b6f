"""Archives made by hand to be wrong in one way each: the message says which, and no memory is taken for them."""

import io
import zipfile

import numpy as np
import pytest

from topokit.errors import FileFormatError, TooLargeError
from topokit.formats import load


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def whole(**changes):
    """The archive of a 1-2-1 network, with other arrays; None takes one out."""
    arrays = {
        "format": b"csr",
        "shape": [4, 4],
        "data": np.ones(4, bool),
        "indices": np.array([1, 2, 3, 3]),
        "indptr": np.array([0, 2, 3, 4, 4]),
        "widths": [1, 2, 1],
    }
    return archive(**{name: values for name, values in {**arrays, **changes}.items() if values is not None})


def test_the_archive_that_the_others_are_made_of_is_fine(path):
    path.write_bytes(whole())
    assert load(path).widths == (1, 2, 1)
    path.write_bytes(whole(widths=None))
    assert load(path).widths == (4, 4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"indices": [1, 2, 3, 4]}, "damaged"),
        ({"indices": [1, 2, 3, -1]}, "damaged"),
        ({"indices": [1, 1, 3, 3]}, "an edge is given twice"),
        ({"indices": [1.0, 2, 3, 3]}, "indices is float64"),
        ({"indices": [[1, 2, 3, 3]]}, "indices is int64 of shape (1, 4)"),
        ({"indices": [1, 2, 3]}, "damaged"),
        ({"indices": np.array([1, 2, 3, 2**63], np.uint64)}, "damaged"),
        ({"indptr": [0, 3, 2, 4, 4]}, "damaged"),
        ({"indptr": [0, 2, 3, 4, 5]}, "damaged"),
        ({"indptr": [1, 2, 3, 4, 4]}, "damaged"),
        ({"indptr": [0, 2, 3, 4]}, "damaged"),
        ({"indptr": [0, 2**30, 2**30, 2**30, 0]}, "damaged"),
        ({"indptr": [0, 2**30, 2**30, 2**30, 0], "format": b"csc"}, "damaged"),
        ({"indptr": [0, 2, 3, 3, 3]}, "does not end at 4"),
        ({"data": np.ones(3)}, "damaged"),
        ({"data": [1, np.nan, 1, 1]}, "not a number"),
        ({"data": ["a"] * 4}, "data is <U1"),
        ({"data": np.ones(4, complex)}, "data is complex128"),
        ({"data": np.array([1, 2, 3, None])}, "no plain NumPy header"),
        ({"data": None}, "no item named 'data.npy'"),
        ({"format": None}, "no sparse matrix"),
        ({"format": b"dia"}, "format 'dia'"),
        ({"format": 3}, "format is int64"),
        ({"shape": [4, 4, 4]}, "damaged"),
        ({"shape": [4]}, "a matrix of 1 dimensions"),
        ({"shape": [4, 0]}, "0 nodes"),
        ({"shape": [-4, 4]}, "-4 nodes"),
        ({"shape": [4, 2**32]}, "4,294,967,296 nodes"),
        ({"shape": [4, 5]}, "do not add up"),
        ({"widths": [1, 2, 2]}, "do not add up"),
        ({"widths": [4]}, "do not add up"),
        ({"widths": np.array([], int)}, "do not add up"),
        ({"widths": [-1, 4, 1]}, "do not add up"),
        ({"widths": [1.0, 2, 1]}, "widths is float64"),
        ({"widths": [2, 1, 1]}, "layer 0: an edge leads to no node of the next node layer"),
        ({"indices": [1, 2, 3, 0]}, "layer 1: an edge leads to no node of the next node layer"),
        ({"indices": [1, 3, 3, 3]}, "layer 0: an edge leads to no node of the next node layer"),
        ({"indptr": [0, 2, 3, 3, 4]}, "out of the last node layer"),
    ],
)
def test_arrays_that_are_no_graph(path, arrays, said, refusal):
    assert said in refusal(path, whole(**arrays))


def test_coordinates_out_of_range_or_twice(path, refusal):
    layer = {"format": b"coo", "shape": [2, 2], "data": np.ones(2)}
    assert "damaged" in refusal(path, archive(row=[0, 2], col=[0, 1], **layer))
    assert "damaged" in refusal(path, archive(row=[0, -1], col=[0, 1], **layer))
    assert "damaged" in refusal(path, archive(row=[0, 2**32], col=[0, 1], **layer))
    assert "damaged" in refusal(path, archive(row=[0, 1, 1], col=[0, 1], **layer))
    assert "twice" in refusal(path, archive(row=[1, 1], col=[0, 0], **layer))


def test_columns_that_are_too_long_are_refused(path, refusal):
    layer = {"format": b"csc", "shape": [2, 3], "data": np.ones(1), "indptr": [0, 1, 1, 1]}
    path.write_bytes(archive(indices=[1], **layer))
    assert np.array_equal(load(path).layer(0).to_dense(), [[0, 0, 0], [1, 0, 0]])
    assert "out of range for 2 nodes" in refusal(path, archive(indices=[2], **layer))


def test_archives_that_are_no_archive(path, refusal):
    content = whole()
    for wrong in (content[:-30], content[:200], b"PK\3\4broken", b"PK", content[:60] + b"\0" + content[61:]):
        assert "damaged" in refusal(path, wrong)


def test_a_damaged_member_is_refused_however_it_is_compressed(path, refusal):
    with zipfile.ZipFile(io.BytesIO(whole())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        content = bytearray(buffer.getvalue())
        path.write_bytes(content)
        assert load(path).widths == (1, 2, 1)
        start = content.find(b"indices.npy") + len("indices.npy")
        for place in range(start + 12, start + 32):
            content[place] ^= 0x5A
        assert "damaged" in refusal(path, bytes(content))


def test_a_header_of_another_length_than_it_says_is_refused(path, refusal):
    with zipfile.ZipFile(io.BytesIO(whole())) as archive:
        members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    path.write_bytes(zipped(members))
    assert load(path).widths == (1, 2, 1)
    members["data"] = members["data"][:8] + b"\x40" + members["data"][9:]
    assert "no plain NumPy header" in refusal(path, zipped(members))


def with_header_of_zeros(shape, size):
    """An .npy member that says `shape` and holds `size` bytes."""
    header = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + b"\0" * size


def zipped(members, *, size_says=None):
    """An archive of members; `size_says` is what it claims that each inflates to."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
        if size_says is not None:
            for info in archive.infolist():
                info.file_size = size_says
    return buffer.getvalue()


def test_zip_bombs_are_not_inflated(path, refusal, memory_of, free_memory):
    free_memory(1 << 24)
    bomb = with_header_of_zeros(f"({1 << 26},)", 1 << 26)
    name = io.BytesIO()
    np.save(name, b"csr")
    for content, error in (
        (zipped({"format": bomb}), TooLargeError),
        (zipped({"format": bomb}, size_says=1000), FileFormatError),
        (zipped({"format": name.getvalue(), "shape": with_header_of_zeros(f"({1 << 40},)", 10)}), FileFormatError),
        (zipped({"format": name.getvalue(), "shape": with_header_of_zeros(f"({10**30},)", 10)}), FileFormatError),
    ):
        path.write_bytes(content)
        assert memory_of(lambda error=error: refusal(path, error=error)) < 1 << 20


def test_a_shape_that_does_not_fit_is_refused(path, refusal, free_memory):
    free_memory(1 << 24)
    coordinates = archive(format=b"coo", shape=[4_000_000_000, 2], data=[1], row=[0], col=[0])
    assert "are free" in refusal(path, coordinates, TooLargeError)
