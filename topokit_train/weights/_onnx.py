"""ONNX models: their layers are read from the graph."""

from __future__ import annotations

from pathlib import Path

from topokit.errors import needing
from topokit.extraction.weights import Weights
from topokit_train.weights import Reader


def read(path: Path) -> Weights:
    """Read the weights and layers of an ONNX model; see `topokit_train.reading`.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    with needing("an ONNX model"):
        import onnx  # noqa: F401 (in every call, as the module below is imported once)

        from topokit_train.reading._onnx import read_onnx

        return read_onnx(path)


READER = Reader(begins=lambda start: start[:1] == b"\x08", read=read)
