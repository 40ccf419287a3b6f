"""The IDX reader on files that are right, wrong, and meant to do harm."""

import gzip
import tracemalloc

import numpy as np
import pytest

from topokit.errors import FileFormatError, TooLargeError, TopokitError
from topokit_train.datasets.idx import read_idx


def idx(shape, data=None, type_byte=8):
    header = bytes((0, 0, type_byte, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + (bytes(i % 251 for i in range(int(np.prod(shape)))) if data is None else data)


def write(tmp_path, content, gzipped=False):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if gzipped else content)
    return path


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("shape", [(7,), (4, 3, 2), (1, 1, 1), (300, 28, 28)])
def test_what_is_written_is_read(tmp_path, shape, gzipped):
    path = write(tmp_path, idx(shape), gzipped)
    array = read_idx(path, len(shape))
    assert array.shape == shape
    assert array.flags.writeable  # torch warns of other arrays
    assert array.ravel().tolist() == [i % 251 for i in range(array.size)]


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"not an IDX file of unsigned bytes in 3.*89 50 4e 47"),
        (idx((4, 2, 2), type_byte=0x0D), "00 00 0d 03"),
        (idx((16,)), "00 00 08 01"),
        (idx((4, 2, 2))[:9], "ends within its header"),
        (idx((4, 2, 2))[:-1], "declares 16 bytes of shape .* but contains 15|more than the file can contain"),
        (idx((4, 2, 2)) + b"!", "but contains more"),
        (idx((4, 0, 2)), "is empty"),
        (idx((2**32 - 1,) * 3, data=bytes(100)), "more than the file can contain"),
        (idx((1, 2**16, 2**16), data=bytes(10**5)), "more than the file can contain"),
    ],
)
def test_wrong_files_say_what_is_wrong(tmp_path, content, message, gzipped):
    path = write(tmp_path, content, gzipped)
    with pytest.raises(FileFormatError, match=message) as refused:
        read_idx(path, 3)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(("declared", "said"), [(10, "but contains more"), (2**31, "more than the file can contain")])
def test_a_bomb_takes_no_memory(tmp_path, declared, said):
    path = write(tmp_path, idx((declared,), data=bytes(50_000_000)), gzipped=True)
    assert path.stat().st_size < 60_000
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=said):
        read_idx(path, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_more_than_the_free_memory_is_refused(tmp_path, free_memory):
    free_memory(200)  # twice the file: its bytes are copied into a writable array
    with pytest.raises(TooLargeError):
        read_idx(write(tmp_path, idx((101,))), 1)
    assert read_idx(write(tmp_path, idx((100,))), 1).size == 100


def test_a_damaged_gzip_file(tmp_path):
    path = write(tmp_path, idx((50, 8, 8)), gzipped=True)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], content[:-8] + bytes(8), content[:60] + bytes(20) + content[80:]):
        path.write_bytes(broken)
        with pytest.raises(FileFormatError, match="damaged gzip file"):
            read_idx(path, 3)


@pytest.mark.parametrize("gzipped", [False, True])
def test_mutated_files_give_an_array_or_an_error_of_ours(tmp_path, gzipped):
    random = np.random.default_rng(11)
    good = write(tmp_path, idx((5, 4, 3)), gzipped).read_bytes()
    arrays, errors = [], []
    for _ in range(1000):
        content = bytearray(good)
        for _ in range(random.integers(1, 4)):
            kind, place = random.integers(4), int(random.integers(len(content) or 1))
            if kind == 0:
                content[place : place + 1] = bytes([random.integers(256)])
            elif kind == 1:
                del content[place:]
            elif kind == 2:
                content[place:place] = random.bytes(int(random.integers(1, 9)))
            else:
                content[place : place + 4] = random.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
        path = tmp_path / "file"
        path.write_bytes(content)
        try:
            arrays.append(read_idx(path, 3))
        except TopokitError as error:
            errors.append(str(error))
    assert arrays
    assert all(array.ndim == 3 and array.dtype == np.uint8 for array in arrays)
    assert errors
    assert not any("\n" in message for message in errors)
