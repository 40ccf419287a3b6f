"""Matrix Market and TSV files made by hand to be wrong in one way each: the message says which."""

import numpy as np
import pytest

from topokit.errors import FileFormatError, TooLargeError
from topokit.formats import load

BANNER = "%%MatrixMarket matrix coordinate pattern general\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BANNER + "2 2 1\n0 1\n", "entry 1 is in row 0; rows are numbered from 1 to 2"),
        (BANNER + "2 2 2\n1 1\n1 3\n", "entry 2 is in column 3"),
        (BANNER + "2 2 1\n-1 1\n", "row -1"),
        (BANNER + "2 2 1\n1.5 1\n", "row 1.5"),
        (BANNER + "2 2 1\nnan 1\n", "row nan"),
        (BANNER + "2 2 1\n1 inf\n", "column inf"),
        (BANNER + "2 2 2\n1 1\n1 1\n", "file: layer 0: source 1 lists target 1 twice: give each edge once"),
        (BANNER + "2 2 2\n1 1\n", "1 entries, but its header says 2"),
        (BANNER + "2 2 1\n1 1\n1 2\n", "2 entries, but its header says 1"),
        (BANNER + "2 2 1\n1 1 7\n", "3 columns instead of 2"),
        (BANNER + "2 2 2\n1 1\n1\n", "line 4 is '1'; it must be 2 numbers such as 1 or 1.5e-3, separated by blanks"),
        (BANNER + "2 2 2\n1 1\n1", "is damaged: "),
        (BANNER + "%\n\n2 2 2\n1 1\n\n% a comment\n1 1\n", "line 7 is '% a comment'; it must be 2 numbers"),
        (BANNER.replace("pattern", "real") + "2 2 1\n1 1 1D0\n", "line 3 is '1 1 1D0'; it must be 3 numbers"),
        (BANNER + "2 2 1\n1 1\0", "damaged"),
        (BANNER + "2 2 1\n1 é\n", "damaged"),
        (BANNER.encode() + b"2 2 1\n1\xa01\n", "damaged"),
        (BANNER + "2 2 1\n1 1 # one\n", "line 3 is '1 1 # one'; it must be 2 numbers"),
        (BANNER + "2 2\n1 1\n", "rows, columns and entries"),
        (BANNER + "2 2 -1\n", "rows, columns and entries"),
        (BANNER + "2 2.5 1\n1 1\n", "rows, columns and entries"),
        (BANNER + f"2 2 {'9' * 5000}\n1 1\n", "rows, columns and entries"),
        (BANNER, "rows, columns and entries"),
        (BANNER + "% only a comment", "rows, columns and entries"),
        (BANNER + "0 0 0\n", "0 nodes"),
        (BANNER + "4294967296 2 0\n", "4,294,967,296 nodes"),
        (BANNER.replace("pattern", "real") + "2 2 1\n1 1 nan\n", "value of entry 1 is not a number"),
        (BANNER.replace("pattern", "real") + "2 2 1\n1 1\n", "2 columns instead of 3"),
        (BANNER.replace("pattern", "complex") + "2 2 1\n1 1 1 1\n", "it must be"),
        (BANNER.replace("coordinate", "array") + "2 2\n1\n1\n1\n1\n", "it must be"),
        (BANNER.replace("coordinate", "array").replace("pattern", "real") + "0 0\n", "it must be"),
        (BANNER.replace("general", "symmetric") + "2 2 1\n2 1\n", "write it as general"),
        ("%%MatrixMarket\n", "it must be"),
        ("%%MatrixMarket matrix coordinate pattern\n", "it must be"),
    ],
)
def test_matrix_market_files_that_are_no_layer(path, text, said, refusal):
    assert said in refusal(path, text)


def test_comments_blank_lines_and_line_ends_are_fine(path):
    path.write_bytes(b"%%MatrixMarket MATRIX coordinate Pattern general\r\n% a\r\n\r\n%\n 2\t3 1 \r\n\r\n1 3\r\n\n")
    assert np.array_equal(load(path).layer(0).to_dense(), [[0, 0, 1], [0, 0, 0]])


def test_sizes_that_do_not_fit_are_refused(path, tmp_path, refusal, memory_of, free_memory):
    free_memory(1 << 24)
    for text, size, error in (
        (BANNER + "4000000000 4000000000 1\n1 1\n", 100, TooLargeError),
        (BANNER + "2 2 4000000000\n1 1\n", 100, FileFormatError),
        (BANNER + "2 2 1\n1 1\n", 1 << 25, TooLargeError),
        (BANNER + "2 2 300000\n" + "1 1\n" * 300_000, 1_200_000, TooLargeError),
    ):
        path.write_text(text.ljust(size))
        assert memory_of(lambda error=error: refusal(path, error=error)) < 4 << 20
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "n4000000000-l1.tsv").touch()
    assert "are free" in refusal(tmp_path / "net", error=TooLargeError)
    (tmp_path / "net" / "n4000000000-l1.tsv").unlink()
    (tmp_path / "net" / "n2-l1.tsv").write_bytes(b" " * (1 << 25))
    assert memory_of(lambda: refusal(tmp_path / "net", error=TooLargeError)) < 4 << 20


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"n2-l1.tsv": "0\t1\t1\n"}, "entry 1 is in row 0; rows are numbered from 1 to 2"),
        ({"n2-l1.tsv": "1\t0\t1\n"}, "entry 1 is in column 0"),
        ({"n2-l1.tsv": "1\t1\t1\n3\t1\t1\n"}, "entry 2 is in row 3"),
        ({"n2-l1.tsv": "1\t1\tnan\n"}, "not a number"),
        ({"n2-l1.tsv": "1\t1\n"}, "2 columns instead of 3"),
        ({"n2-l1.tsv": "1 1 1\n"}, "line 1 is '1 1 1'; it must be 3 numbers such as 1 or 1.5e-3, separated by tabs"),
        ({"n2-l1.tsv": "row\tcol\tweight\n"}, r"line 1 is 'row\tcol\tweight'; it must be 3 numbers"),
        ({"n2-l1.tsv": "1\t1\t1\n# a comment\n"}, "line 2 is '# a comment'; it must be 3 numbers"),
        ({"n2-l1.tsv": "1\t1\t1\n1\t2"}, "is damaged: "),
        ({"n2-l1.tsv": "1\t1\t1\n1\t1\t1\n"}, "net: n2-l1.tsv: source 1 lists target 1 twice: give each edge"),
        ({"n2-l1.tsv": "", "n2-l3.tsv": ""}, "lacks layer 2"),
        ({"n2-l2.tsv": ""}, "lacks layer 1"),
        ({"n2-l0.tsv": "", "n2-l1.tsv": ""}, "must be numbered from 1"),
        ({"n2-l1.tsv": "", "n3-l2.tsv": ""}, "starts from 3 nodes, but the layer before ends in 2"),
        ({"n2-l1.tsv": "", "n2x3-l1.tsv": ""}, "both layer 1"),
        ({"n2-l1.tsv": "", "categories.tsv": ""}, "categories.tsv is no layer"),
        ({"n0-l1.tsv": ""}, "0 nodes"),
        ({"n4294967296-l1.tsv": ""}, "4,294,967,296 nodes"),
        ({"layer-1.mtx": BANNER + "2 2 0\n", "layer-3.mtx": BANNER + "2 2 0\n"}, "lacks layer 2"),
        ({"layer-1.mtx": BANNER + "2 2 0\n", "layer-2.mtx": BANNER + "3 2 0\n"}, "must be equal"),
        ({"layer-1.mtx": ""}, "it must be"),
        ({"layer-1.mtx": "", "n2-l1.tsv": ""}, "holds .mtx and .tsv files"),
        ({"readme.txt": ""}, "holds no layer files"),
        ({}, "holds no layer files"),
    ],
)
def test_folders_that_are_no_network(tmp_path, files, said, refusal):
    folder = tmp_path / "net"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert said in refusal(folder)


@pytest.mark.parametrize(
    ("lines", "notes"),
    [
        ("1\t1\t0.0625\n1\t2\t6.250000e-02\n", []),
        ("1\t1\t0.0625\n1\t2\t-0.0625\n", ["weights other than 1/16 are not kept"]),
        ("1\t1\t0\n1\t2\t0.0625\n2\t2\t0\n", ["a weight of 0 is no edge: n2-l2.tsv has 2 such lines"]),
        ("1\t1\t0\n", ["a weight of 0 is no edge: n2-l2.tsv has 1 such line"]),
        ("1\t1\t0\n1\t2\t2\n", ["a weight of 0 is no edge: n2-l2.tsv has 1 such line", "weights other than 1/16"]),
        ("", ["n2-l2.tsv is empty: a layer without edges"]),
    ],
)
def test_what_a_reader_of_tsv_may_not_expect_is_noted(tmp_path, lines, notes):
    (tmp_path / "n2-l1.tsv").write_text("1\t1\t0.0625\n")
    (tmp_path / "n2-l2.tsv").write_text(lines)
    found = load(tmp_path).notes
    assert [note[: len(start)] for note, start in zip(found, notes, strict=True)] == notes


def test_the_first_line_of_a_matrix_market_file(path, refusal):
    path.write_text("%%MATRIXMARKET MATRIX COORDINATE PATTERN GENERAL\n2 2 1\n1 2\n")
    assert np.array_equal(load(path).layer(0).to_dense(), [[0, 1], [0, 0]])
    said = refusal(path, "%%MatrixMarket matrix array real general\n2 2\n0\n1\n0\n0\n")
    assert f"the first line of {path} is %%MatrixMarket matrix array real general; it must be" in said
    other = path.with_suffix(".mtx")
    assert "or a Matrix Market file, which starts with %%MatrixMarket" in refusal(other, "% a comment\n2 2 1\n1 2\n")


def test_a_folder_in_the_place_of_a_layer(tmp_path, refusal):
    (tmp_path / "net" / "n2-l1.tsv").mkdir(parents=True)
    assert "n2-l1.tsv is no layer" in refusal(tmp_path / "net")


def test_a_layer_without_edges_may_be_a_blank_file(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "n2-l1.tsv").write_text(" \n\n")
    assert load(tmp_path / "net").edges == 0


def test_other_files_and_weights_of_zero_are_passed_over(tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "n2-l1.tsv").write_text("1\t2\t1\n1\t1\t0\n2\t1\t-3e-1")
    (folder / "readme.txt").write_text("by hand")
    assert np.array_equal(load(folder).layer(0).to_dense(), [[0, 1], [1, 0]])
