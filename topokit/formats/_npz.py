"""NumPy's .npz: scipy's sparse matrix of the whole graph, with the widths beside it.

The rows and columns are the nodes of all node layers, inputs first, so the layers are the blocks above
the diagonal. Without widths a file is one layer, of whatever shape.
"""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from topokit.errors import FileFormatError, InvalidGraphError
from topokit.formats._format import EXTRACT, Format, damaged, require_room
from topokit.layered import Layered
from topokit.reprs import counted
from topokit.topologies import Topology, fingerprint

_BLOCK = 1 << 20  # edges converted at a time
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..{'descr': '(?P<dtype>[<>|][biufcSU][0-9]{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \((?P<shape>[0-9, ]{,60})\), } *\n",
    re.DOTALL,
)
_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, ValueError, TypeError, RuntimeError)
"""What zipfile, NumPy and scipy raise on damaged files."""


def write(net: Layered, path: Path) -> str:
    """Write `net`; one layer and 8 bytes a node in memory. Returns the fingerprint."""
    nodes = sum(net.widths)
    index = np.dtype("<i4" if max(nodes, net.edges) < 2**31 else "<i8")
    indptr = np.full(nodes + 1, net.edges, index)
    ends = list(accumulate(net.widths))
    with zipfile.ZipFile(path, "w") as archive:
        with _member(archive, "indices") as file:
            _write_header(file, index, net.edges)
            first_source = first_edge = 0
            for end, layer in zip(ends, net.stream(), strict=False):
                indptr[first_source:end] = layer.indptr[:-1] + first_edge
                first_source, first_edge = end, first_edge + layer.edges
                for start in range(0, layer.edges, _BLOCK):
                    file.write((layer.indices[start : start + _BLOCK] + end).astype(index).data)
        with _member(archive, "data") as file:
            _write_header(file, np.dtype(np.bool_), net.edges)
            for start in range(0, net.edges, _BLOCK):
                file.write(b"\1" * min(_BLOCK, net.edges - start))
        about = {"format": b"csr", "shape": (nodes, nodes), "_is_array": True, "widths": net.widths}
        for name, values in {"indptr": indptr, **about}.items():
            with _member(archive, name) as file:
                npy.write_array(file, np.asarray(values), allow_pickle=False)
    return fingerprint(net)


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """A compressed member, dated 1980 as by default, so that equal networks give equal files."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as file:
        yield file


def _write_header(file: IO[bytes], dtype: np.dtype[Any], size: int) -> None:
    npy.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": (size,)})


def read(path: Path) -> Topology:
    """Read a csr, csc or coo matrix that scipy or topokit wrote; nonzero entries are edges.

    Nothing is unpickled, and no array is larger than its place in the archive says.

    Raises:
        FileFormatError: damaged, or no sparse matrix.
        InvalidGraphError: entries given twice, or outside the blocks that the widths say.
        TooLargeError: not enough free memory.
    """
    with damaged(path, *_ERRORS), zipfile.ZipFile(path) as archive:
        _require_matrix(archive, path)
        held = sum(info.file_size for info in archive.infolist())
        require_room(path, (), 6 * held)
        matrix = _matrix(archive, path)
        if "widths.npy" not in archive.namelist():
            return Topology.from_csr([(matrix.indptr, matrix.indices)], matrix.shape)
        widths = _array(archive, "widths", "iu", 1).tolist()
    if len(widths) < 2 or min(widths) < 1 or matrix.shape != (sum(widths), sum(widths)):
        raise FileFormatError(f"{path}: the widths {widths!s:.80} do not add up to the matrix's shape {matrix.shape}")
    return Topology.from_csr(_blocks(matrix, widths), widths)


def _require_matrix(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse what is a zip archive too, and of another kind: a checkpoint of torch, other arrays."""
    names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "data.pkl" in names:
        raise FileFormatError(f"{path} is a file of weights, which torch.save wrote, and no topology: {EXTRACT}")
    if "format.npy" not in names:
        raise FileFormatError(
            f"{path} holds no sparse matrix (an array named format, as scipy.sparse.save_npz writes it): "
            f"give a file of a topology; if it is of weights, {EXTRACT}"
        )


def _matrix(archive: zipfile.ZipFile, path: Path) -> Any:
    """The matrix in canonical CSR, without stored zeros."""
    from scipy.sparse import coo_array, csc_array, csr_array

    kind = np.asarray(_array(archive, "format", "SU", 0), "U").item()
    if kind not in ("csr", "csc", "coo"):
        raise FileFormatError(
            f"{path} holds a matrix of format {kind[:20]!r}; topokit reads csr, csc and coo: save it with .tocsr()"
        )
    shape = tuple(_array(archive, "shape", "iu", 1).tolist())
    if len(shape) != 2:
        raise ValueError(f"a matrix of {len(shape)} dimensions")
    require_room(path, shape, 0)
    values = _array(archive, "data", "biuf", 1)
    if np.isnan(values).any():
        raise InvalidGraphError("a value is not a number")
    if kind == "coo":
        matrix = coo_array((values != 0, (_array(archive, "row", "iu", 1), _array(archive, "col", "iu", 1))), shape)
    else:
        indices, indptr = _array(archive, "indices", "iu", 1), _array(archive, "indptr", "iu", 1)
        matrix = {"csr": csr_array, "csc": csc_array}[kind]((values != 0, indices, indptr), shape)
        _require_safe(indices, indptr, shape if kind == "csr" else shape[::-1])
    canonical = csr_array(matrix)
    canonical.sum_duplicates()
    if canonical.nnz != values.size:
        raise InvalidGraphError("an edge is given twice")
    canonical.eliminate_zeros()
    return canonical


def _require_safe(indices: NDArray[Any], indptr: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse what scipy's C++ code would follow out of its arrays.

    scipy's own full check does not: it takes an indptr that ends at 0 for an empty matrix, whatever stands before.
    """
    if indptr[-1] != indices.size or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(f"indptr decreases, or does not end at {indices.size}, the number of entries")
    if indices.size and not 0 <= indices.min() <= indices.max() < shape[1]:
        raise ValueError(f"an index is out of range for {counted(shape[1], 'node')}")


def _array(archive: zipfile.ZipFile, name: str, kinds: str, dimensions: int) -> NDArray[Any]:
    """A member as an array, once its header agrees with its size and with what is wanted.

    NumPy's own reader evaluates the header as a Python expression and allocates what it asks for.
    """
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        content = file.read(info.file_size)  # never more, whatever it inflates to
    header = _HEADER.match(content)
    if header is None or len(header[0]) != 10 + int.from_bytes(content[8:10], "little"):
        raise ValueError(f"{name} has no plain NumPy header")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(int(length) for length in header["shape"].split(b",") if length.strip())
    if dtype.kind not in kinds or len(shape) != dimensions:
        raise ValueError(f"{name} is {dtype} of shape {shape}")
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape).copy()


def _blocks(matrix: Any, widths: list[int]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    starts = [0, *accumulate(widths)]
    if matrix.indptr[starts[-2]] != matrix.nnz:
        raise InvalidGraphError("an edge leads out of the last node layer")
    for i, (low, high) in enumerate(pairwise(starts[:-1])):
        indptr = matrix.indptr[low : high + 1]
        targets = matrix.indices[indptr[0] : indptr[-1]]
        if targets.size and not high <= targets.min() <= targets.max() < starts[i + 2]:
            raise InvalidGraphError(f"layer {i}: an edge leads to no node of the next node layer")
        yield indptr - indptr[0], targets - high


FORMAT = Format(suffix=".npz", begins=lambda start: start.startswith(b"PK"), read=read, write=write, edge_bytes=0)
