"""Small JSON files: what was written is read, anything else is refused."""

import pytest

from topokit.errors import FileFormatError
from topokit_train.json_files import read_json, write_json


def test_there_and_back(tmp_path):
    path = tmp_path / "file"
    for value in ({}, {"a": [1, None], "b": {"c": "d"}}):
        write_json(path, value)
        assert read_json(path) == value
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read: .*No such file"), ("{", "cannot be read: Expecting"), ("[1]", "is not a JSON object")],
)
def test_what_is_not_an_object_is_refused(tmp_path, text, said):
    path = tmp_path / "file"
    if text:
        path.write_text(text)
    with pytest.raises(FileFormatError, match=f"{path} {said}"):
        read_json(path)
