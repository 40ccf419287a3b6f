"""What the tests of hostile files share."""

import gc
import tracemalloc

import pytest

from topokit.errors import FileFormatError
from topokit.formats import load


@pytest.fixture
def path(tmp_path):
    """Where a hostile file goes."""
    return tmp_path / "file"


@pytest.fixture
def refusal():
    """Call as refusal(path, content): the message, on one line, with which `load` refuses it."""

    def refuse(path, content=None, error=FileFormatError):
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(error) as raised:
            load(path)
        message = str(raised.value)
        assert str(path) in message
        assert len(message.splitlines()) == 1
        return message

    return refuse


@pytest.fixture
def memory_of():
    """Call as memory_of(function): bytes that the call takes at most, what it imports left out."""

    def measure(function):
        function()
        gc.collect()
        tracemalloc.start()
        function()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    return measure
